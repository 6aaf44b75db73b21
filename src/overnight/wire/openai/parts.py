"""Parts of an answer line that are passed on as they came: the body, and the log probabilities in it."""

from __future__ import annotations

from msgspec import Raw, Struct
from msgspec.json import Decoder

from overnight.types import Endpoint


class _Response(Struct):
    body: Raw | None = None


class _Line(Struct):
    response: _Response | None = None


class _Part(Struct):
    logprobs: Raw | None = None


class _Chat(Struct):
    choices: list[_Part] | None = None


class _Item(Struct):
    content: list[_Part] | None = None


class _Output(Struct):
    output: list[_Item] | None = None


_lines = Decoder(_Line)
_chats = Decoder(_Chat)
_outputs = Decoder(_Output)
_lists = Decoder(list[Raw])


def body_of(line: bytes) -> bytes | None:
    """The response's body as the provider wrote it, or None where there is none."""
    response = _lines.decode(line).response
    return bytes(response.body) if response is not None and response.body is not None else None


def logprobs_of(line: bytes, endpoint: str) -> bytes | None:
    """Log probabilities as JSON: the object of the first choice (chat), the list over all tokens of the output
    (responses), None where the answer has none."""
    body = body_of(line)
    if body is None:
        return None
    if endpoint == Endpoint.CHAT:
        choices = _chats.decode(body).choices
        given = choices[0].logprobs if choices else None
        return bytes(given) if given is not None else None
    if endpoint == Endpoint.RESPONSES:
        items = _outputs.decode(body).output or ()
        parts = [part.logprobs for item in items for part in item.content or () if part.logprobs is not None]
        tokens = [bytes(token) for part in parts for token in _lists.decode(part)]
        return b"[%s]" % b",".join(tokens) if tokens else None
    return None
