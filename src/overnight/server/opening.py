"""How a batch comes to be: once for each `Idempotency-Key`, whatever becomes of the call."""

from __future__ import annotations

import asyncio

from msgspec.structs import replace
from starlette.requests import Request

from overnight.errors import Conflict
from overnight.ports import Blobs, Clock, ObjectStore
from overnight.server.idempotency import Idempotency
from overnight.server.lives import Lives
from overnight.server.records import BatchRecord, batch_kind, decode_batch, encode, file_blob


class Opening:
    """For every family."""

    def __init__(self, objects: ObjectStore, blobs: Blobs, lives: Lives, clock: Clock) -> None:
        self._objects = objects
        self._blobs = blobs
        self._lives = lives
        self._idempotency = Idempotency(objects, clock)

    async def begin(self, request: Request, record: BatchRecord, digest: str, own_rows: bool = False) -> BatchRecord:
        """The batch that the call makes, under way: the record, or what the first call with the same key was told.
        `digest` is that of the body; `own_rows`: the rows came with the call and were stored for this batch alone.

        The promise of a key is kept before the batch is: a process that is killed in between leaves a batch that the
        repeated call inserts under the id that was promised, with the rows that it brought again."""
        tenant = request.scope["tenant"]
        earlier = await self._idempotency.first(request, digest, encode(record))
        if earlier is not None:
            first = decode_batch(earlier)
            record = replace(first, input_file=record.input_file) if own_rows else first
        kind = batch_kind(record.id)
        try:
            await self._objects.insert(kind, tenant, record.id, record.status, record.created_at, encode(record))
        except Conflict:
            if own_rows:
                await asyncio.to_thread(self._blobs.delete, file_blob(record.input_file))
            return record
        self._lives.begin(tenant, record)
        return record
