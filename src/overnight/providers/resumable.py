"""Google's resumable uploads: a file goes up in parts, and after an answer that was lost the server says how far it
is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, BinaryIO, Final
from urllib.parse import urlsplit

import orjson

from overnight.errors import ProviderError
from overnight.http import Http
from overnight.providers.calls import Calls
from overnight.types import Failure, FailureKind

PART: Final = 8 << 20  # bytes, a multiple of the granularity that servers ask for
TRIES: Final = 6  # without a byte of progress
DOING: Final = "upload the batch file"
TYPE: Final = "application/jsonl"
_STATUS, _RECEIVED, _URL = "x-goog-upload-status", "x-goog-upload-size-received", "x-goog-upload-url"
_UNCLEAR = Failure(FailureKind.TRANSIENT, "the answer does not say how far the upload is", code="upload_cut")


class Taken(Exception):
    """There is a file of that name already."""


class Upload:
    """One file on its way to `path`, as `about` describes it (its name among the rest). Nothing is harmed by a part
    that arrives twice: each says where it begins."""

    def __init__(
        self,
        http: Http,
        calls: Calls,
        path: str,
        about: Mapping[str, Any],
        size: int,
        sleep: Callable[[float], Awaitable[object]],
    ) -> None:
        self._http = http
        self._calls = calls
        self._path = path
        self._about = about
        self._size = size
        self._sleep = sleep
        self._url: str | None = None
        self._offset = 0

    async def send(self, file: BinaryIO) -> None:
        """Return when the server says that it has all of it. Raises `Taken`, and `ProviderError` where it refuses, or
        nothing goes on."""
        tries, furthest = 0, 0
        while self._offset < self._size or self._url is None:
            try:
                if self._url is None:
                    self._url, self._offset = await self._begun(), 0
                await self._send_part(file, self._url)
            except ProviderError as error:
                tries = tries + 1 if self._offset <= furthest else 1
                furthest = max(furthest, self._offset)
                if error.failure.kind is not FailureKind.TRANSIENT or tries == TRIES:
                    raise
                await self._sleep(2.0**tries)
                if self._url is not None:
                    await self._look(self._url)

    async def _begun(self) -> str:
        """Where the parts go. The server's own host is asked, whatever host the answer names."""
        headers = {
            "x-goog-upload-protocol": "resumable",
            "x-goog-upload-command": "start",
            "x-goog-upload-header-content-length": str(self._size),
            "x-goog-upload-header-content-type": TYPE,
        }
        answer = await self._http.post_harmless(self._path, orjson.dumps({"file": self._about}), headers)
        if answer.status == 409:
            raise Taken
        if answer.status >= 300:
            raise self._calls.error(self._calls.refusal(answer), DOING)
        url = urlsplit(answer.headers.get(_URL, ""))
        if not url.path:
            raise self._calls.error(Failure(FailureKind.PERMANENT, "the answer names no place for the file"), DOING)
        path = url.path.removeprefix(urlsplit(self._http.base_url).path)
        return f"{path}?{url.query}" if url.query else path

    async def _send_part(self, file: BinaryIO, url: str) -> None:
        length = min(PART, self._size - self._offset)
        last = self._offset + length == self._size
        await asyncio.to_thread(file.seek, self._offset)
        headers = {
            "x-goog-upload-offset": str(self._offset),
            "x-goog-upload-command": "upload, finalize" if last else "upload",
        }
        answer = await self._http.post_part(url, file, length, headers)
        if answer.status in (404, 410):  # the upload is forgotten, which `_look` finds as well: it begins again
            raise self._calls.error(_UNCLEAR, DOING)
        if answer.status >= 300:
            raise self._calls.error(self._calls.refusal(answer), DOING)
        if answer.headers.get(_STATUS) != ("final" if last else "active"):
            raise self._calls.error(_UNCLEAR, DOING)
        self._offset += length

    async def _look(self, url: str) -> None:
        """Go on where the server is; from the start where it knows nothing of the upload any more."""
        answer = await self._http.post_harmless(url, b"", {"x-goog-upload-command": "query"})
        status, received = answer.headers.get(_STATUS), answer.headers.get(_RECEIVED, "")
        if answer.status < 300 and status == "final":
            self._offset = self._size
        elif answer.status < 300 and status == "active" and received.isdecimal() and int(received) < self._size:
            self._offset = int(received)
        else:
            self._url, self._offset = None, 0
