"""Response bodies as OpenAI's real-time endpoints write them, for whoever plays the server."""

from __future__ import annotations

import base64
import sys
from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from overnight.types import Tokens


def chat_completion(
    *,
    id: str,
    created: int,
    model: str,
    content: str | None,
    finish_reason: str,
    tokens: Tokens,
    tool_calls: Sequence[Mapping[str, Any]] = (),
    logprobs: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A `chat.completion` with one choice."""
    message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None, "annotations": []}
    if tool_calls:
        message["tool_calls"] = list(tool_calls)
    return {
        "id": id,
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [{"index": 0, "message": message, "logprobs": logprobs, "finish_reason": finish_reason}],
        "usage": {
            "prompt_tokens": tokens.input,
            "completion_tokens": tokens.output,
            "total_tokens": tokens.input + tokens.output,
            "prompt_tokens_details": {"cached_tokens": tokens.cached, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": tokens.reasoning, "audio_tokens": 0},
        },
        "service_tier": "default",
        "system_fingerprint": None,
    }


def embeddings(
    *, model: str, vectors: Iterable[Sequence[float]], encoding_format: str, input_tokens: int
) -> dict[str, Any]:
    """An embeddings list; `encoding_format` `base64` writes little-endian float32, `float` plain numbers."""
    encode = packed if encoding_format == "base64" else list
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": encode(vector)} for index, vector in enumerate(vectors)
        ],
        "model": model,
        "usage": {"prompt_tokens": input_tokens, "total_tokens": input_tokens},
    }


def packed(vector: Sequence[float]) -> str:
    """The vector as base64 of little-endian float32."""
    numbers = array("f", vector)
    if sys.byteorder == "big":
        numbers.byteswap()
    return base64.b64encode(numbers.tobytes()).decode("ascii")
