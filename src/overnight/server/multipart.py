"""Uploads: a multipart form whose file part goes straight to a blob, in whatever order the parts come."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from overnight.ports import BlobWriter
from overnight.server.replies import ApiError, discard

WRITE_BYTES = 1024 * 1024
MOST_FIELD = 64 * 1024  # bytes of all fields together


@dataclass(slots=True)
class Form:
    """An upload that came in whole. The file is written, not yet committed; `digest` is made of all that was sent, of
    the file's bytes only where the request has an `Idempotency-Key` to compare them by."""

    writer: BlobWriter
    fields: dict[str, str]
    filename: str
    size: int
    digest: str


@dataclass(slots=True)
class _Parts:
    """What the parser's callbacks gather."""

    fields: dict[str, str] = field(default_factory=dict)
    filename: str | None = None
    pending: list[bytes] = field(default_factory=list)  # bytes of the file that are not yet written
    file_size: int = 0
    complete: bool = False
    _header: bytearray = field(default_factory=bytearray)
    _value: bytearray = field(default_factory=bytearray)
    _name: str = ""
    _text: bytearray = field(default_factory=bytearray)
    _in_file: bool = False
    _fields_size: int = 0

    def begin(self) -> None:
        self._name, self._in_file = "", False
        self._text.clear()

    def header_name(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            # Browsers and SDKs write UTF-8 here, the parser takes bytes for latin-1 and gives them back so.
            _, options = parse_options_header(self._value.decode("latin-1"))
            self._name = options.get(b"name", b"").decode("utf-8", "replace")
            if self._name == "file":
                if self.filename is not None:
                    raise ApiError(400, "There is more than one file in the form.", param="file")
                self.filename = options.get(b"filename", b"").decode("utf-8", "replace")
                self._in_file = True
        self._header.clear()
        self._value.clear()

    def data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self.pending.append(data[start:end])
            self.file_size += end - start
            return
        self._fields_size += end - start
        if self._fields_size > MOST_FIELD:
            raise ApiError(413, "The fields of the form are too long.")
        self._text += data[start:end]

    def part_end(self) -> None:
        if not self._in_file:
            self.fields[self._name] = self._text.decode("utf-8", "replace")

    def end(self) -> None:
        self.complete = True


async def read_form(request: Request, limit: int, create: Callable[[], BlobWriter], stack: ExitStack) -> Form:
    """Read the form of an upload; its blob is entered on `stack`, so that without a commit nothing is left. Raises
    400 for a form that is broken or holds no file, 413 for a file over `limit` bytes."""
    parts = _Parts()
    parser = _parser(request, parts)
    writer = stack.enter_context(await asyncio.to_thread(create))
    digest = hashlib.sha256()
    update = digest.update if "idempotency-key" in request.headers else None
    buffered = 0
    stream = request.stream()
    async for chunk in stream:
        try:
            parser.write(chunk)
        except FormParserError:
            raise ApiError(400, "The multipart form cannot be read.") from None
        buffered += len(chunk)
        if buffered >= WRITE_BYTES:
            await _flush(parts, writer, update)
            buffered = 0
        if parts.file_size > limit:
            await discard(stream, 4 * limit)
            raise ApiError(413, f"File is too large. The limit is {limit:,} bytes.", param="file")
    await _flush(parts, writer, update)
    if not parts.complete:
        raise ApiError(400, "The multipart form ends before its end.")
    if parts.filename is None:
        raise ApiError(400, "Missing required parameter: 'file'.", param="file", code="missing_required_parameter")
    for name, text in sorted(parts.fields.items()):
        digest.update(f"\0{name}\0{text}".encode())
    digest.update(f"\0{parts.filename}".encode())
    return Form(writer, parts.fields, parts.filename, writer.tell(), digest.hexdigest())


async def _flush(parts: _Parts, writer: BlobWriter, update: Callable[[bytes], None] | None) -> None:
    if not parts.pending:
        return
    data = b"".join(parts.pending)
    parts.pending.clear()
    await asyncio.to_thread(_write, writer, update, data)


def _write(writer: BlobWriter, update: Callable[[bytes], None] | None, data: bytes) -> None:
    if update is not None:
        update(data)
    writer.write(data)


def _parser(request: Request, parts: _Parts) -> MultipartParser:
    kind, options = parse_options_header(request.headers.get("content-type"))
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise ApiError(400, "An upload must be multipart/form-data with a boundary.")
    return MultipartParser(
        boundary,
        {
            "on_part_begin": parts.begin,
            "on_part_data": parts.data,
            "on_part_end": parts.part_end,
            "on_header_field": parts.header_name,
            "on_header_value": parts.header_value,
            "on_header_end": parts.header_end,
            "on_end": parts.end,
        },
    )
