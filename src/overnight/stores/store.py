"""Store on SQL: leases, commits under an epoch, and the view that a decision needs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Table,
    and_,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from overnight.errors import Conflict, InvariantError, LeaseLost
from overnight.ports import Changes, Event, Lease
from overnight.stores import schema
from overnight.stores.database import Database
from overnight.stores.reader import SqlReader, job_of, load_batches, select_batches, the_job
from overnight.stores.records import EVENTS, JOBS, SEGMENTS, SHARDS, batch_row, tally_rows
from overnight.stores.totals import UNCLEANED, WAITING, job_totals
from overnight.stores.touched import touched_segments
from overnight.types import OPEN_STATES, Batch, BatchState, Job, JobId, JobView

HOUR = 3600.0
LONGEST_WAIT = 2 * HOUR
"""Nobody is made to wait longer: what should is of a clock that was set back since."""

_batches = schema.batches.c
_leases = schema.leases.c

# What a view asks, made once: building these statements takes ten times as long as SQLite takes to answer them.

_mine_planned = and_(_batches.job_id == bindparam("job"), _batches.state == BatchState.PLANNED)

# Ordered by time, not by `seq`: that would tempt SQLite to walk the job's batches in order, ended ones and all.
_OPEN = (
    select_batches()
    .where(_batches.job_id == bindparam("job"), _batches.state.in_(sorted(OPEN_STATES)))
    .order_by(_batches.created_at, _batches.seq)
)
_READY = (
    select_batches()
    .where(_mine_planned, or_(_batches.not_before <= bindparam("now"), _batches.not_before > bindparam("latest")))
    .order_by(_batches.rank, _batches.segment, _batches.seq)
    .limit(bindparam("ready"))
)
_NEXT_READY = select(func.min(_batches.not_before)).where(
    _mine_planned, _batches.not_before > bindparam("now"), _batches.not_before <= bindparam("latest")
)
_OLDEST_BACKLOG = select(func.min(func.coalesce(_batches.ended_at, _batches.created_at))).where(
    _batches.job_id == bindparam("job"), WAITING, _batches.duplicate_of.is_(None)
)
_CREATES = (
    select(func.count())
    .select_from(schema.batches)
    .where(_batches.submitted_at > bindparam("since"), _batches.submitted_at <= bindparam("until"))
)
_CREATES_OF_JOB = _CREATES.where(_batches.job_id == bindparam("job"))
_CREATES_OF_ACCOUNT = _CREATES.where(_batches.account == bindparam("account"))


class SqlStore(SqlReader):
    """Jobs, segments, shards, batches, events and leases in one SQL database. `now` is the clock of the leases."""

    def __init__(self, database: Database, now: Callable[[], float]) -> None:
        super().__init__(database)
        self._now = now

    async def acquire(self, name: str, owner: str, seconds: float, dead: str | None = None) -> Lease | None:
        """Take the lease, with a new epoch, when it is free, expired by the store's clock, or still that of `dead`, an
        owner known to be gone; else None. The same owner gets it again under the same epoch."""

        def work(connection: Connection) -> Lease | None:
            now = self._now()
            held = connection.execute(select(schema.leases).where(_leases.name == name).with_for_update()).one_or_none()
            if held is None:
                lease = Lease(name, owner, 1, now + seconds)
                connection.execute(
                    insert(schema.leases).values(name=name, owner=owner, epoch=1, expires_at=lease.expires_at)
                )
                return lease
            if held.owner not in {None, owner, dead} and held.expires_at > now:
                return None
            lease = Lease(name, owner, held.epoch if held.owner == owner else held.epoch + 1, now + seconds)
            connection.execute(
                update(schema.leases)
                .where(_leases.name == name)
                .values(owner=owner, epoch=lease.epoch, expires_at=lease.expires_at)
            )
            return lease

        return await self._database.write(work)

    async def holder(self, name: str) -> Lease | None:
        """Whose lease it is (expired ones too), or None where it is free."""
        query = select(schema.leases).where(_leases.name == name, _leases.owner.is_not(None))
        row = await self._database.read(lambda connection: connection.execute(query).one_or_none())
        return Lease(row.name, row.owner, row.epoch, row.expires_at) if row is not None else None

    async def renew(self, lease: Lease, seconds: float) -> Lease:
        """Extend it, from now. Raises `LeaseLost`; a lease that expired and that nobody took is extended."""

        def work(connection: Connection) -> Lease:
            renewed = Lease(lease.name, lease.owner, lease.epoch, self._now() + seconds)
            if not _change_lease(connection, lease, expires_at=renewed.expires_at):
                raise _lost(lease)
            return renewed

        return await self._database.write(work)

    async def release(self, lease: Lease) -> None:
        """Give it back; nothing happens when it is lost already. The epoch stays: the next owner's is higher."""
        await self._database.write(lambda connection: _change_lease(connection, lease, owner=None))

    async def create_job(self, job: Job) -> Job:
        """Insert, or return the tenant's job that already has this identity."""

        def work(connection: Connection) -> Job:
            existing = job_of(connection, job.tenant, job.identity)
            if existing is not None:
                return existing
            connection.execute(insert(schema.jobs).values(JOBS.row(job)))
            return the_job(connection, job.id)

        return await self._database.write(work)

    async def delete_job(self, lease: Lease, job_id: JobId) -> None:
        """Remove the job and all its records. Raises `LeaseLost`."""

        def work(connection: Connection) -> None:
            _own(connection, lease)
            _delete_batches(connection, job_id)
            connection.execute(delete(schema.events).where(schema.events.c.job_id == job_id))
            connection.execute(delete(schema.jobs).where(schema.jobs.c.id == job_id))

        await self._database.write(work)

    async def commit(self, lease: Lease, changes: Changes) -> None:
        """Write all of it, durably, or nothing. Raises `LeaseLost` where the lease has another epoch or owner by now,
        `Conflict` where a record does not fit what is stored."""

        def work(connection: Connection) -> None:
            _own(connection, lease)
            _write(connection, changes)

        await self._database.write(work)

    async def ask(self, job_id: JobId, event: Event, change: Callable[[Job], Job]) -> Job:
        """Change what is asked of the job without owning it, and note the event. `change` is pure; it runs on the
        newest job, inside the transaction, so that no conflict is left to repeat."""

        def work(connection: Connection) -> Job:
            job = the_job(connection, job_id)
            changed = change(job)
            if changed != job:
                _update_job(connection, changed)
            _insert(connection, schema.events, [EVENTS.row(event)])
            return the_job(connection, job_id)

        return await self._database.write(work)

    async def view(self, job_id: JobId, now: float, ready: int) -> JobView:
        """The view of one moment, with at most `ready` planned batches; to a cancel no backoff matters."""
        return await self._database.read(lambda connection: _view(connection, job_id, now, ready))

    async def backlog(self, job_id: JobId, limit: int) -> Sequence[Batch]:
        """Batches with retryable rows that no follow-up has taken, oldest first."""
        query = _of(job_id).where(WAITING, _batches.duplicate_of.is_(None)).order_by(_batches.seq).limit(limit)
        return await self._database.read(lambda connection: load_batches(connection, query))

    async def to_clean(self, job_id: JobId, limit: int) -> Sequence[Batch]:
        """Batches that are over and may have files of ours at the provider, oldest first."""
        query = _of(job_id).where(UNCLEANED).order_by(_batches.created_at, _batches.seq).limit(limit)
        return await self._database.read(lambda connection: load_batches(connection, query))


def _lost(lease: Lease) -> LeaseLost:
    return LeaseLost(f"{lease.name} belongs to another process now")


def _mine(lease: Lease) -> ColumnElement[bool]:
    # Expired but taken by nobody is still ours: only a new epoch fences.
    return and_(_leases.name == lease.name, _leases.owner == lease.owner, _leases.epoch == lease.epoch)


def _change_lease(connection: Connection, lease: Lease, **values: object) -> bool:
    return connection.execute(update(schema.leases).where(_mine(lease)).values(**values)).rowcount == 1


def _own(connection: Connection, lease: Lease) -> None:
    if connection.execute(select(_leases.epoch).where(_mine(lease)).with_for_update()).one_or_none() is None:
        raise _lost(lease)


def _write(connection: Connection, changes: Changes) -> None:
    if changes.job is not None:
        _update_job(connection, changes.job)
    if changes.forget_plan:
        _forget_plan(connection, _job_of(changes))
    if changes.new_segments:
        job_id = _job_of(changes)
        rows = [{"job_id": job_id, **SEGMENTS.row(segment)} for segment in changes.new_segments]
        _insert(connection, schema.segments, rows)
    _insert(connection, schema.shards, [SHARDS.row(shard) for shard in changes.new_shards])
    _insert(connection, schema.shard_segments, touched_segments(connection, changes.new_shards))
    # Before the new ones: a batch that ends makes room for the next attempt of its shard.
    for batch in changes.batches:
        _update_batch(connection, batch)
    _insert(connection, schema.batches, [batch_row(batch) for batch in changes.new_batches])
    _insert(connection, schema.tallies, [row for batch in changes.new_batches for row in tally_rows(batch)])
    _insert(connection, schema.events, [EVENTS.row(event) for event in changes.events])


def _forget_plan(connection: Connection, job_id: JobId) -> None:
    sent = select(func.count()).select_from(schema.batches).where(_batches.job_id == job_id)
    if connection.execute(sent.where(_batches.submitted_at.is_not(None))).scalar_one():
        raise Conflict(f"job {job_id} has sent batches: its plan stays")
    _delete_batches(connection, job_id)


def _delete_batches(connection: Connection, job_id: JobId) -> None:
    mine = select(_batches.id).where(_batches.job_id == job_id)
    connection.execute(delete(schema.tallies).where(schema.tallies.c.batch_id.in_(mine)))
    for table in (schema.batches, schema.shard_segments, schema.shards, schema.segments):
        connection.execute(delete(table).where(table.c.job_id == job_id))


def _job_of(changes: Changes) -> JobId:
    """A segment does not name its job; the records that are committed with it do."""
    if changes.job is not None:
        return changes.job.id
    for records in (changes.new_shards, changes.new_batches, changes.batches, changes.events):
        for record in records:
            return record.job_id
    raise InvariantError("a plan is committed without a record that names its job")


def _insert(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    if rows:
        connection.execute(insert(table), rows)


def _compare_and_set(connection: Connection, table: Table, row: dict[str, Any]) -> bool:
    # The values go in as parameters: a statement with these many values takes longer to build than to run.
    fits = (table.c.id == bindparam("read_id"), table.c.version == bindparam("read_version"))
    values = row | {"version": row["version"] + 1, "read_id": row["id"], "read_version": row["version"]}
    return connection.execute(update(table).where(*fits), values).rowcount == 1


def _update_job(connection: Connection, job: Job) -> None:
    if not _compare_and_set(connection, schema.jobs, JOBS.row(job)):
        raise Conflict(f"job {job.id} changed since it was read")


def _update_batch(connection: Connection, batch: Batch) -> None:
    if not _compare_and_set(connection, schema.batches, batch_row(batch)):
        raise Conflict(f"batch {batch.id} changed since it was read")
    connection.execute(delete(schema.tallies).where(schema.tallies.c.batch_id == batch.id))
    _insert(connection, schema.tallies, tally_rows(batch))


def _of(job_id: JobId) -> Select[*tuple[Any, ...]]:
    return select_batches().where(_batches.job_id == job_id)


def _view(connection: Connection, job_id: JobId, now: float, ready: int) -> JobView:
    job = the_job(connection, job_id)
    due = math.inf if job.cancel_requested else now
    asked = {"job": job_id, "now": due, "latest": due + LONGEST_WAIT, "ready": ready}
    return JobView(
        job=job,
        open=tuple(load_batches(connection, _OPEN, asked)),
        ready=tuple(load_batches(connection, _READY, asked)),
        next_ready=connection.execute(_NEXT_READY, asked).scalar_one(),
        totals=job_totals(connection, job_id),
        oldest_backlog=connection.execute(_OLDEST_BACKLOG, asked).scalar_one(),
        creates_last_hour=_creates(connection, job, now),
    )


def _creates(connection: Connection, job: Job, now: float) -> int:
    """Submissions of the last hour on the job's account, whichever job's: the provider's limit is the account's."""
    if job.account is None:
        return connection.execute(_CREATES_OF_JOB, {"job": job.id, "since": now - HOUR, "until": now}).scalar_one()
    asked = {"account": job.account.fingerprint, "since": now - HOUR, "until": now}
    return connection.execute(_CREATES_OF_ACCOUNT, asked).scalar_one()
