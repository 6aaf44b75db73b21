"""Groq's Batch API (contracts: 9): OpenAI's objects, and lists that take no parameters and come whole."""

from __future__ import annotations

from overnight.providers.openai import OpenAIProvider


class GroqProvider(OpenAIProvider):
    """`OpenAIProvider` as Groq has it."""

    root = "/openai/v1"
    limited_by = None
