"""The plain answer, read in a fraction of the time: one candidate that said something in one piece and stopped."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Raw, Struct
from msgspec.json import Decoder

from overnight.types import Endpoint
from overnight.wire.gemini.answers import MOST_TOKENS
from overnight.wire.plain import Plain, PlainReader

_Count = Annotated[int, Meta(ge=0, le=MOST_TOKENS)]


class _Text(Struct, gc=False, forbid_unknown_fields=True):
    text: Raw


class _Content(Struct, gc=False):
    parts: Annotated[list[_Text], Meta(min_length=1, max_length=1)]


class _Candidate(Struct, gc=False, rename="camel"):
    content: _Content
    finish_reason: Literal["STOP"]


class _Usage(Struct, gc=False, rename="camel"):
    prompt_token_count: _Count
    candidates_token_count: _Count = 0
    cached_content_token_count: _Count = 0
    thoughts_token_count: _Count = 0
    tool_use_prompt_token_count: _Count = 0


class Response(Struct, gc=False, rename="camel"):
    """The response of a plain answer."""

    candidates: Annotated[list[_Candidate], Meta(min_length=1)]
    usage_metadata: _Usage
    model_version: str | None = None
    response_id: str | None = None


class _Line(Struct, gc=False):
    key: str
    response: Response
    error: None = None


_decode = Decoder(_Line).decode
_text = Decoder(str).decode


def plain_reader(endpoint: str) -> PlainReader | None:
    """The reader of the endpoint's plain answers; None where it has none."""
    return PlainReader(_Reader().read, "STOP") if endpoint == Endpoint.GENERATE else None


class Places:
    """What plain responses of one file say, and where in their lines: as a rule where it stood in the line before."""

    def __init__(self) -> None:
        self._text_at = self._id_at = 0

    def plain_of(self, line: bytes, custom_id: str, response: Response) -> Plain | None:
        """The answer; None where the response says nothing."""
        said = bytes(response.candidates[0].content.parts[0].text)
        try:
            text = _text(said)
        except ValueError:
            return None
        if not text or text.isspace():
            return None
        if not line.startswith(said, self._text_at):
            self._text_at = line.find(said)
        identity = (response.response_id or "").encode()
        if not line.startswith(identity, self._id_at):
            self._id_at = line.find(identity)
            if self._id_at < 0:  # it is written with escapes
                return None
        usage = response.usage_metadata
        thought = usage.thoughts_token_count
        return (
            custom_id,
            text,
            response.model_version,
            self._text_at,
            len(said),
            self._id_at,
            len(identity),
            usage.prompt_token_count + usage.tool_use_prompt_token_count,
            usage.cached_content_token_count,
            usage.candidates_token_count + thought,
            thought,
            0,
        )


class _Reader(Places):
    def read(self, line: bytes) -> Plain | None:
        """See `wire.plain.PlainReader`."""
        try:
            found = _decode(line)
        except ValueError:
            return None
        return self.plain_of(line, found.key, found.response)
