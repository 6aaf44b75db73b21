"""The common answer, read in a third of the time: a chat completion that said something and stopped by itself.

What it takes, `answers.read_line` judges to be a success with the same figures; whatever is not as plain is left to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from msgspec import Meta, Struct
from msgspec.json import Decoder

from overnight.types import Endpoint
from overnight.wire.openai.shapes import MOST_TOKENS, CachedDetails, ReasoningDetails

_Count = Annotated[int, Meta(ge=0, le=MOST_TOKENS)]


class _Message(Struct, gc=False):
    content: str
    refusal: None = None
    tool_calls: None = None


class _Choice(Struct, gc=False):
    message: _Message
    finish_reason: Literal["stop"]


class _Usage(Struct, gc=False):
    prompt_tokens: _Count
    completion_tokens: _Count
    prompt_tokens_details: CachedDetails | None = None
    completion_tokens_details: ReasoningDetails | None = None


class _Body(Struct, gc=False):
    choices: list[_Choice]
    usage: _Usage
    model: str | None = None


class _Response(Struct, gc=False):
    status_code: Literal[200]
    body: _Body
    request_id: str | None = None


class _Line(Struct, gc=False):
    custom_id: str
    response: _Response
    error: None = None


Plain = tuple[str, str, str | None, str | None, int, int, int, int]
"""Custom id, text, model, request id; input, cached, output and reasoning tokens."""

_decode = Decoder(_Line).decode


def plain_reader(endpoint: str) -> Callable[[bytes], Plain | None] | None:
    """Reads one line of the endpoint's answers, None where it is not plain; None where the endpoint has no such
    reader. `finish_reason` of what it reads is `stop`."""
    return _plain if endpoint == Endpoint.CHAT else None


def _plain(line: bytes) -> Plain | None:
    try:
        found = _decode(line)
    except ValueError:
        return None
    response = found.response
    body = response.body
    choices, usage = body.choices, body.usage
    text = choices[0].message.content if choices else ""
    if not text or text.isspace():
        return None
    cached, thought = usage.prompt_tokens_details, usage.completion_tokens_details
    return (
        found.custom_id,
        text,
        body.model,
        response.request_id or None,
        usage.prompt_tokens,
        (cached.cached_tokens or 0) if cached is not None else 0,
        usage.completion_tokens,
        (thought.reasoning_tokens or 0) if thought is not None else 0,
    )
