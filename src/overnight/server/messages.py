"""Anthropic's family: `/v1/messages` and `/v1/messages/batches`.

A create call is checked at once for what concerns ids; everything inside `params` is found out when the row's turn
comes, and is an errored row then, as at the provider.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from overnight.engine.executor import Executor
from overnight.errors import ProviderError
from overnight.ports import Blobs, Clock, ObjectStore
from overnight.server.lives import Lives
from overnight.server.message_rows import MessageRows
from overnight.server.models import Models
from overnight.server.opening import Opening
from overnight.server.records import ENDED, MESSAGE_BATCH, WINDOW, BatchRecord, decode_batch, file_blob
from overnight.server.replies import ApiError, chunks, discard, document, json_object, pieces, read_body
from overnight.types import Counts, Endpoint
from overnight.wire import anthropic
from overnight.wire.families import ANTHROPIC, Refused

MOST_BYTES = 256 * 1024 * 1024
MOST_BODY = 32 * 1024 * 1024  # bytes of a real-time request
MOST_PAGE = 1000
PIECE = 24  # characters of a streamed delta
READ_BYTES = 1024 * 1024  # of a create call, before they are looked at


class MessageBatches:
    """The family's resources."""

    def __init__(
        self,
        objects: ObjectStore,
        blobs: Blobs,
        lives: Lives,
        opening: Opening,
        models: Models,
        executor: Executor,
        clock: Clock,
    ) -> None:
        self._objects = objects
        self._blobs = blobs
        self._lives = lives
        self._opening = opening
        self._models = models
        self._executor = executor
        self._clock = clock

    def routes(self) -> list[Route]:
        """The family's resources."""
        batches = "/v1/messages/batches"
        return [
            Route("/v1/messages", self._answer, methods=["POST"]),
            Route(batches, self._create, methods=["POST"]),
            Route(batches, self._list, methods=["GET"]),
            Route(f"{batches}/{{id}}", self._get, methods=["GET"]),
            Route(f"{batches}/{{id}}", self._delete, methods=["DELETE"]),
            Route(f"{batches}/{{id}}/cancel", self._cancel, methods=["POST"]),
            Route(f"{batches}/{{id}}/results", self._results, methods=["GET"]),
            Route("/v1/models", self._list_models, methods=["GET"]),
            Route("/v1/models/{name:path}", self._model, methods=["GET"]),
        ]

    # ---------------------------------------------------------------------------------------- real time

    async def _answer(self, request: Request) -> Response:
        params = json_object(await read_body(request, MOST_BODY))
        try:
            asked = ANTHROPIC.asked(params)
        except Refused as refusal:
            raise ApiError(refusal.status, refusal.message) from None
        await self._check_model(params["model"])
        try:
            reply = await self._executor.ask(asked.endpoint, asked.body)
        except ProviderError as error:
            raise ApiError(500, "The upstream gave no answer.") from error
        told = ANTHROPIC.answer(reply.status, request.scope["request_id"], reply.body)
        if params.get("stream") and 200 <= reply.status < 300:
            return StreamingResponse(_events(told), media_type="text/event-stream")
        response = document(told, reply.status)
        if reply.retry_after is not None:
            response.headers["retry-after"] = f"{reply.retry_after:g}"
        return response

    async def _check_model(self, name: str) -> None:
        names = await self._models.checked_names()
        if names and name not in names:
            raise ApiError(404, f"model: {name[:64]}")

    async def _list_models(self, _: Request) -> Response:
        shown = [_model(name) for name in await self._models.names()]
        return document(anthropic.list_object(shown, has_more=False))

    async def _model(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in await self._models.names():
            raise ApiError(404, f"model: {name[:64]}")
        return document(_model(name))

    # ------------------------------------------------------------------------------------------ batches

    async def _create(self, request: Request) -> Response:
        batch_id = f"msgbatch_{secrets.token_hex(12)}"
        rows, digest = await self._store(request, file_blob(batch_id))
        now = int(self._clock.now())
        record = BatchRecord(
            id=batch_id,
            endpoint=Endpoint.MESSAGES,
            input_file=batch_id,
            status="in_progress",
            created_at=now,
            expires_at=now + WINDOW,
            model="",
            counts=Counts(total=rows),
            family="anthropic",
        )
        record = await self._opening.begin(request, record, digest, own_rows=True)
        return document(self._shown(request, record))

    async def _store(self, request: Request, blob: str) -> tuple[int, str]:
        """Write the requests as lines of a file while they come; how many, and the digest of the body."""
        size = 0
        stream = request.stream()
        with await asyncio.to_thread(self._blobs.create, blob) as writer:
            rows = MessageRows(writer, "idempotency-key" in request.headers)
            try:
                async for piece in pieces(stream, READ_BYTES):
                    size += len(piece)
                    if size > MOST_BYTES:
                        raise ApiError(413, "Request exceeds the maximum size")
                    await asyncio.to_thread(rows.take, piece)
                return await asyncio.to_thread(rows.finish), rows.digest
            except ApiError:
                await discard(stream, 4 * MOST_BYTES)
                raise

    async def _list(self, request: Request) -> Response:
        query, tenant = request.query_params, request.scope["tenant"]
        limit = _limit(query.get("limit"))
        after, before = query.get("after_id"), query.get("before_id")
        try:
            page = await self._objects.list(MESSAGE_BATCH, tenant, before or after, limit + 1, newest_first=not before)
        except LookupError:
            raise ApiError(400, f"{'before_id' if before else 'after_id'}: Message Batch not found.") from None
        shown = [self._shown(request, decode_batch(stored.doc)) for stored in page[:limit]]
        return document(anthropic.list_object(shown[::-1] if before else shown, has_more=len(page) > limit))

    async def _get(self, request: Request) -> Response:
        record = await self._find(request)
        response = document(self._shown(request, record))
        if record.status not in ENDED:
            response.headers["retry-after"] = "10"
        return response

    async def _cancel(self, request: Request) -> Response:
        def canceling(old: BatchRecord) -> BatchRecord:
            if old.status in ENDED:
                raise ApiError(400, "Ended batches cannot be canceled.")
            if old.status == "cancelling":
                return old
            times = {**old.times, "cancelling_at": int(self._clock.now())}
            return msgspec.structs.replace(old, status="cancelling", times=times)

        await self._find(request)
        record = await self._lives.cancel(request.scope["tenant"], request.path_params["id"], canceling)
        return document(self._shown(request, record))

    async def _delete(self, request: Request) -> Response:
        record = await self._find(request)
        if record.status not in ENDED:
            raise ApiError(400, "In progress batches cannot be deleted. Consider canceling the batch instead.")
        await self._objects.delete(MESSAGE_BATCH, request.scope["tenant"], record.id)
        for blob in record.own_blobs:
            await asyncio.to_thread(self._blobs.delete, blob)
        return document(anthropic.deleted_object(record.id))

    async def _results(self, request: Request) -> Response:
        record = await self._find(request)
        if record.status not in ENDED or record.archived:
            raise ApiError(404, f"Message Batch {record.id} has no available results.")
        file = await asyncio.to_thread(self._blobs.open, record.results)
        return StreamingResponse(chunks(file), media_type="application/x-jsonl")

    async def _find(self, request: Request) -> BatchRecord:
        batch_id = request.path_params["id"]
        stored = await self._objects.get(MESSAGE_BATCH, request.scope["tenant"], batch_id)
        if stored is None:
            raise ApiError(404, f"Message Batch {batch_id[:64]} not found.")
        return decode_batch(stored.doc)

    def _shown(self, request: Request, record: BatchRecord) -> dict[str, Any]:
        """The batch as the API shows it: counts stay 0 until all of it has ended. The address of the results is one
        that the asker can reach."""
        over = record.status in ENDED
        counts, times = record.counts, record.times
        status = "ended" if over else "canceling" if record.status == "cancelling" else "in_progress"
        prefix = "/anthropic" if request.scope["mounted"] else ""
        at = f"{request.url.scheme}://{request.url.netloc}{prefix}/v1/messages/batches/{record.id}/results"
        return anthropic.batch_object(
            id=record.id,
            status=status,
            created_at=record.created_at,
            expires_at=record.expires_at,
            ended_at=times.get(f"{record.status}_at") if over else None,
            cancel_initiated_at=times.get("cancelling_at"),
            processing=0 if over else counts.total,
            succeeded=counts.succeeded if over else 0,
            errored=counts.errored if over else 0,
            canceled=counts.canceled if over else 0,
            expired=counts.expired if over else 0,
            archived_at=times.get("archived_at"),
            results_url=at if over and not record.archived else None,
        )


def _model(name: str) -> dict[str, str]:
    return {"type": "model", "id": name, "display_name": name, "created_at": "1970-01-01T00:00:00Z"}


def _limit(text: str | None) -> int:
    if text is None:
        return 20
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MOST_PAGE):
        raise ApiError(400, f"limit: Input should be from 1 to {MOST_PAGE}")
    return int(text)


async def _events(message: dict[str, Any]) -> AsyncIterator[bytes]:
    """The message as a stream of events: the upstream gives answers whole."""
    usage = message["usage"]
    begun = {
        **message,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {**usage, "output_tokens": 0},
    }
    yield _event("message_start", message=begun)
    for index, block in enumerate(message["content"]):
        if block["type"] == "text":
            start = {**block, "text": ""}
            said, kind, name = block["text"], "text_delta", "text"
        else:
            start = {**block, "input": {}}
            said, kind, name = orjson.dumps(block["input"]).decode(), "input_json_delta", "partial_json"
        yield _event("content_block_start", index=index, content_block=start)
        for at in range(0, len(said), PIECE):
            yield _event("content_block_delta", index=index, delta={"type": kind, name: said[at : at + PIECE]})
        yield _event("content_block_stop", index=index)
    stopped = {"stop_reason": message["stop_reason"], "stop_sequence": message["stop_sequence"]}
    yield _event("message_delta", delta=stopped, usage={"output_tokens": usage["output_tokens"]})
    yield _event("message_stop")


def _event(kind: str, **fields: Any) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), orjson.dumps({"type": kind, **fields}))
