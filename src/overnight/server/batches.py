"""`/v1/batches`: create, list, get, cancel."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from overnight.ports import Clock, ObjectStore
from overnight.server.lives import Lives
from overnight.server.opening import Opening
from overnight.server.realtime import ENDPOINTS
from overnight.server.records import BATCH, ENDED, WINDOW, BatchRecord, decode_batch
from overnight.server.replies import ApiError, document, json_object, page_limit, read_body
from overnight.wire import openai

MOST_BODY = 1024 * 1024  # bytes of a create call
FIELDS = frozenset({"input_file_id", "endpoint", "completion_window", "metadata", "output_expires_after"})
RETENTION_RANGE = (3600, 2_592_000)  # seconds of `output_expires_after`
MOST_PAIRS, MOST_NAME, MOST_VALUE = 16, 64, 512  # of metadata


class Batches:
    """The resource."""

    def __init__(self, objects: ObjectStore, lives: Lives, opening: Opening, clock: Clock) -> None:
        self._objects = objects
        self._lives = lives
        self._opening = opening
        self._clock = clock

    def routes(self) -> list[Route]:
        """The resource."""
        return [
            Route("/v1/batches", self._create, methods=["POST"]),
            Route("/v1/batches", self._list, methods=["GET"]),
            Route("/v1/batches/{id}", self._get, methods=["GET"]),
            Route("/v1/batches/{id}/cancel", self._cancel, methods=["POST"]),
        ]

    async def _create(self, request: Request) -> Response:
        body = await read_body(request, MOST_BODY)
        record = _record(json_object(body), int(self._clock.now()))
        record = await self._opening.begin(request, record, hashlib.sha256(body).hexdigest())
        return document(record.shown())

    async def _list(self, request: Request) -> Response:
        limit = page_limit(request, default=20, most=100)
        after = request.query_params.get("after")
        try:
            page = await self._objects.list(BATCH, request.scope["tenant"], after, limit + 1)
        except LookupError:
            raise ApiError(400, "The batch given as 'after' does not exist.", param="after") from None
        shown = [self._shown(decode_batch(stored.doc)) for stored in page[:limit]]
        return document(openai.list_object(shown, has_more=len(page) > limit))

    async def _get(self, request: Request) -> Response:
        stored = await self._objects.get(BATCH, request.scope["tenant"], request.path_params["id"])
        if stored is None:
            raise _not_found(request)
        return document(self._shown(decode_batch(stored.doc)))

    async def _cancel(self, request: Request) -> Response:
        try:
            record = await self._lives.cancel(request.scope["tenant"], request.path_params["id"], self._canceling)
        except LookupError:
            raise _not_found(request) from None
        return document(self._shown(record))

    def _canceling(self, old: BatchRecord) -> BatchRecord:
        if old.status in ENDED:
            raise ApiError(409, f"Cannot cancel a batch with status '{old.status}'.")
        if old.status == "cancelling":
            return old
        times = {**old.times, "cancelling_at": int(self._clock.now())}
        return msgspec.structs.replace(old, status="cancelling", times=times)

    def _shown(self, record: BatchRecord) -> dict[str, Any]:
        return record.shown(None if record.status in ENDED else self._lives.progress(record.id))


def _not_found(request: Request) -> ApiError:
    return ApiError(404, f"No batch found with id '{request.path_params['id']}'.")


def _record(asked: Mapping[str, Any], now: int) -> BatchRecord:
    """A new batch of a create call's body. Raises 400 for a body of another shape, never for content."""
    for name in asked:
        if name not in FIELDS:
            raise ApiError(400, f"Unknown parameter: '{name[:64]}'.", param=name[:64], code="unknown_parameter")
    return BatchRecord(
        id=f"batch_{secrets.token_hex(16)}",
        input_file=_text(asked, "input_file_id"),
        endpoint=_one_of(asked, "endpoint", [endpoint.value for endpoint in ENDPOINTS]),
        status=_window(asked),
        created_at=now,
        expires_at=now + WINDOW,
        metadata=_metadata(asked.get("metadata")),
        output_retention=_output_retention(asked.get("output_expires_after")),
    )


def _window(asked: Mapping[str, Any]) -> str:
    _one_of(asked, "completion_window", ["24h"])
    return "validating"


def _text(asked: Mapping[str, Any], name: str) -> str:
    value = asked.get(name)
    if value is None:
        raise ApiError(400, f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter")
    if not isinstance(value, str) or not value:
        raise ApiError(400, f"Invalid type for '{name}': expected a string.", param=name, code="invalid_type")
    return value


def _one_of(asked: Mapping[str, Any], name: str, words: list[str]) -> str:
    value = _text(asked, name)
    if value not in words:
        told = ", ".join(f"'{word}'" for word in words)
        raise ApiError(400, f"Invalid value for '{name}'. Supported: {told}.", param=name, code="invalid_value")
    return value


def _metadata(value: object) -> dict[str, str] | None:
    if value is None:
        return None
    fits = isinstance(value, dict) and all(
        isinstance(text, str) and len(name) <= MOST_NAME and len(text) <= MOST_VALUE for name, text in value.items()
    )
    if not isinstance(value, dict) or not fits or len(value) > MOST_PAIRS:
        message = (
            f"Invalid 'metadata': expected at most {MOST_PAIRS} pairs of strings, "
            f"names up to {MOST_NAME} and values up to {MOST_VALUE} characters."
        )
        raise ApiError(400, message, param="metadata", code="invalid_value")
    return value


def _output_retention(value: object) -> int | None:
    if value is None:
        return None
    least, most = RETENTION_RANGE
    seconds = value.get("seconds") if isinstance(value, dict) else None
    if (
        not isinstance(value, dict)
        or value.get("anchor") != "created_at"
        or type(seconds) is not int
        or not least <= seconds <= most
    ):
        message = f"Invalid 'output_expires_after': expected anchor created_at and {least:,} to {most:,} seconds."
        raise ApiError(400, message, param="output_expires_after", code="invalid_value")
    return seconds
