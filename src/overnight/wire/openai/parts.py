"""Parts of an answer line that are passed on as they came: the body, and the log probabilities in it."""

from __future__ import annotations

from msgspec import UNSET, Raw, Struct, UnsetType, ValidationError
from msgspec.json import Decoder

from overnight.types import Endpoint
from overnight.wire.strict import strict_json


class _Response(Struct):
    body: Raw | UnsetType = UNSET


class _Line(Struct):
    response: _Response | None = None


class _Part(Struct):
    logprobs: Raw | UnsetType = UNSET


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
    try:
        response = _lines.decode(strict_json(line)).response
    except ValidationError:
        return None
    return _given(response.body) if response is not None else None


def logprobs_of(line: bytes, endpoint: str) -> bytes | None:
    """Log probabilities as JSON: the object of the first choice (chat), the list over all tokens of the output
    (responses), None where the answer has none."""
    body = body_of(line)
    if body is None:
        return None
    try:
        if endpoint == Endpoint.CHAT:
            choices = _chats.decode(body).choices
            return _given(choices[0].logprobs) if choices else None
        if endpoint == Endpoint.RESPONSES:
            return _of_output(_outputs.decode(body).output or [])
    except ValidationError:
        pass  # another shape than the endpoint's: an error, as a rule
    return None


def _of_output(items: list[_Item]) -> bytes | None:
    lists = [_given(part.logprobs) for item in items for part in item.content or ()]
    tokens = [bytes(token) for given in lists if given is not None for token in _lists.decode(given)]
    return b"[%s]" % b",".join(tokens) if tokens else None


def _given(raw: Raw | UnsetType) -> bytes | None:
    if isinstance(raw, UnsetType):
        return None
    value = bytes(raw)
    return None if value == b"null" else value
