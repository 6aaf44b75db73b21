"""The life of every open batch: one task carries it from `validating` to its end.

What a task does next stands in the record alone, so a new process goes on where the last one was killed:

```
validating   the input file is checked (again)           -> in_progress | failed
in_progress  rows that the journal does not hold run     -> completed | expired
cancelling   as in_progress, but no further row runs     -> cancelled
```

Result files are published and entered before the status flips; their ids follow from the batch's, so making them twice
makes the same files. Only then the journal goes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import msgspec

from overnight.engine.executor import Executor
from overnight.engine.intake import Finished, Requests
from overnight.errors import Conflict, OvernightError
from overnight.ports import Blobs, Clock, ObjectStore, Stored
from overnight.server.checks import Checked, Fault, check
from overnight.server.models import Models
from overnight.server.records import (
    BATCHES,
    FILE,
    GEMINI_FILE,
    OPEN,
    RETENTION,
    BatchRecord,
    FileRecord,
    batch_kind,
    decode_batch,
    decode_file,
    decode_gemini_file,
    encode,
    file_blob,
    journal_blob,
    result_file_id,
)
from overnight.types import Counts, Outcome, Tokens

log = logging.getLogger("overnight.server")

PAGE = 1000
AGAIN = 30.0  # seconds until a batch that met a full disk or a bug is tried again
GRACE = 10.0  # seconds that rows in flight have to end when the server stops

Change = Callable[[BatchRecord], BatchRecord]


class Lives:
    """The open batches of this server."""

    def __init__(self, objects: ObjectStore, blobs: Blobs, executor: Executor, models: Models, clock: Clock) -> None:
        self._objects = objects
        self._blobs = blobs
        self._executor = executor
        self._models = models
        self._clock = clock
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._inputs: dict[str, str] = {}  # input file by open batch
        self._canceled: set[str] = set()

    async def start(self) -> None:
        """Take up every open batch, oldest first."""
        for kind in BATCHES:
            after: Stored | None = None
            while page := await self._objects.list(kind, None, after, PAGE, newest_first=False, states=OPEN):
                for stored in page:
                    self.begin(stored.tenant, decode_batch(stored.doc))
                after = page[-1]

    async def close(self) -> None:
        """Stop; what is not done is left to the next process."""
        await self._executor.close(GRACE)
        tasks = tuple(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def begin(self, tenant: str, record: BatchRecord) -> None:
        """Carry a stored batch to its end. Nothing happens where that is being done."""
        if record.id in self._tasks:
            return
        self._inputs[record.id] = record.input_file
        task = asyncio.create_task(self._live(tenant, record.id))
        self._tasks[record.id] = task
        task.add_done_callback(lambda _: self._forget(record.id))

    async def cancel(self, tenant: str, batch_id: str, change: Change) -> BatchRecord:
        """Apply `change`, which asks for the cancel or raises; rows in flight may still end."""
        record = await self._change(tenant, batch_id, change)
        if record.status == "cancelling":
            self._canceled.add(batch_id)
            self._executor.stop(batch_id, Outcome.CANCELED)
        return record

    def progress(self, batch_id: str) -> tuple[Counts, Tokens] | None:
        """Rows answered and tokens used so far, of a batch whose rows are running."""
        return self._executor.progress(batch_id)

    def reads(self, file_id: str) -> bool:
        """An open batch still needs the bytes of this file."""
        return file_id in self._inputs.values()

    def _forget(self, batch_id: str) -> None:
        self._tasks.pop(batch_id, None)
        self._inputs.pop(batch_id, None)
        self._canceled.discard(batch_id)

    async def _live(self, tenant: str, batch_id: str) -> None:
        while True:
            try:
                return await self._carry(tenant, batch_id)
            except OvernightError as error:
                log.error("batch %s cannot go on (%s); next try in %d s", batch_id, error, AGAIN)
            except Exception:
                log.exception("batch %s cannot go on; next try in %d s", batch_id, AGAIN)
            await self._clock.sleep(AGAIN)

    async def _carry(self, tenant: str, batch_id: str) -> None:
        record = decode_batch((await self._stored(tenant, batch_id)).doc)
        if record.model is None and record.status in OPEN:
            record = await self._validate(tenant, record)
        if record.status in OPEN:
            canceled = record.status == "cancelling" or batch_id in self._canceled
            finished = await self._executor.run(_requests(record), Outcome.CANCELED if canceled else None)
            record = await self._end(tenant, record, finished)
        await self._clean(tenant, record)

    # -------------------------------------------------------------------------------------- validating

    async def _validate(self, tenant: str, record: BatchRecord) -> BatchRecord:
        """The record after the check of its input file: in progress, still cancelling, or failed."""
        try:
            checked = await self._check(tenant, record)
        except Fault as fault:
            entry = fault.entry
            log.info("batch %s failed: %s", record.id, entry["code"])
            return await self._change(tenant, record.id, lambda old: self._failed(old, entry))
        return await self._change(tenant, record.id, lambda old: self._checked(old, checked))

    async def _check(self, tenant: str, record: BatchRecord) -> Checked:
        stored = await self._objects.get(FILE, tenant, record.input_file)
        file = None if stored is None else decode_file(stored.doc)
        if file is None or file.purpose != "batch" or (file.expires_at or record.expires_at) <= self._clock.now():
            message = f"Cannot find file {record.input_file}, or the organization does not have access to it."
            raise Fault("invalid_request", message, "file_id")
        names = await self._models.checked_names()
        return await asyncio.to_thread(self._check_blob, file, record.endpoint, names)

    def _check_blob(self, file: FileRecord, endpoint: str, names: tuple[str, ...]) -> Checked:
        with self._blobs.open(file.blob) as content:
            return check(content, endpoint, names)

    def _failed(self, old: BatchRecord, entry: dict[str, object]) -> BatchRecord:
        return self._at(msgspec.structs.replace(old, status="failed", errors=[entry]), "failed_at")

    def _checked(self, old: BatchRecord, checked: Checked) -> BatchRecord:
        status = "in_progress" if old.status == "validating" else old.status
        counts = Counts(total=checked.rows)
        return self._at(
            msgspec.structs.replace(old, status=status, model=checked.model, counts=counts), "in_progress_at"
        )

    # ------------------------------------------------------------------------------------------ the end

    async def _end(self, tenant: str, record: BatchRecord, finished: Finished) -> BatchRecord:
        """Enter the result files, then flip the status."""
        output = await self._enter_file(tenant, record, finished.output, "output")
        error = await self._enter_file(tenant, record, finished.errors, "error")

        def flip(old: BatchRecord) -> BatchRecord:
            status = "expired" if finished.end is Outcome.EXPIRED else "completed"
            if old.status == "cancelling":
                status = "cancelled"
            ended = msgspec.structs.replace(
                old,
                status=status,
                counts=finished.counts,
                tokens=finished.tokens,
                output_file=output,
                error_file=error,
            )
            return self._at(self._at(ended, "finalizing_at"), f"{status}_at")

        ended = await self._change(tenant, record.id, flip)
        counts = finished.counts
        log.info(
            "batch %s %s: rows=%d succeeded=%d errored=%d canceled=%d expired=%d seconds=%d",
            *(record.id, ended.status, counts.total, counts.succeeded, counts.errored, counts.canceled, counts.expired),
            self._clock.now() - record.created_at,
        )
        return ended

    async def _enter_file(self, tenant: str, record: BatchRecord, blob: str | None, kind: str) -> str | None:
        if blob is None:
            return None
        if record.family != "openai":
            return result_file_id(record.id, kind)  # shown by the batch itself: no file of its own
        now = int(self._clock.now())
        size = await asyncio.to_thread(lambda: self._blobs.size(blob))
        file = FileRecord(
            id=result_file_id(record.id, kind),
            size=size or 0,
            created_at=now,
            filename=f"{record.id}_{kind}.jsonl",
            purpose="batch_output",
            expires_at=now + (record.output_retention or RETENTION),
        )
        for _ in range(2):
            try:
                await self._objects.insert(FILE, tenant, file.id, file.purpose, now, encode(file))
                break
            except Conflict:  # of an earlier process that was killed before the flip
                await self._objects.delete(FILE, tenant, file.id)
        return file.id

    async def _clean(self, tenant: str, record: BatchRecord) -> None:
        """Drop what only an open batch needs."""
        await asyncio.to_thread(self._blobs.delete, journal_blob(record.id))
        self._inputs.pop(record.id, None)
        if self.reads(record.input_file):
            return
        if not await self._is_kept(tenant, record):
            await asyncio.to_thread(self._blobs.delete, file_blob(record.input_file))

    async def _is_kept(self, tenant: str, record: BatchRecord) -> bool:
        """Whether the file of the requests is somebody's still: Google's inline ones are shown with their answers."""
        if record.family != "gemini":
            return await self._objects.get(FILE, tenant, record.input_file) is not None
        if record.input_name is None:
            return True
        stored = await self._objects.get(GEMINI_FILE, tenant, record.input_name)
        return stored is not None and decode_gemini_file(stored.doc).blob == record.input_file

    # ----------------------------------------------------------------------------------------- records

    async def _change(self, tenant: str, batch_id: str, change: Change) -> BatchRecord:
        """Read, change, compare and set; again on conflict."""
        while True:
            stored = await self._stored(tenant, batch_id)
            old = decode_batch(stored.doc)
            new = change(old)
            if new is old:
                return old
            try:
                await self._objects.update(stored, new.status, encode(new))
            except Conflict:
                continue
            return new

    async def _stored(self, tenant: str, batch_id: str) -> Stored:
        stored = await self._objects.get(batch_kind(batch_id), tenant, batch_id)
        if stored is None:
            raise LookupError(batch_id)
        return stored

    def _at(self, record: BatchRecord, name: str) -> BatchRecord:
        return msgspec.structs.replace(record, times={**record.times, name: int(self._clock.now())})


def _requests(record: BatchRecord) -> Requests:
    return Requests(
        id=record.id,
        endpoint=record.endpoint,
        blob=file_blob(record.input_file),
        journal=journal_blob(record.id),
        output=file_blob(result_file_id(record.id, "output")),
        errors=file_blob(result_file_id(record.id, "error")) if record.family == "openai" else None,
        expires_at=record.expires_at,
        family=record.family,
        model=record.model or "",
    )
