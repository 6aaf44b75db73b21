"""Lines of predictions, read and judged: Gemini's responses beside the requests, and refusals as a text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import orjson
from msgspec import Struct
from msgspec.json import Decoder

from overnight.types import Endpoint, Reply
from overnight.wire.gemini.answers import document_of, judged, logprobs_of, refused, tokens_of
from overnight.wire.gemini.failures import ErrorFields, fields_from
from overnight.wire.gemini.plain import Places, Response
from overnight.wire.plain import Plain, PlainReader
from overnight.wire.vertex.requests import KEY

__all__ = ["body_of", "logprobs_of", "plain_reader", "read_line"]


def read_line(line: bytes, endpoint: str, text: bool = True) -> Reply:
    """The answer of a row, judged: a failure where its status says something. `text=False` leaves text and tool calls
    out; the judgement is the same. Raises ValueError for a line that is no JSON object with a key."""
    document = document_of(line)
    key, status, response = document.get("key"), document.get("status"), document.get("response")
    if not isinstance(key, str | int | float):
        raise ValueError("the line is no object with a key")
    custom_id = str(key).removeprefix(KEY)
    if not isinstance(status, str) or not status.strip():
        return judged(custom_id, response, None, endpoint, text)
    reply = refused(custom_id, fields_from(_error(status)) or ErrorFields())
    used = tokens_of(response) if isinstance(response, Mapping) else None
    return reply if used is None else replace(reply, tokens=used, ran=True)


def body_of(line: bytes) -> bytes | None:
    """The response as the provider wrote it (but for spaces), or the error; None where there is neither."""
    document = document_of(line)
    status = document.get("status")
    found = document.get("response") or (_error(status) if isinstance(status, str) and status.strip() else None)
    return None if found is None else orjson.dumps(found)


def _error(status: str) -> Mapping[str, Any]:
    """The error object of `Bad Request: {"error": {...}}`; of another text, one that says no more than it does."""
    _, brace, rest = status.partition("{")
    try:
        document = orjson.loads(brace + rest)
    except orjson.JSONDecodeError:
        document = None
    error = document.get("error") if isinstance(document, Mapping) else None
    return error if isinstance(error, Mapping) else {"message": status}


class _Line(Struct, gc=False):
    key: str
    response: Response
    status: Literal[""] = ""


_decode = Decoder(_Line).decode


def plain_reader(endpoint: str) -> PlainReader | None:
    """The reader of the endpoint's plain answers; None where it has none."""
    return PlainReader(_Reader().read, "STOP") if endpoint == Endpoint.GENERATE else None


class _Reader(Places):
    def read(self, line: bytes) -> Plain | None:
        """See `wire.plain.PlainReader`."""
        try:
            found = _decode(line)
        except ValueError:
            return None
        return self.plain_of(line, found.key.removeprefix(KEY), found.response)
