"""StoreReader on SQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from typing import Any

from sqlalchemy import Connection, Select, and_, bindparam, select

from overnight.errors import StoreError
from overnight.ports import Event
from overnight.stores.database import Database
from overnight.stores.records import BATCH_COLUMNS, EVENTS, JOBS, SEGMENTS, SHARDS, load_batch
from overnight.stores.schema import batches, events, jobs, segments, shard_segments, shards
from overnight.stores.totals import job_totals
from overnight.types import (
    OPEN_STATES,
    Batch,
    BatchId,
    BatchState,
    Job,
    JobId,
    JobTotals,
    RemoteId,
    Segment,
    Shard,
)

PAGE = 200
"""Batches that one look of `SqlReader.batches` loads."""

_JOB = select(*JOBS.columns).where(jobs.c.id == bindparam("job"))


class SqlReader:
    """Reading only. Every method sees one moment of the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def job(self, job_id: JobId) -> Job | None:
        """The job, or None."""
        return await self._database.read(lambda connection: find_job(connection, job_id))

    async def find_job(self, identity: str, tenant: str = "") -> Job | None:
        """The tenant's job of that identity, or None."""
        return await self._database.read(lambda connection: job_of(connection, tenant, identity))

    async def jobs(self, limit: int = 1000) -> Sequence[Job]:
        """Newest first."""
        query = select(*JOBS.columns).order_by(jobs.c.seq.desc()).limit(limit)
        return await self._database.read(lambda connection: [JOBS.load(row) for row in connection.execute(query)])

    async def totals(self, job_id: JobId) -> JobTotals:
        """Sums over the job's batches; nothing is loaded."""
        return await self._database.read(lambda connection: job_totals(connection, job_id))

    async def batches(self, job_id: JobId) -> AsyncIterator[Batch]:
        """All batches in order of creation, loaded a page at a time: each page is of one moment, the whole is not."""
        after = 0
        while page := await self._database.read(partial(_page, job_id=job_id, after=after)):
            for seq, batch in page:
                yield batch
                after = seq

    async def batch(self, batch_id: BatchId) -> Batch | None:
        """One batch, or None."""
        query = select_batches().where(batches.c.id == batch_id)
        found = await self._database.read(lambda connection: load_batches(connection, query))
        return found[0] if found else None

    async def segments(self, job_id: JobId) -> Sequence[Segment]:
        """All segments by index."""
        query = select(*SEGMENTS.columns).where(segments.c.job_id == job_id).order_by(segments.c.index)
        return await self._database.read(lambda connection: [SEGMENTS.load(row) for row in connection.execute(query)])

    async def contributing(self, job_id: JobId, segment: int) -> Sequence[Batch]:
        """The batches with totals that hold rows of that segment (follow-ups and duplicates included), by rank, then
        creation."""
        holds = and_(shard_segments.c.job_id == job_id, shard_segments.c.segment == segment)
        query = (
            select_batches()
            .join(shard_segments, shard_segments.c.shard_id == shards.c.id)
            .where(holds, batches.c.ended.is_not(None))
            .order_by(batches.c.rank, batches.c.seq)
        )
        return await self._database.read(lambda connection: load_batches(connection, query))

    async def shards(self, job_id: JobId, segment: int | None = None) -> Sequence[Shard]:
        """Shards of the job (of one segment), in order of creation."""
        query = select(*SHARDS.columns).where(shards.c.job_id == job_id).order_by(shards.c.seq)
        if segment is not None:
            query = query.where(shards.c.segment == segment)
        return await self._database.read(lambda connection: [SHARDS.load(row) for row in connection.execute(query)])

    async def events(self, job_id: JobId, limit: int = 1000) -> Sequence[Event]:
        """The audit log, oldest first; of a longer log its newest `limit` lines."""
        query = select(*EVENTS.columns).where(events.c.job_id == job_id).order_by(events.c.seq.desc()).limit(limit)
        newest = await self._database.read(lambda connection: [EVENTS.load(row) for row in connection.execute(query)])
        return newest[::-1]

    async def unresolved(self, account: str) -> Sequence[Batch]:
        """Submissions on that account, of any job, whose fate is open, oldest first."""
        query = (
            select_batches()
            .where(batches.c.account == account, batches.c.state.in_(sorted(OPEN_STATES)))
            .order_by(batches.c.created_at, batches.c.seq)
        )
        found = await self._database.read(lambda connection: load_batches(connection, query))
        return [batch for batch in found if _is_unresolved(batch)]

    async def adopters(self, account: str, remotes: Sequence[RemoteId]) -> Mapping[RemoteId, Batch]:
        """Which batch on that account, of any job, each of these remote batches belongs to, or was adopted by."""

        def work(connection: Connection) -> dict[RemoteId, Batch]:
            found: dict[RemoteId, Batch] = {}
            for some in (remotes[at : at + PAGE] for at in range(0, len(remotes), PAGE)):
                query = select_batches().where(batches.c.account == account, batches.c.remote_id.in_(some))
                found |= {batch.remote.id: batch for batch in load_batches(connection, query) if batch.remote}
            return found

        return await self._database.read(work)

    async def close(self) -> None:
        """Finish the database's thread."""
        await self._database.close()


def _is_unresolved(batch: Batch) -> bool:
    sent = batch.state is BatchState.SUBMITTING and batch.create_deadline is not None
    return sent or batch.state is BatchState.HELD or not batch.proved


def select_batches() -> Select[*tuple[Any, ...]]:
    """Batches joined with their shards, for `load_batches`."""
    return select(*BATCH_COLUMNS).select_from(batches.join(shards, batches.c.shard_id == shards.c.id))


def load_batches(
    connection: Connection, query: Select[*tuple[Any, ...]], asked: Mapping[str, object] | None = None
) -> list[Batch]:
    """What the query selects of `select_batches`, with `asked` as its parameters."""
    return [load_batch(row) for row in connection.execute(query, asked)]


def _page(connection: Connection, job_id: JobId, after: int) -> list[tuple[int, Batch]]:
    query = (
        select_batches()
        .add_columns(batches.c.seq)
        .where(batches.c.job_id == job_id, batches.c.seq > after)
        .order_by(batches.c.seq)
        .limit(PAGE)
    )
    return [(row[-1], load_batch(row[:-1])) for row in connection.execute(query)]


def find_job(connection: Connection, job_id: JobId) -> Job | None:
    """The job, or None."""
    row = connection.execute(_JOB, {"job": job_id}).one_or_none()
    return JOBS.load(row) if row is not None else None


def the_job(connection: Connection, job_id: JobId) -> Job:
    """The job. Raises `StoreError` where there is none."""
    job = find_job(connection, job_id)
    if job is None:
        raise StoreError(f"no job {job_id} in this store: `overnight jobs` lists them")
    return job


def job_of(connection: Connection, tenant: str, identity: str) -> Job | None:
    """The tenant's job of that identity, or None."""
    query = select(*JOBS.columns).where(jobs.c.tenant == tenant, jobs.c.identity == identity)
    row = connection.execute(query).one_or_none()
    return JOBS.load(row) if row is not None else None
