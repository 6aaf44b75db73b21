"""The plain answer, read in a third of the time: one that said something in one piece and stopped by itself."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Raw, Struct
from msgspec.json import Decoder

from overnight.types import Endpoint
from overnight.wire.anthropic.answers import Usage
from overnight.wire.plain import Plain, PlainReader


class _Text(Struct, gc=False):
    type: Literal["text"]
    text: Raw


class _Message(Struct, gc=False):
    content: Annotated[list[_Text], Meta(min_length=1, max_length=1)]
    stop_reason: Literal["end_turn"]
    usage: Usage
    id: str | None = None
    model: str | None = None


class _Result(Struct, gc=False):
    type: Literal["succeeded"]
    message: _Message


class _Line(Struct, gc=False):
    custom_id: str
    result: _Result


_decode = Decoder(_Line).decode
_text = Decoder(str).decode


def plain_reader(endpoint: str) -> PlainReader | None:
    """The reader of the endpoint's plain answers; None where it has none."""
    return PlainReader(_Reader().read, "end_turn") if endpoint == Endpoint.MESSAGES else None


class _Reader:
    """Reads lines of one file: what is looked for stands, as a rule, where it stood in the line before."""

    def __init__(self) -> None:
        self._text_at = self._id_at = 0

    def read(self, line: bytes) -> Plain | None:
        """See `wire.plain.PlainReader`."""
        try:
            found = _decode(line)
            message = found.result.message
            said = bytes(message.content[0].text)
            text = _text(said)
        except ValueError:
            return None
        if not text or text.isspace():
            return None
        if not line.startswith(said, self._text_at):
            self._text_at = line.find(said)
        identity = (message.id or "").encode()
        if not line.startswith(identity, self._id_at):
            self._id_at = line.find(identity)
            if self._id_at < 0:  # it is written with escapes
                return None
        return (
            found.custom_id,
            text,
            message.model,
            self._text_at,
            len(said),
            self._id_at,
            len(identity),
            *message.usage.counts(),
        )
