"""What batch APIs take: apart from the adapters, so that asking loads no HTTP library."""

from __future__ import annotations

from typing import Final

from overnight.ports import Limits

OPENAI: Final = Limits(rows=50_000, size=190_000_000, window=86_400, creates_per_hour=2_000, retention=30 * 86_400)
"""OpenAI takes 209,715,200 bytes a file; the margin is for what else counts."""
