"""Raw sources: lines that are complete batch lines, or bodies, checked and passed on unchanged."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from overnight.core.parameters import LIMITED
from overnight.data.estimates import estimate
from overnight.data.records import Unreadable
from overnight.data.requests import Request, RequestShape
from overnight.types import Endpoint
from overnight.wire.custom_ids import custom_id
from overnight.wire.dialect import Dialect

if TYPE_CHECKING:
    from overnight.wire.vertex.importer import Importer

Values = Mapping[str, Any]

_URL = re.compile(r"/v1/[a-z0-9_/-]+")


class _Line(msgspec.Struct):
    """A batch line of any dialect."""

    custom_id: str | None = None
    key: str | None = None
    method: str | None = None
    url: str | None = None
    body: msgspec.Raw = msgspec.Raw()
    params: msgspec.Raw = msgspec.Raw()
    request: msgspec.Raw = msgspec.Raw()


_FRAMES: Final[Mapping[str, str]] = {"openai": "body", "anthropic": "params", "gemini": "request", "vertex": "request"}
"""The field of a batch line in which its body stands, by dialect."""


class _Generation(msgspec.Struct, rename={"most": "maxOutputTokens", "count": "candidateCount"}):
    most: int | None = None
    count: int | None = None
    max_output_tokens: int | None = None
    candidate_count: int | None = None


class _Body(msgspec.Struct, rename={"generation": "generationConfig"}):
    """What has to be known of a body, in the words of every dialect."""

    model: str | None = None
    stream: bool | None = None
    n: int | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    max_output_tokens: int | None = None
    generation: _Generation | None = None
    generation_config: _Generation | None = None
    input: msgspec.Raw = msgspec.Raw()

    @property
    def limit(self) -> int | None:
        """Output tokens that are not exceeded."""
        google = self.generation or self.generation_config or _Generation()
        limits = (
            *(self.max_tokens, self.max_completion_tokens, self.max_output_tokens),
            *(google.most, google.max_output_tokens),
        )
        given = [limit for limit in limits if limit is not None]
        return max(given) * (self.n or google.count or google.candidate_count or 1) if given else None


class _Rendered(NamedTuple):
    url: str
    body: bytes
    peek: _Body


_read_line = msgspec.json.Decoder(_Line).decode
_read_body = msgspec.json.Decoder(_Body).decode
_read_inputs = msgspec.json.Decoder(list[msgspec.Raw]).decode


def parse_raw(line: bytes) -> Values:
    """`{custom_id, method, url, frame, body}` of a batch line of any dialect, or of a line that is a body itself: then
    all but the last are None. `frame` is the field that held the body, `body` bytes as they stand in the line. Raises
    `Unreadable`. For `open_source(parse=)`."""
    try:
        line.decode()
        found = _read_line(line)
    except UnicodeDecodeError as error:
        raise Unreadable("not valid UTF-8") from error
    except msgspec.ValidationError as error:
        raise Unreadable(f"no batch line: {error}") from error
    except msgspec.DecodeError as error:
        raise Unreadable(f"no valid JSON ({error})") from error
    framed = {name: bytes(getattr(found, name)) for name in dict.fromkeys(_FRAMES.values())}
    frames = [name for name, body in framed.items() if body]
    told = found.custom_id if found.custom_id is not None else found.key
    if len(frames) > 1:
        raise Unreadable(f"a batch line has one of {' and '.join(frames)}")
    if not frames and (told, found.method, found.url) != (None, None, None):
        raise Unreadable("a batch line needs a body")
    frame = frames[0] if frames else None
    body = line.strip() if frame is None else framed[frame]
    return {"custom_id": told, "method": found.method, "url": found.url, "frame": frame, "body": body}


def sent_request(line: bytes, model: str, endpoint: str, spoken: Dialect) -> Request:
    """A line that was made here before, as a request: its figures are read off the line."""
    peek = _read_body(spoken.split_line(line)[1])
    return Request(model, endpoint, line, *estimate(line.decode()), peek.limit, _inputs(peek, endpoint))


class RawRequests:
    """Requests whose bodies the user wrote, in the dialect of the shape. Its endpoint is meant where a line names none,
    its model where a body has no place for one. Without `allow_unlimited` a generating request that limits no output
    is refused."""

    columns: frozenset[str] | None = None
    shared = 0.0

    def __init__(self, shape: RequestShape, allow_unlimited: bool, tag: str) -> None:
        self._shape = shape
        self._allow_unlimited = allow_unlimited
        self._tag = tag
        self._importer: Importer | None = None
        if shape.dialect == "vertex":
            from overnight.wire.vertex.importer import Importer

            self._importer = Importer()

    def is_empty(self, values: Values) -> bool:
        """Never: what is in the body is the user's."""
        return False

    def render(self, values: Values) -> _Rendered:
        """The checked request. Raises `Unreadable` with what is wrong."""
        url = values["url"] or str(self._shape.endpoint)
        frame = _FRAMES[self._shape.dialect]
        if values["frame"] not in {None, frame}:
            raise Unreadable(
                f"a batch line of {self._shape.dialect} has its body in `{frame}`, not in `{values['frame']}`"
            )
        try:
            peek = _read_body(values["body"])
        except msgspec.DecodeError as error:
            raise Unreadable(f"body: {error}") from error
        if values["method"] not in {None, "POST"}:
            raise Unreadable("method must be POST")
        if self._shape.dialect == "openai" and not _URL.fullmatch(url):
            raise Unreadable("url must be a path such as /v1/chat/completions")
        if self._shape.dialect != "openai" and values["url"] is not None:
            raise Unreadable(f"a batch line of {self._shape.dialect} has no url")
        if self._shape.dialect in {"openai", "anthropic"} and not peek.model:
            raise Unreadable(f"{frame}.model is missing")
        if peek.stream:
            raise Unreadable(f"{frame}.stream must not be true in a batch")
        if url in LIMITED and peek.limit is None and not self._allow_unlimited:
            told = f"{frame}.{_limit_name(url)}"
            raise Unreadable(f"no limit on the output: set {told}, or allow it (--allow-unlimited)")
        fault = None if self._importer is None else self._importer.fault(msgspec.json.decode(values["body"]))
        if fault is not None:
            raise Unreadable(f"{fault.field} {fault.why}: for that Vertex AI would refuse the whole file")
        return _Rendered(url, values["body"], peek)

    def request(self, ordinal: int, generation: int, rendered: _Rendered) -> Request:
        """As `Requests.request`."""
        url, body, peek = rendered
        line = self._shape.spoken.request_line(custom_id(self._tag, ordinal, generation), url, body)
        return Request(
            peek.model or self._shape.model, url, line, *estimate(body.decode()), peek.limit, _inputs(peek, url)
        )

    def request_all(self, first: int, generation: int, rows: Sequence[Values | None]) -> None:
        """As `Requests.request_all`: every body needs a look of its own."""


def _limit_name(url: str) -> str:
    match url:
        case Endpoint.CHAT:
            return "max_completion_tokens"
        case Endpoint.RESPONSES:
            return "max_output_tokens"
        case Endpoint.GENERATE:
            return "generationConfig.maxOutputTokens"
        case _:
            return "max_tokens"


def _inputs(peek: _Body, url: str) -> int:
    """Texts of an embeddings request: a list of texts or of token lists counts each, a list of tokens is one text."""
    if url != Endpoint.EMBEDDINGS or not bytes(peek.input).startswith(b"["):
        return 1
    items = _read_inputs(peek.input)
    return sum(bytes(item)[:1] in {b'"', b"["} for item in items) or 1
