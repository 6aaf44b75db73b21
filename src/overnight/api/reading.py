"""What became of a job: its table, one row's history, its state."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from overnight.api.running import Running, is_finished, spec_of
from overnight.core.identity import run_tag
from overnight.data.follow_up import read_request
from overnight.data.ledger import entries_of
from overnight.data.merge import MergeSummary, find_row, iterate, merge
from overnight.data.outcomes import Outcomes, count_outcomes, first_failed
from overnight.data.schemas import answer_rules
from overnight.data.selection import selected
from overnight.data.spans import Spans, intersect, of_segment, position
from overnight.data.spool import is_spool, spool_blob
from overnight.data.table import Parts, Which, key_rows
from overnight.engine.runner import lease_name
from overnight.engine.work import in_thread
from overnight.errors import UsageError
from overnight.ports import Event, Lease
from overnight.spec import Spec
from overnight.types import Batch, BatchState, Entry, Job, JobTotals, JobView, Segment
from overnight.wire.strict import strict_json

ALL_JOBS = 1_000_000_000
BLOCK = 1_000
"""Rows that are made at a time where a table is iterated over."""


@dataclass(frozen=True, slots=True)
class Status:
    """Where a job stands. `running`: some process owns it now."""

    job: Job
    spec: Spec
    view: JobView
    running: bool
    finished: bool

    @property
    def totals(self) -> JobTotals:
        """Sums over its batches."""
        return self.view.totals


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt of a row: where it went, how it ended, and the answer as it came."""

    batch: Batch
    line: Entry | None  # None: no outcome yet
    answer: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class RowHistory:
    """Everything about one row. `problem`: why it was never sent."""

    key: str
    ordinal: int
    problem: str | None
    request: dict[str, Any] | None
    attempts: tuple[Attempt, ...]


class Reading:
    """What a client reads."""

    def __init__(self, running: Running) -> None:
        self.running = running
        self.home = running.home

    async def status(self, job: Job) -> Status:
        """The job's state of this moment."""
        view = await self.home.store.view(job.id, self.home.clock.now(), 0)
        holder = await self.home.store.holder(lease_name(job.id))
        alive = holder is not None and not self.home.is_dead(holder.owner)
        return Status(view.job, spec_of(view.job), view, alive, is_finished(view))

    # ------------------------------------------------------------------------------------------- tables

    async def export(self, job: Job, path: Path, which: Which) -> MergeSummary:
        """Write the job's table; one of all rows is noted, so that the job may be cleaned up."""
        digest = table_digest(job, await self.home.store.totals(job.id))
        with await self._parts(job, which) as parts:
            summary = await in_thread(merge, parts, path, which)
        if which == "finished":
            told = Event(job.id, self.home.clock.now(), "exported", data={"rows": summary.rows})
            exported = {str(path.absolute()): digest}
            await self.home.store.ask(job.id, told, lambda old: replace(old, exported={**old.exported, **exported}))
        return summary

    async def is_exported(self, job: Job, path: Path) -> bool:
        """Whether the file is there and was written from what the job is now."""
        digest = table_digest(job, await self.home.store.totals(job.id))
        return job.exported.get(str(path.absolute())) == digest and path.exists()

    async def outcomes(self, job: Job) -> Outcomes:
        """How the selected rows ended, and why those without success did."""
        with await self._parts(job) as parts:
            return await in_thread(count_outcomes, parts)

    async def first_failed(self, job: Job) -> str | None:
        """The key of the first row that was sent and ended without success."""
        with await self._parts(job) as parts:
            return await in_thread(first_failed, parts)

    async def rows(self, job: Job, which: Which) -> AsyncIterator[dict[str, Any]]:
        """The table's rows as dictionaries, in order, in constant memory."""
        with await self._parts(job, which) as parts:
            table = iterate(parts, which)
            while block := await in_thread(list, islice(table, BLOCK)):
                for row in block:
                    yield row

    async def _parts(self, job: Job, which: Which | None = None) -> _Opened:
        """Where the job's table comes from; its source only where that table needs it."""
        if job.planned is None:
            raise UsageError(f"job {job.id} is not planned yet: there are no results")
        segments = await self.home.store.segments(job.id)
        spec, loop, store = spec_of(job), asyncio.get_running_loop(), self.home.store
        asked = await self.selected(job, segments)

        def contributing(segment: int) -> Sequence[Batch]:
            return asyncio.run_coroutine_threadsafe(store.contributing(job.id, segment), loop).result()

        needed = which is not None and (spec.keep != "key" or which == "failed")
        source = await in_thread(self.running.source, spec) if needed else None
        parts = Parts(
            spec=spec,
            rules=answer_rules(spec),
            tag=run_tag(job),
            segments=segments,
            selected=lambda segment: intersect(asked, (of_segment(segment),)),
            contributing=contributing,
            blobs=self.home.blobs,
            source=source,
        )
        return _Opened(parts)

    async def selected(self, job: Job, segments: Sequence[Segment]) -> Spans:
        """The ordinals that were asked for."""
        total = segments[-1].first_ordinal + segments[-1].rows if segments else 0
        return () if job.planned is None else await in_thread(selected, job.planned, total, job.id)

    async def clean(self, job: Job, lease: Lease) -> int:
        """Remove the job's records, then its files; returns bytes freed. Raises `UsageError` where something would be
        lost: while the job goes on, or where its answers stand in no table of the user's."""
        view = await self.home.store.view(job.id, self.home.clock.now(), 0)
        sent = set(view.totals.batches) - {BatchState.PLANNED}
        if sent and not is_finished(view):
            raise UsageError(f"job {job.id} is not finished: run it, or cancel it first")
        exported = {digest.split()[0] for digest in view.job.exported.values()}
        if sent and state_digest(view.totals) not in exported:
            raise UsageError(f"job {job.id} has answers that are in no file: overnight results {job.id} -o FILE first")
        await self.home.store.delete_job(lease, job.id)
        return await in_thread(self.remove_files, job) + await self._remove_spool(job)

    def remove_files(self, job: Job) -> int:
        """Everything that is kept for the job; returns bytes freed."""
        freed = 0
        for name in list(self.home.blobs.list(f"jobs/{job.id}/")):
            freed += self.home.blobs.size(name) or 0
            self.home.blobs.delete(name)
        self.home.forget_server(job.id)
        return freed

    async def _remove_spool(self, job: Job) -> int:
        """The rows that were given for the job from Python, where no other job was made of the same."""
        source = spec_of(job).source
        if not is_spool(source) or any(spec_of(each).source == source for each in await self.home.store.jobs(ALL_JOBS)):
            return 0
        name = spool_blob(source)
        size = self.home.blobs.size(name) or 0
        await in_thread(self.home.blobs.delete, name)
        return size

    # ---------------------------------------------------------------------------------------------- one row

    async def show(self, job: Job, key: str) -> RowHistory:
        """The row's request as it was sent, and every attempt with its raw answer. Raises `UsageError` where no row has
        the key."""
        home = self.home
        segments = await home.store.segments(job.id)
        ordinal = await in_thread(find_row, key, segments, home.blobs)
        if ordinal is None:
            raise UsageError(f"job {job.id} has no row with the key {key!r}")
        segment = next(each for each in segments if ordinal < each.first_ordinal + each.rows)
        rows = await in_thread(key_rows, segment, home.blobs)
        problem = rows[ordinal - segment.first_ordinal][2]
        attempts = [
            await in_thread(self._attempt, batch, segment, ordinal)
            async for batch in home.store.batches(job.id)
            if position(batch.shard.spans, ordinal) is not None and batch.submitted_at is not None
        ]
        request = None
        if attempts:
            line = await in_thread(read_request, attempts[-1].batch.shard, ordinal, home.blobs)
            request = orjson.loads(line)
        return RowHistory(key, ordinal, problem, request, tuple(attempts))

    def _attempt(self, batch: Batch, segment: Segment, ordinal: int) -> Attempt:
        if batch.totals is None:
            return Attempt(batch, None, None)
        entries = entries_of(batch, self.home.blobs, segment)
        found = entries[bisect_left(entries.ordinal, ordinal)]
        assert found is not None
        if found.file < 0:
            return Attempt(batch, found, None)
        reader = self.home.blobs.reader(batch.answers[found.file])
        try:
            return Attempt(batch, found, orjson.loads(strict_json(reader.read_at(found.offset, found.length))))
        finally:
            reader.close()


class _Opened:
    """Parts whose source is closed at the end."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def __enter__(self) -> Parts:
        return self._parts

    def __exit__(self, *exc: object) -> None:
        if self._parts.source is not None:
            self._parts.source.close()


def state_digest(totals: JobTotals) -> str:
    """Changes whenever a further answer comes in or a row goes out again."""
    return f"{totals.rows}/{totals.ended}/{totals.succeeded}/{totals.failed}"


def table_digest(job: Job, totals: JobTotals) -> str:
    """The same, and what else decides how the job's table looks: which rows and which columns."""
    spec = spec_of(job)
    asked = repr((job.planned, spec.key, spec.keep, spec.extra)).encode()
    return f"{state_digest(totals)} {blake2b(asked, digest_size=8).hexdigest()}"
