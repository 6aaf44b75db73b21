"""Raw sources: lines that are complete batch lines, or bodies, checked and passed on unchanged."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from overnight.data.estimates import estimate
from overnight.data.records import Unreadable
from overnight.data.requests import Request
from overnight.types import Endpoint
from overnight.wire.custom_ids import custom_id
from overnight.wire.dialect import Dialect
from overnight.wire.openai import request_line

Values = Mapping[str, Any]

_URL = re.compile(r"/v1/[a-z0-9_/-]+")
_GENERATING = frozenset({Endpoint.CHAT, Endpoint.RESPONSES, "/v1/completions"})


class _Line(msgspec.Struct):
    custom_id: str | None = None
    method: str | None = None
    url: str | None = None
    body: msgspec.Raw = msgspec.Raw()


class _Body(msgspec.Struct):
    model: str | None = None
    stream: bool | None = None
    n: int | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    max_output_tokens: int | None = None
    input: msgspec.Raw = msgspec.Raw()

    @property
    def limit(self) -> int | None:
        """Output tokens that are not exceeded."""
        limits = (self.max_tokens, self.max_completion_tokens, self.max_output_tokens)
        given = [limit for limit in limits if limit is not None]
        return max(given) * (self.n or 1) if given else None


class _Rendered(NamedTuple):
    url: str
    body: bytes
    peek: _Body


_read_line = msgspec.json.Decoder(_Line).decode
_read_body = msgspec.json.Decoder(_Body).decode
_read_inputs = msgspec.json.Decoder(list[msgspec.Raw]).decode


def parse_raw(line: bytes) -> Values:
    """`{custom_id, method, url, body}` of a batch line, or of a line that is a body itself: then the first three are
    None. `body` is bytes as they stand in the line. Raises `Unreadable`. For `open_source(parse=)`."""
    try:
        line.decode()
        found = _read_line(line)
    except UnicodeDecodeError as error:
        raise Unreadable("not valid UTF-8") from error
    except msgspec.ValidationError as error:
        raise Unreadable(f"no batch line: {error}") from error
    except msgspec.DecodeError as error:
        raise Unreadable(f"no valid JSON ({error})") from error
    body = bytes(found.body)
    if not body and (found.custom_id, found.method, found.url) != (None, None, None):
        raise Unreadable("a batch line needs a body")
    return {"custom_id": found.custom_id, "method": found.method, "url": found.url, "body": body or line.strip()}


def sent_request(line: bytes, model: str, endpoint: str, spoken: Dialect) -> Request:
    """A line that was made here before, as a request: its figures are read off the line."""
    peek = _read_body(spoken.split_line(line)[1])
    return Request(model, endpoint, line, *estimate(line.decode()), peek.limit, _inputs(peek, endpoint))


class RawRequests:
    """Requests whose bodies the user wrote. `endpoint` is meant where a line names none. Without `allow_unlimited` a
    generating request that limits no output is refused."""

    columns: frozenset[str] | None = None

    def __init__(self, endpoint: Endpoint, allow_unlimited: bool, tag: str) -> None:
        self._endpoint = endpoint
        self._allow_unlimited = allow_unlimited
        self._tag = tag

    def is_empty(self, values: Values) -> bool:
        """Never: what is in the body is the user's."""
        return False

    def render(self, values: Values) -> _Rendered:
        """The checked request. Raises `Unreadable` with what is wrong."""
        url = values["url"] or str(self._endpoint)
        try:
            peek = _read_body(values["body"])
        except msgspec.DecodeError as error:
            raise Unreadable(f"body: {error}") from error
        if values["method"] not in {None, "POST"}:
            raise Unreadable("method must be POST")
        if not _URL.fullmatch(url):
            raise Unreadable("url must be a path such as /v1/chat/completions")
        if not peek.model:
            raise Unreadable("body.model is missing")
        if peek.stream:
            raise Unreadable("body.stream must not be true in a batch")
        if url in _GENERATING and peek.limit is None and not self._allow_unlimited:
            raise Unreadable(f"no limit on the output: set body.{_limit_name(url)}, or allow it (--allow-unlimited)")
        return _Rendered(url, values["body"], peek)

    def request(self, ordinal: int, generation: int, rendered: _Rendered) -> Request:
        """As `Requests.request`."""
        url, body, peek = rendered
        line = request_line(custom_id(self._tag, ordinal, generation), url, body)
        return Request(peek.model or "", url, line, *estimate(body.decode()), peek.limit, _inputs(peek, url))

    def request_all(self, first: int, generation: int, rows: Sequence[Values | None]) -> None:
        """As `Requests.request_all`: every body needs a look of its own."""


def _limit_name(url: str) -> str:
    match url:
        case Endpoint.CHAT:
            return "max_completion_tokens"
        case Endpoint.RESPONSES:
            return "max_output_tokens"
        case _:
            return "max_tokens"


def _inputs(peek: _Body, url: str) -> int:
    """Texts of an embeddings request: a list of texts or of token lists counts each, a list of tokens is one text."""
    if url != Endpoint.EMBEDDINGS or not bytes(peek.input).startswith(b"["):
        return 1
    items = _read_inputs(peek.input)
    return sum(bytes(item)[:1] in {b'"', b"["} for item in items) or 1
