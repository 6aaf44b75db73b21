"""Google's files: resumable uploads in chunks, get, list, delete.

An upload is remembered by this process only: one that a restart cuts off is begun again by its client.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from overnight.errors import Conflict
from overnight.ports import Blobs, BlobWriter, Clock, ObjectStore
from overnight.server.records import GEMINI_FILE, GeminiFile, decode_gemini_file, encode, file_blob
from overnight.server.replies import ApiError, document, json_object, read_body
from overnight.wire import gemini
from overnight.wire.gemini.answers import field as named
from overnight.wire.gemini.answers import number

MOST_BYTES = 2 * 1024**3
RETENTION = 48 * 3600
GRANULARITY = 262_144  # bytes: chunks are multiples of it
IDLE = 3600.0  # seconds after which an upload that nobody goes on with is forgotten
MOST_PAGE = 100
_ID = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
_NAMES = "files/ and up to 40 lowercase letters, digits and dashes, no dash at an end."


def shown(record: GeminiFile, request: Request) -> dict[str, Any]:
    """The file object."""
    return gemini.file_object(
        id=record.id,
        size=record.size,
        created_at=record.created_at,
        expires_at=record.expires_at,
        mime_type=record.mime_type,
        sha256=record.sha256.encode(),
        base_url=base_url(request),
        display_name=record.display_name,
    )


class _Digest(Protocol):
    def update(self, data: bytes, /) -> None: ...

    def hexdigest(self) -> str: ...


@dataclass(slots=True)
class _Upload:
    """A file on its way."""

    tenant: str
    id: str
    blob: str
    mime_type: str
    display_name: str | None
    expected: int | None
    writer: BlobWriter
    touched: float
    digest: _Digest = field(default_factory=hashlib.sha256)
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)


class GeminiFiles:
    """The resource."""

    def __init__(self, objects: ObjectStore, blobs: Blobs, clock: Clock, in_use: Callable[[str], bool]) -> None:
        self._objects = objects
        self._blobs = blobs
        self._clock = clock
        self._in_use = in_use
        self._uploads: dict[str, _Upload] = {}

    def routes(self) -> list[Route]:
        """The resource, but for downloads: only what batches made can be downloaded."""
        return [
            Route("/upload/{version}/files", self._upload, methods=["POST", "PUT"]),
            Route("/{version}/files", self._list, methods=["GET"]),
            Route("/{version}/files/{id}", self._get, methods=["GET"]),
            Route("/{version}/files/{id}", self._delete, methods=["DELETE"]),
        ]

    async def find(self, tenant: str, id: str) -> GeminiFile | None:
        """The file, or None."""
        stored = await self._objects.get(GEMINI_FILE, tenant, id)
        record = None if stored is None else decode_gemini_file(stored.doc)
        return None if record is None or record.expires_at <= self._clock.now() else record

    # ------------------------------------------------------------------------------------------ uploads

    async def _upload(self, request: Request) -> Response:
        command = {word.strip() for word in request.headers.get("x-goog-upload-command", "").split(",")}
        upload_id = request.query_params.get("upload_id")
        if "start" in command and upload_id is None:
            return await self._start(request)
        upload = self._uploads.get(upload_id or "")
        if upload is None:
            raise ApiError(404, "Upload not found: begin it again.")
        async with upload.busy:
            upload.touched = self._clock.elapsed()
            if "query" in command:
                return _progress(upload, "active")
            if "cancel" in command:
                self._forget(request.query_params["upload_id"])
                return Response(status_code=200, headers={"x-goog-upload-status": "cancelled"})
            return await self._chunk(request, upload, final="finalize" in command)

    async def _start(self, request: Request) -> Response:
        self._forget_idle()
        body = await read_body(request, GRANULARITY)
        told = named(json_object(body), "file") if body else None
        name, headers = named(told, "name"), request.headers
        given = name if isinstance(name, str) and name else f"files/{secrets.token_hex(6)}"
        id = given.removeprefix("files/")
        if not given.startswith("files/") or not _ID.fullmatch(id):
            raise ApiError(400, f"file.name: {_NAMES}")
        tenant = request.scope["tenant"]
        if await self._objects.get(GEMINI_FILE, tenant, id) is not None:
            raise ApiError(409, f"File {id} already exists.")
        size = number(headers.get("x-goog-upload-header-content-length")) or None
        if size is not None and size > MOST_BYTES:
            raise ApiError(400, f"The file is larger than {MOST_BYTES:,} bytes.")
        upload_id, blob = secrets.token_urlsafe(24), f"gemini-{secrets.token_hex(12)}"
        writer = await asyncio.to_thread(self._blobs.create, file_blob(blob))
        writer.__enter__()
        display_name, mime_type = named(told, "displayName"), named(told, "mimeType")
        self._uploads[upload_id] = _Upload(
            tenant,
            id,
            blob,
            mime_type if isinstance(mime_type, str) else headers.get("x-goog-upload-header-content-type", ""),
            display_name if isinstance(display_name, str) else None,
            size,
            writer,
            self._clock.elapsed(),
        )
        url = f"{base_url(request)}/upload/{request.path_params['version']}/files?upload_id={upload_id}"
        answered = {
            "x-goog-upload-url": f"{url}&upload_protocol=resumable",
            "x-goog-upload-status": "active",
            "x-goog-upload-chunk-granularity": str(GRANULARITY),
        }
        return Response(status_code=200, headers=answered)

    async def _chunk(self, request: Request, upload: _Upload, final: bool) -> Response:
        here = upload.writer.tell()
        if number(request.headers.get("x-goog-upload-offset")) != here:
            raise ApiError(400, f"The upload goes on at byte {here}.")
        async for part in request.stream():
            if upload.writer.tell() + len(part) > MOST_BYTES:
                raise ApiError(400, f"The file is larger than {MOST_BYTES:,} bytes.")
            upload.digest.update(part)
            await asyncio.to_thread(upload.writer.write, part)
        if not final:
            return _progress(upload, "active")
        return await self._finish(request, upload)

    async def _finish(self, request: Request, upload: _Upload) -> Response:
        size = upload.writer.tell()
        if upload.expected is not None and upload.expected != size:
            raise ApiError(400, f"{size} of {upload.expected} bytes arrived.")
        now = int(self._clock.now())
        record = GeminiFile(
            id=upload.id,
            blob=upload.blob,
            size=size,
            created_at=now,
            expires_at=now + RETENTION,
            mime_type=upload.mime_type,
            sha256=upload.digest.hexdigest(),
            display_name=upload.display_name,
        )
        await asyncio.to_thread(upload.writer.commit)
        try:
            doc = encode(record)
            await self._objects.insert(GEMINI_FILE, upload.tenant, upload.id, "", now, doc)
        except Conflict:
            raise ApiError(409, f"File {upload.id} already exists.") from None
        finally:
            self._forget(request.query_params["upload_id"])
        response = document({"file": shown(record, request)})
        response.headers["x-goog-upload-status"] = "final"
        return response

    def _forget(self, upload_id: str) -> None:
        upload = self._uploads.pop(upload_id, None)
        if upload is not None:
            upload.writer.__exit__(None, None, None)

    def _forget_idle(self) -> None:
        now = self._clock.elapsed()
        for upload_id in [id for id, upload in self._uploads.items() if now - upload.touched > IDLE]:
            self._forget(upload_id)

    # -------------------------------------------------------------------------------------------- files

    async def _get(self, request: Request) -> Response:
        return document(shown(await self._found(request), request))

    async def _list(self, request: Request) -> Response:
        page, token = await page_of(self._objects, GEMINI_FILE, request, MOST_PAGE)
        now = self._clock.now()
        records = [record for record in map(decode_gemini_file, page) if record.expires_at > now]
        return document({"files": [shown(record, request) for record in records], "nextPageToken": token})

    async def _delete(self, request: Request) -> Response:
        record = await self._found(request)
        await self.remove(request.scope["tenant"], record)
        return document({})

    async def remove(self, tenant: str, record: GeminiFile) -> None:
        """Delete a file; its bytes stay while an open batch reads them."""
        await self._objects.delete(GEMINI_FILE, tenant, record.id)
        if not self._in_use(record.blob):
            await asyncio.to_thread(self._blobs.delete, file_blob(record.blob))

    async def _found(self, request: Request) -> GeminiFile:
        id = request.path_params["id"]
        if not _ID.fullmatch(id):  # what batches made: their names are longer
            raise ApiError(400, f"name: {_NAMES}")
        record = await self.find(request.scope["tenant"], id)
        if record is None:
            message = f"You do not have permission to access the File {id[:64]} or it may not exist."
            raise ApiError(403, message)
        return record


async def page_of(objects: ObjectStore, kind: str, request: Request, most: int) -> tuple[list[bytes], str]:
    """A page of documents, newest first, and the token of the next one (empty: there is none)."""
    text = request.query_params.get("pageSize") or request.query_params.get("page_size")
    size = min(int(text), most) if text and text.isascii() and text.isdigit() and int(text) else most
    after = request.query_params.get("pageToken") or request.query_params.get("page_token") or None
    try:
        page = await objects.list(kind, request.scope["tenant"], after, size + 1)
    except LookupError:
        raise ApiError(400, "pageToken: is not valid.") from None
    return [stored.doc for stored in page[:size]], page[size - 1].id if len(page) > size else ""


def base_url(request: Request) -> str:
    """Where this server is for whoever asks."""
    prefix = "/gemini" if request.scope["mounted"] else ""
    return f"{request.url.scheme}://{request.url.netloc}{prefix}"


def _progress(upload: _Upload, status: str) -> Response:
    headers = {"x-goog-upload-status": status, "x-goog-upload-size-received": str(upload.writer.tell())}
    return Response(status_code=200, headers=headers)
