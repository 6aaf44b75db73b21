"""Google's family: generateContent, embedContent and their batches, under `/v1`, `/v1beta` and `/v1alpha`.

A file of requests is checked when a batch is made of it: one bad line and nothing is made, as at the provider.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Any

import msgspec
import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from overnight.engine.executor import Executor
from overnight.errors import ProviderError
from overnight.ports import Blobs, Clock, ObjectStore
from overnight.server.gemini_files import GeminiFiles, page_of
from overnight.server.lives import Lives
from overnight.server.models import Models
from overnight.server.opening import Opening
from overnight.server.records import (
    ENDED,
    GEMINI_BATCH,
    BatchRecord,
    decode_batch,
    file_blob,
)
from overnight.server.replies import ApiError, chunks, document, json_object, read_body
from overnight.types import Counts, Endpoint
from overnight.wire import gemini
from overnight.wire.families import GEMINI, Refused
from overnight.wire.gemini.answers import field

WINDOW = 48 * 3600
MOST_BODY = 32 * 1024 * 1024  # bytes of a call; inline requests together have less than 20 MB
MOST_LINE = 20 * 1024 * 1024
MOST_PAGE = 100
PIECE = 24  # characters of a streamed piece
GENERATED = "batch-"
_STATES = {
    "in_progress": "RUNNING",
    "cancelling": "RUNNING",
    "completed": "SUCCEEDED",
    "cancelled": "CANCELLED",
    "expired": "EXPIRED",
}


class _Request(msgspec.Struct):
    """An object: what is in it is found out when the row's turn comes."""


class _Line(msgspec.Struct):
    key: str
    request: _Request


_line = msgspec.json.Decoder(_Line).decode


class Gemini:
    """The family's resources, files apart."""

    def __init__(
        self,
        objects: ObjectStore,
        blobs: Blobs,
        files: GeminiFiles,
        lives: Lives,
        opening: Opening,
        models: Models,
        executor: Executor,
        clock: Clock,
    ) -> None:
        self._objects = objects
        self._blobs = blobs
        self._files = files
        self._lives = lives
        self._opening = opening
        self._models = models
        self._executor = executor
        self._clock = clock
        self._calls: Mapping[str, Callable[[Request, str, dict[str, Any]], Awaitable[Response]]] = {
            "generateContent": self._generate,
            "streamGenerateContent": self._stream,
            "embedContent": self._embed,
            "batchEmbedContents": self._embed_all,
            "batchGenerateContent": self._create_generating,
            "asyncBatchEmbedContent": self._create_embedding,
        }

    def routes(self) -> list[Route]:
        """The family's resources, files apart."""
        return [
            Route("/{version}/models", self._list_models, methods=["GET"]),
            Route("/{version}/models/{name:path}", self._model, methods=["GET"]),
            Route("/{version}/models/{call:path}", self._call, methods=["POST"]),
            Route("/{version}/batches", self._list, methods=["GET"]),
            Route("/{version}/batches/{id}", self._get, methods=["GET"]),
            Route("/{version}/batches/{id}", self._delete, methods=["DELETE"]),
            Route("/{version}/batches/{id}:cancel", self._cancel, methods=["POST"]),
            Route("/{version}/files/{id}:download", self._download, methods=["GET"]),
            Route("/download/{version}/files/{id}:download", self._download, methods=["GET"]),
        ]

    async def _call(self, request: Request) -> Response:
        model, _, method = request.path_params["call"].rpartition(":")
        call = self._calls.get(method)
        if call is None or not model:
            raise ApiError(404, f"There is no method {method[:64]} of models.")
        names = await self._models.checked_names()
        if names and model not in names:
            raise ApiError(404, f"models/{model[:64]} is not found.")
        return await call(request, model, json_object(await read_body(request, MOST_BODY)))

    async def _list_models(self, _: Request) -> Response:
        return document({"models": [_model(name) for name in await self._models.names()]})

    async def _model(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in await self._models.names():
            raise ApiError(404, f"models/{name[:64]} is not found.")
        return document(_model(name))

    # ---------------------------------------------------------------------------------------- real time

    async def _generate(self, request: Request, model: str, body: dict[str, Any]) -> Response:
        return document(await self._asked(model, body, Endpoint.GENERATE))

    async def _stream(self, request: Request, model: str, body: dict[str, Any]) -> Response:
        pieces = list(_pieces(await self._asked(model, body, Endpoint.GENERATE)))
        if request.query_params.get("alt") != "sse":
            return document(pieces)
        return StreamingResponse(_events(pieces), media_type="text/event-stream")

    async def _embed(self, request: Request, model: str, body: dict[str, Any]) -> Response:
        return document(await self._asked(model, body, Endpoint.EMBED))

    async def _embed_all(self, request: Request, model: str, body: dict[str, Any]) -> Response:
        asked = body.get("requests")
        if not isinstance(asked, list) or not asked:
            raise ApiError(400, "requests: is required and must not be empty.")
        answers = [await self._asked(model, each, Endpoint.EMBED) for each in asked]
        return document({"embeddings": [answer["embedding"] for answer in answers]})

    async def _asked(self, model: str, body: Any, endpoint: str) -> dict[str, Any]:
        try:
            asked = GEMINI.asked(body, endpoint, model)
        except Refused as refusal:
            raise ApiError(refusal.status, refusal.message) from None
        try:
            reply = await self._executor.ask(asked.endpoint, asked.body)
        except ProviderError as error:
            raise ApiError(503, "The upstream gave no answer.") from error
        if not 200 <= reply.status < 300:
            raise ApiError(reply.status, gemini.error_failure(reply.status, reply.body).message)
        return GEMINI.answer(reply.body, endpoint)

    # ------------------------------------------------------------------------------------------ batches

    async def _create_generating(self, request: Request, model: str, body: dict[str, Any]) -> Response:
        return await self._create(request, model, body, Endpoint.GENERATE)

    async def _create_embedding(self, request: Request, model: str, body: dict[str, Any]) -> Response:
        return await self._create(request, model, body, Endpoint.EMBED)

    async def _create(self, request: Request, model: str, body: dict[str, Any], endpoint: str) -> Response:
        batch = body.get("batch")
        config = field(batch, "inputConfig")
        name, inline = field(config, "fileName"), field(field(config, "requests"), "requests")
        tenant, batch_id = request.scope["tenant"], f"gembatch_{secrets.token_hex(18)}"
        if isinstance(name, str):
            file = await self._files.find(tenant, name.removeprefix("files/"))
            if file is None:
                raise ApiError(404, f"{name[:80]} is not found.")
            blob, input_name = file.blob, file.id
            rows = await asyncio.to_thread(self._check_file, blob)
        elif isinstance(inline, list) and inline:
            blob, input_name, rows = batch_id, None, len(inline)
            await asyncio.to_thread(self._write_inline, blob, inline)
        else:
            raise ApiError(400, "batch.inputConfig: needs fileName, or requests that are not empty.")
        now = int(self._clock.now())
        display_name = field(batch, "displayName")
        record = BatchRecord(
            id=batch_id,
            endpoint=endpoint,
            input_file=blob,
            status="in_progress",
            created_at=now,
            expires_at=now + WINDOW,
            model=model,
            counts=Counts(total=rows),
            family="gemini",
            display_name=display_name if isinstance(display_name, str) else None,
            input_name=input_name,
        )
        digest = hashlib.sha256(orjson.dumps([model, endpoint, body])).hexdigest()
        record = await self._opening.begin(request, record, digest, own_rows=input_name is None)
        return document(self._operation(record))

    def _check_file(self, blob: str) -> int:
        """How many requests the file holds. Raises 400 for the first line that is none."""
        seen: set[str] = set()
        with self._blobs.open(file_blob(blob)) as file:
            for number, line in enumerate(iter(lambda: file.readline(MOST_LINE + 1), b""), start=1):
                if line.isspace():
                    continue
                try:
                    line.decode()
                    found = _line(line)
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                    message = f"Line {number} is no request: it needs a key and a request, in a JSON object."
                    raise ApiError(400, message) from None
                if found.key in seen:
                    raise ApiError(400, f"Line {number}: its key was used by an earlier line.")
                seen.add(found.key)
        if not seen:
            raise ApiError(400, "The file holds no requests.")
        return len(seen)

    def _write_inline(self, blob: str, rows: list[Any]) -> None:
        """The requests as lines whose keys are their numbers: the rows' metadata go back with their answers."""
        with self._blobs.create(file_blob(blob)) as writer:
            for number, row in enumerate(rows):
                asked = field(row, "request")
                if not isinstance(asked, Mapping):
                    raise ApiError(400, f"batch.inputConfig.requests.requests[{number}].request: is required.")
                told = {"key": str(number), "request": asked, "metadata": field(row, "metadata")}
                writer.write(orjson.dumps(told) + b"\n")
            writer.commit()

    async def _list(self, request: Request) -> Response:
        page, token = await page_of(self._objects, GEMINI_BATCH, request, MOST_PAGE)
        shown = [self._operation(self._present(decode_batch(doc))) for doc in page]
        return document({"operations": shown, "nextPageToken": token})

    async def _get(self, request: Request) -> Response:
        record = await self._find(request)
        inlined = None
        if record.input_name is None and record.status == "completed" and not record.archived:
            inlined = await asyncio.to_thread(self._inlined, record)
        return document(self._operation(self._present(record), inlined))

    async def _cancel(self, request: Request) -> Response:
        def canceling(old: BatchRecord) -> BatchRecord:
            if old.status in ENDED or old.status == "cancelling":
                return old
            times = {**old.times, "cancelling_at": int(self._clock.now())}
            return msgspec.structs.replace(old, status="cancelling", times=times)

        await self._find(request)
        await self._lives.cancel(request.scope["tenant"], f"gembatch_{request.path_params['id']}", canceling)
        return document({})

    async def _delete(self, request: Request) -> Response:
        record = await self._find(request)
        if record.status not in ENDED:
            raise ApiError(400, "The batch has not ended: cancel it first.", code="FAILED_PRECONDITION")
        await self._objects.delete(GEMINI_BATCH, request.scope["tenant"], record.id)
        for blob in record.own_blobs:
            await asyncio.to_thread(self._blobs.delete, blob)
        return document({})

    async def _download(self, request: Request) -> Response:
        id = request.path_params["id"]
        record = None
        if id.startswith(GENERATED):
            stored = await self._objects.get(
                GEMINI_BATCH, request.scope["tenant"], f"gembatch_{id.removeprefix(GENERATED)}"
            )
            record = None if stored is None else decode_batch(stored.doc)
        if record is None or record.status != "completed" or record.archived:
            raise ApiError(403, f"You do not have permission to access the File {id[:64]} or it may not exist.")
        file = await asyncio.to_thread(self._blobs.open, record.results)
        return StreamingResponse(chunks(file), media_type="application/jsonl")

    async def _find(self, request: Request) -> BatchRecord:
        id = request.path_params["id"]
        stored = await self._objects.get(GEMINI_BATCH, request.scope["tenant"], f"gembatch_{id}")
        if stored is None:
            raise ApiError(404, f"batches/{id[:64]} is not found.")
        return decode_batch(stored.doc)

    def _present(self, record: BatchRecord) -> BatchRecord:
        """With the counts of this moment."""
        running = None if record.status in ENDED else self._lives.progress(record.id)
        if running is None:
            return record
        counts = Counts(record.counts.total, running[0].succeeded, running[0].errored)
        return msgspec.structs.replace(record, counts=counts)

    def _operation(self, record: BatchRecord, inlined: list[dict[str, Any]] | None = None) -> dict[str, Any]:
        over, counts = record.status in ENDED, record.counts
        at = record.times.get(f"{record.status}_at") if over else None
        id = record.id.removeprefix("gembatch_")
        kept = record.status == "completed" and not record.archived
        error = {"code": 13, "message": "The batch was cancelled."} if record.status == "cancelled" else None
        return gemini.operation(
            id=id,
            model=record.model or "",
            state=_STATES[record.status],
            created_at=record.created_at,
            updated_at=at or record.created_at,
            ended_at=at,
            display_name=record.display_name,
            input_file=None if record.input_name is None else f"files/{record.input_name}",
            responses_file=f"files/{GENERATED}{id}" if kept and record.input_name is not None else None,
            inlined=inlined,
            counts=counts,
            error=error,
            embeddings=record.endpoint == Endpoint.EMBED,
        )

    def _inlined(self, record: BatchRecord) -> list[dict[str, Any]]:
        """The answers in the order of the requests, each with the metadata of its request."""
        with self._blobs.open(record.results) as answers, self._blobs.open(file_blob(record.input_file)) as rows:
            return [_inlined(*pair) for pair in zip(answers, rows, strict=True)]


def _model(name: str) -> dict[str, str]:
    return {"name": f"models/{name}", "displayName": name}


def _inlined(answer: bytes, row: bytes) -> dict[str, Any]:
    told = orjson.loads(answer)
    metadata = orjson.loads(row)["metadata"]
    shown = {name: told[name] for name in ("response", "error") if name in told}
    return shown if metadata is None else {**shown, "metadata": metadata}


def _pieces(answer: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The answer in pieces of text; the last one says why it ended and what it cost."""
    candidate = answer["candidates"][0]
    parts = candidate["content"]["parts"]
    common = {"modelVersion": answer["modelVersion"], "responseId": answer["responseId"]}
    said = [
        {"text": part["text"][at : at + PIECE]} if "text" in part else part
        for part in parts
        for at in (range(0, len(part["text"]), PIECE) if "text" in part else (0,))
    ] or [{"text": ""}]
    for part in said[:-1]:
        yield {"candidates": [{"content": {"parts": [part], "role": "model"}, "index": 0}], **common}
    last = {**candidate, "content": {"parts": said[-1:], "role": "model"}}
    yield {"candidates": [last], "usageMetadata": answer["usageMetadata"], **common}


async def _events(pieces: list[dict[str, Any]]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield b"data: %s\r\n\r\n" % orjson.dumps(piece)
