"""What nobody needs any more: expired files, old idempotency keys, and what a killed process left behind."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import suppress

from msgspec.structs import replace

from overnight.errors import Conflict, OvernightError
from overnight.ports import Blobs, Clock, ObjectStore, Stored
from overnight.server.files import Files
from overnight.server.gemini_files import GeminiFiles
from overnight.server.idempotency import KIND
from overnight.server.records import (
    BATCHES,
    ENDED,
    FILE,
    GEMINI_FILE,
    KEPT,
    OPEN,
    RETENTION,
    decode_batch,
    decode_file,
    decode_gemini_file,
    encode,
    file_blob,
    journal_blob,
    result_file_id,
)

log = logging.getLogger("overnight.server")

PAGE = 1000
PAUSE = 3600.0  # seconds between two rounds


class Sweep:
    """See the module."""

    def __init__(
        self, objects: ObjectStore, blobs: Blobs, clock: Clock, files: Files, gemini_files: GeminiFiles
    ) -> None:
        self._objects = objects
        self._blobs = blobs
        self._clock = clock
        self._files = files
        self._gemini_files = gemini_files
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Make a round now and every hour."""
        self._task = asyncio.create_task(self._rounds())

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def orphans(self) -> None:
        """Delete the blobs that no document leads to. Only before the server takes requests: an upload's blob is
        published before its document is."""
        needed = set[str]()
        async for stored in self._all(FILE):
            needed.add(file_blob(stored.id))
        async for stored in self._all(GEMINI_FILE):
            needed.add(file_blob(decode_gemini_file(stored.doc).blob))
        for kind in BATCHES:
            async for stored in self._all(kind, OPEN):
                needed.update((file_blob(decode_batch(stored.doc).input_file), journal_blob(stored.id)))
                needed.update(file_blob(result_file_id(stored.id, part)) for part in ("output", "error"))
        for kind in KEPT:
            async for stored in self._all(kind, ENDED):
                needed.update(decode_batch(stored.doc).own_blobs)
        await asyncio.to_thread(self._delete_others, needed)

    async def round(self) -> None:
        """Delete the files that have expired, the results of batches that are to be archived, and idempotency keys as
        old as the oldest of them can be."""
        now = self._clock.now()
        expired = [stored async for stored in self._all(FILE) if _is_over(stored, now)]
        for stored in expired:
            await self._files.remove(stored.tenant, decode_file(stored.doc))
        googles = [(stored.tenant, decode_gemini_file(stored.doc)) async for stored in self._all(GEMINI_FILE)]
        for tenant, record in googles:
            if record.expires_at <= now:
                await self._gemini_files.remove(tenant, record)
        for kind, seconds in KEPT.items():
            done = [stored async for stored in self._all(kind, ENDED) if stored.created_at + seconds <= now]
            for stored in done:
                await self._archive(stored, int(now))
        old = [stored async for stored in self._all(KIND) if stored.created_at + RETENTION <= now]
        for stored in old:
            await self._objects.delete(KIND, stored.tenant, stored.id)

    async def _archive(self, stored: Stored, now: int) -> None:
        record = decode_batch(stored.doc)
        if record.archived:
            return
        for name in record.own_blobs:
            await asyncio.to_thread(self._blobs.delete, name)
        archived = replace(record, times={**record.times, "archived_at": now})
        with suppress(Conflict):  # it is being deleted
            await self._objects.update(stored, record.status, encode(archived))

    async def _rounds(self) -> None:
        while True:
            try:
                await self.round()
            except OvernightError as error:
                log.error("expired files cannot be deleted (%s)", error)
            await self._clock.sleep(PAUSE)

    async def _all(self, kind: str, states: tuple[str, ...] | None = None) -> AsyncIterator[Stored]:
        after: Stored | None = None
        while page := await self._objects.list(kind, None, after, PAGE, newest_first=False, states=states):
            for stored in page:
                yield stored
            after = page[-1]

    def _delete_others(self, needed: set[str]) -> None:
        for prefix in ("files/", "journals/"):
            for name in list(self._blobs.list(prefix)):
                if name not in needed:
                    self._blobs.delete(name)


def _is_over(stored: Stored, now: float) -> bool:
    expires_at = decode_file(stored.doc).expires_at
    return expires_at is not None and expires_at <= now
