"""What the server answers with: JSON documents, and errors in the envelope of the family that is spoken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, BinaryIO, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from overnight.wire import gemini, openai
from overnight.wire.families import ANTHROPIC

CHUNK: Final = 256 * 1024  # bytes of a file that are sent at a time


class ApiError(Exception):
    """An error that the client sees: HTTP status, and the fields of the envelope."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        type: str = "invalid_request_error",
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.type = type

    def response(self, scope: Scope) -> Response:
        """The envelope, in the words of the request's family."""
        match scope["family"]:
            case "anthropic":
                return document(ANTHROPIC.error(self.status, self.message, scope["request_id"]), self.status)
            case "gemini":
                status, reason = (400, "API_KEY_INVALID") if self.status == 401 else (self.status, None)
                word = self.code if self.code in gemini.STATUSES else None
                return document(gemini.error_envelope(status, self.message, word, reason), status)
            case _:
                return document(openai.error_envelope(self.message, self.type, self.param, self.code), self.status)


def document(content: Any, status: int = 200) -> Response:
    """A JSON answer."""
    return json_bytes(orjson.dumps(content), status)


def json_bytes(body: bytes, status: int = 200) -> Response:
    """A JSON answer that is encoded already."""
    return Response(body, status, media_type="application/json")


async def discard(stream: AsyncIterator[bytes], most: int) -> None:
    """Read on, up to `most` bytes, and keep nothing: a client that is still sending would not see the refusal."""
    async for part in stream:
        most -= len(part)
        if most < 0:
            return


async def pieces(stream: AsyncIterator[bytes], size: int) -> AsyncIterator[bytes]:
    """What comes, in pieces of at least `size` bytes, but for the last one."""
    gathered: list[bytes] = []
    length = 0
    async for part in stream:
        gathered.append(part)
        length += len(part)
        if length >= size:
            yield b"".join(gathered)
            gathered.clear()
            length = 0
    if length:
        yield b"".join(gathered)


async def chunks(file: BinaryIO) -> AsyncIterator[bytes]:
    """The file's bytes; it is closed in the end."""
    with file:
        while chunk := await asyncio.to_thread(file.read, CHUNK):
            yield chunk


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body. Raises 413 where it is longer than `limit` bytes."""
    parts: list[bytes] = []
    size = 0
    stream = request.stream()
    async for part in stream:
        size += len(part)
        if size > limit:
            await discard(stream, 4 * limit)
            raise ApiError(413, f"The request body is larger than {limit:,} bytes.")
        parts.append(part)
    return b"".join(parts)


def json_object(body: bytes) -> dict[str, Any]:
    """The body as a JSON object. Raises 400 where it is none."""
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise ApiError(400, "The request body is not valid JSON.") from None
    if not isinstance(content, dict):
        raise ApiError(400, "The request body must be a JSON object.")
    return content


def page_limit(request: Request, default: int, most: int) -> int:
    """The `limit` of a list call. Raises 400 where it is no number from 1 to `most`."""
    text = request.query_params.get("limit")
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= most):
        raise ApiError(
            400, f"Invalid 'limit': expected an integer from 1 to {most:,}.", param="limit", code="invalid_value"
        )
    return int(text)
