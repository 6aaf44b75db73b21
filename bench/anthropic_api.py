"""Anthropic's message batches for the bench."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from batches import Batch, Batches, ids_in, sent
from overnight.wire import anthropic as wire


class Anthropic:
    """The state of the API."""

    def __init__(self) -> None:
        self.batches = Batches("anthropic", "msgbatch_%024d")

    def add_to(self, app: web.Application) -> None:
        """Its routes."""
        app.router.add_post("/v1/messages/batches", self.create)
        app.router.add_get("/v1/messages/batches", self.list_batches)
        app.router.add_get("/v1/messages/batches/{id}", self.batch)
        app.router.add_get("/v1/messages/batches/{id}/results", self.results)
        app.router.add_delete("/v1/messages/batches/{id}", self.delete)

    async def create(self, request: web.Request) -> web.Response:
        """A batch of the rows in the body."""
        return web.json_response(_document(self.batches.make(await ids_in(request, "custom_id"), {})))

    async def list_batches(self, request: web.Request) -> web.Response:
        """Newest first."""
        ids = list(reversed(self.batches.made))
        after, limit = request.query.get("after_id"), int(request.query.get("limit", "20"))
        start = ids.index(after) + 1 if after else 0
        page = [_document(self.batches.made[each]) for each in ids[start : start + limit]]
        return web.json_response(wire.list_object(page, start + limit < len(ids)))

    async def batch(self, request: web.Request) -> web.Response:
        """A batch's object."""
        found = self.batches.made.get(request.match_info["id"])
        return _not_found() if found is None else web.json_response(_document(found))

    async def results(self, request: web.Request) -> web.StreamResponse:
        """The answers of a batch; no length is told."""
        found = self.batches.made.get(request.match_info["id"])
        return _not_found() if found is None else await sent(request, found.output, size_told=False)

    async def delete(self, request: web.Request) -> web.Response:
        """Forget a batch."""
        id = request.match_info["id"]
        return _not_found() if self.batches.made.pop(id, None) is None else web.json_response(wire.deleted_object(id))


def _document(batch: Batch) -> dict[str, Any]:
    total, succeeded = batch.counts
    return wire.batch_object(
        id=batch.id,
        status="ended" if batch.output else "in_progress",
        created_at=batch.created_at,
        expires_at=batch.created_at + 86_400,
        processing=total - succeeded,
        succeeded=succeeded,
        ended_at=batch.ended_at,
    )


def _not_found() -> web.Response:
    return web.json_response(wire.error_envelope("not_found_error", "no such batch"), status=404)
