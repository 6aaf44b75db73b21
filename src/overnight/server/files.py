"""`/v1/files`: upload, list, get, content, delete."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from contextlib import ExitStack

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from overnight.ports import Blobs, Clock, ObjectStore
from overnight.server.idempotency import Idempotency
from overnight.server.multipart import Form, read_form
from overnight.server.records import FILE, RETENTION, FileRecord, decode_file, encode, file_blob
from overnight.server.replies import ApiError, chunks, document, page_limit
from overnight.wire import openai

MOST_BYTES = 209_715_200
PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
EXPIRY = (3600, 2_592_000)  # least and most seconds of `expires_after`


class Files:
    """The resource. `in_use` says whether an open batch still reads a blob: then its bytes stay after a delete."""

    def __init__(self, objects: ObjectStore, blobs: Blobs, clock: Clock, in_use: Callable[[str], bool]) -> None:
        self._objects = objects
        self._blobs = blobs
        self._clock = clock
        self._in_use = in_use
        self._idempotency = Idempotency(objects, clock)

    def routes(self) -> list[Route]:
        """The resource."""
        return [
            Route("/v1/files", self._upload, methods=["POST"]),
            Route("/v1/files", self._list, methods=["GET"]),
            Route("/v1/files/{id}", self._get, methods=["GET"]),
            Route("/v1/files/{id}", self._delete, methods=["DELETE"]),
            Route("/v1/files/{id}/content", self._content, methods=["GET"]),
        ]

    async def remove(self, tenant: str, record: FileRecord) -> None:
        """Delete a file; its bytes stay while an open batch reads them."""
        await self._objects.delete(FILE, tenant, record.id)
        if not self._in_use(record.id):
            await asyncio.to_thread(self._blobs.delete, record.blob)

    async def _upload(self, request: Request) -> Response:
        tenant = request.scope["tenant"]
        file_id = f"file-{secrets.token_hex(12)}"
        with ExitStack() as stack:
            form = await read_form(request, MOST_BYTES, lambda: self._blobs.create(file_blob(file_id)), stack)
            record = self._record(file_id, form)
            if (earlier := await self._idempotency.first(request, form.digest)) is not None:
                return document(decode_file(earlier).shown())
            await asyncio.to_thread(form.writer.commit)
        doc = encode(record)
        await self._objects.insert(FILE, tenant, file_id, record.purpose, record.created_at, doc)
        if (earlier := await self._idempotency.first(request, form.digest, doc)) is not None:
            # Another request with the same key was quicker.
            await self.remove(tenant, record)
            return document(decode_file(earlier).shown())
        return document(record.shown())

    def _record(self, file_id: str, form: Form) -> FileRecord:
        now = int(self._clock.now())
        purpose = form.fields.get("purpose")
        if purpose is None:
            message = "Missing required parameter: 'purpose'."
            raise ApiError(400, message, param="purpose", code="missing_required_parameter")
        if purpose not in PURPOSES:
            raise ApiError(400, f"The purpose must be one of {', '.join(PURPOSES)}.", param="purpose")
        if purpose == "batch" and not form.filename.endswith(".jsonl"):
            raise ApiError(400, "Invalid file format for Batch API. Must be .jsonl")
        seconds = _expires_after(form.fields)
        if seconds is None and purpose == "batch":
            seconds = RETENTION
        return FileRecord(
            id=file_id,
            size=form.size,
            created_at=now,
            filename=form.filename,
            purpose=purpose,
            expires_at=None if seconds is None else now + seconds,
        )

    async def _list(self, request: Request) -> Response:
        limit = page_limit(request, default=10_000, most=10_000)
        order = request.query_params.get("order", "desc")
        if order not in ("asc", "desc"):
            raise ApiError(400, "The order must be asc or desc.", param="order", code="invalid_value")
        purpose = request.query_params.get("purpose")
        try:
            page = await self._objects.list(
                FILE,
                request.scope["tenant"],
                request.query_params.get("after"),
                limit + 1,
                newest_first=order == "desc",
                states=None if purpose is None else [purpose],
            )
        except LookupError:
            raise ApiError(400, "The file given as 'after' does not exist.", param="after") from None
        records = [decode_file(stored.doc) for stored in page[:limit]]
        shown = [record.shown() for record in records if not self._is_over(record)]
        return document(openai.list_object(shown, has_more=len(page) > limit))

    async def _get(self, request: Request) -> Response:
        return document((await self._find(request)).shown())

    async def _delete(self, request: Request) -> Response:
        record = await self._find(request)
        await self.remove(request.scope["tenant"], record)
        return document({"id": record.id, "object": "file", "deleted": True})

    async def _content(self, request: Request) -> Response:
        record = await self._find(request)
        file = await asyncio.to_thread(self._blobs.open, record.blob)
        headers = {"content-length": str(record.size)}
        return StreamingResponse(chunks(file), media_type="application/octet-stream", headers=headers)

    async def _find(self, request: Request) -> FileRecord:
        """The file that the path names. Raises 404."""
        file_id = request.path_params["id"]
        stored = await self._objects.get(FILE, request.scope["tenant"], file_id)
        record = None if stored is None else decode_file(stored.doc)
        if record is None or self._is_over(record):
            raise ApiError(404, f"No such File object: {file_id}", param="id")
        return record

    def _is_over(self, record: FileRecord) -> bool:
        return record.expires_at is not None and record.expires_at <= self._clock.now()


def _expires_after(fields: dict[str, str]) -> int | None:
    anchor, text = fields.get("expires_after[anchor]"), fields.get("expires_after[seconds]")
    if anchor is None and text is None:
        return None
    least, most = EXPIRY
    if anchor != "created_at":
        raise ApiError(400, "The anchor of expires_after must be created_at.", param="expires_after[anchor]")
    if text is None or not (text.isascii() and text.isdigit() and least <= int(text[:9]) <= most):
        message = f"The seconds of expires_after must be an integer from {least:,} to {most:,}."
        raise ApiError(400, message, param="expires_after[seconds]", code="invalid_value")
    return int(text)
