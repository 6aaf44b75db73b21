"""The plain answer, read in a third of the time: a chat completion that said something and stopped by itself."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Raw, Struct
from msgspec.json import Decoder

from overnight.types import Endpoint
from overnight.wire.openai.shapes import MOST_TOKENS, CachedDetails, ReasoningDetails
from overnight.wire.plain import Plain, PlainReader

_Count = Annotated[int, Meta(ge=0, le=MOST_TOKENS)]


class _Message(Struct, gc=False):
    content: Raw
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


_decode = Decoder(_Line).decode
_text = Decoder(str).decode


def plain_reader(endpoint: str) -> PlainReader | None:
    """The reader of the endpoint's plain answers; None where it has none."""
    return PlainReader(_Reader().read, "stop") if endpoint == Endpoint.CHAT else None


class _Reader:
    """Reads lines of one file: what is looked for stands, as a rule, where it stood in the line before."""

    def __init__(self) -> None:
        self._text_at = self._id_at = 0

    def read(self, line: bytes) -> Plain | None:
        """See `wire.plain.PlainReader`."""
        try:
            found = _decode(line)
            response = found.response
            body = response.body
            said = bytes(body.choices[0].message.content)
            text = _text(said)
        except (ValueError, IndexError):
            return None
        if not text or text.isspace():
            return None
        if not line.startswith(said, self._text_at):
            self._text_at = line.find(said)
        request = (response.request_id or "").encode()
        if not line.startswith(request, self._id_at):
            self._id_at = line.find(request)
            if self._id_at < 0:  # it is written with escapes
                return None
        usage = body.usage
        cached, thought = usage.prompt_tokens_details, usage.completion_tokens_details
        return (
            found.custom_id,
            text,
            body.model,
            self._text_at,
            len(said),
            self._id_at,
            len(request),
            usage.prompt_tokens,
            (cached.cached_tokens or 0) if cached is not None else 0,
            usage.completion_tokens,
            (thought.reasoning_tokens or 0) if thought is not None else 0,
            0,
        )
