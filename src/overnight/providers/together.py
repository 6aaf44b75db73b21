"""Together's Batch API (contracts: 10): no mark on a batch, which is known by the file it was made of."""

from __future__ import annotations

from typing import Any

from overnight.ports import Submission
from overnight.providers.calls import Spoken
from overnight.providers.openai import OpenAIProvider
from overnight.types import Proof
from overnight.wire.openai import together


class TogetherProvider(OpenAIProvider):
    """`OpenAIProvider` as Together has it."""

    proof: Proof = "file"
    spoken: Spoken = together
    root = "/v1"
    uploads = "/files/upload"
    limited_by = None
    line = staticmethod(together.input_line)

    def form(self, filename: str) -> list[tuple[str, str]]:
        """See `OpenAIProvider`."""
        return [("purpose", "batch-api"), ("file_name", filename)]

    def asked(self, submission: Submission) -> dict[str, Any]:
        """See `OpenAIProvider`."""
        return {
            "input_file_id": submission.file_id,
            "endpoint": submission.endpoint,
            "completion_window": "24h",
            "model_id": submission.model,
        }
