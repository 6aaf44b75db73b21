"""What a person asks of a job while it runs or after: cancel, resume, send rows again, decide a held submission."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from overnight.core.fate import is_over
from overnight.core.machine import CanceledUnsent, RowsTaken, SubmitAccepted, evolve
from overnight.data.follow_up import Row, write_follow_up
from overnight.data.joined import Joined
from overnight.data.spans import position, union
from overnight.data.table import key_rows
from overnight.engine.candidates import candidates, whose
from overnight.engine.settle import absent
from overnight.engine.work import Work, in_thread
from overnight.errors import UsageError
from overnight.ports import Changes, Event, Store
from overnight.types import (
    FINAL_STATES,
    Batch,
    BatchId,
    BatchState,
    Entry,
    FailureKind,
    Job,
    JobId,
    RemoteBatch,
    RemoteId,
    Segment,
    Shard,
)

READY = 200
"""Batches that are given up at a time."""
MOST_ROWS = 50_000
"""Rows that are gathered before their requests are written, so that memory does not grow with the job."""


async def cancel(store: Store, job_id: JobId, at: float) -> Job:
    """Ask that nothing more is sent and that what is out is canceled; whoever runs the job carries it out."""
    return await store.ask(job_id, Event(job_id, at, "cancel_asked"), lambda job: replace(job, cancel_requested=True))


async def resume(store: Store, job_id: JobId, at: float) -> Job:
    """Release a held job. What failed so far is forgiven: the brake judges what ends from now on."""
    totals = await store.totals(job_id)
    forgiven = {**totals.kinds, "ended": totals.ended, "expect": 1}
    told = Event(job_id, at, "resumed")
    return await store.ask(job_id, told, lambda job: replace(job, hold=None, forgiven=forgiven))


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which rows are to go out again; an empty choice takes every row that did not succeed."""

    kinds: frozenset[FailureKind] = frozenset()
    batch: BatchId | None = None
    keys: frozenset[str] = frozenset()

    def takes(self, entry: Entry, batch: Batch, key: str) -> bool:
        """Whether this row, ending without success with this entry of this batch, is chosen."""
        if self.kinds and entry.kind not in self.kinds:
            return False
        if self.batch is not None and batch.id != self.batch:
            return False
        return not self.keys or key in self.keys


async def retry(work: Work, chosen: Chosen) -> int:
    """Put the chosen rows into new batches and return how many they are: rows that ended without success and are not
    on their way already. One transaction."""
    await carry_out_cancel(work)
    busy = union(
        *[batch.shard.spans async for batch in work.store.batches(work.job_id) if batch.state not in FINAL_STATES]
    )
    waiting = {batch.id for batch in await work.store.backlog(work.job_id, 1_000_000)}
    rows: list[Row] = []
    shards: list[Shard] = []
    taken: Counter[BatchId] = Counter()
    sources: dict[BatchId, Batch] = {}
    for segment in work.segments:
        batches = await work.store.contributing(work.job_id, segment.index)
        for entry, batch in await in_thread(_failed, work, segment, batches, chosen):
            if batch.id in waiting or position(busy, entry.ordinal) is not None:
                continue
            rows.append((entry.ordinal, 0, entry.paid, batch.shard))
            taken[batch.id] += 1
            sources[batch.id] = batch
        if len(rows) >= MOST_ROWS:
            shards += await in_thread(_written, work, rows)
            rows = []
    if not taken:
        return 0
    shards += await in_thread(_written, work, rows)
    rank = max(batch.rank for batch in sources.values()) + 1
    after = tuple(evolve(batch, RowsTaken(taken[batch.id], backlog=False)) for batch in sources.values())
    new = tuple(work.planned_batch(shard, rank=rank) for shard in shards)
    told = work.event("retry_asked", rows=taken.total(), batches=len(new))
    await work.commit(Changes(batches=after, new_shards=tuple(shards), new_batches=new, events=(told,)))
    await work.store.ask(work.job_id, told, lambda job: replace(job, cancel_requested=False))
    return taken.total()


def _written(work: Work, rows: list[Row]) -> tuple[Shard, ...]:
    return write_follow_up(
        rows,
        job_id=work.job_id,
        run_tag=work.run_tag,
        generation=max((row[3].generation for row in rows), default=0) + 1,
        blobs=work.blobs,
        new_id=work.new_id,
        most_rows=work.follow_up_rows(),
        most_bytes=work.provider.limits.size,
    )


async def carry_out_cancel(work: Work) -> None:
    """Give up what a canceled job holds back, batches that are not sent and rows that wait for another attempt, so that
    nothing but what is chosen after it goes out."""
    while (view := await work.store.view(work.job_id, work.clock.now(), READY)).job.cancel_requested:
        waiting = await work.store.backlog(work.job_id, READY)
        if not view.ready and not waiting:
            return
        now = work.clock.now()
        after = [evolve(batch, CanceledUnsent(now)) for batch in view.ready]
        after += [evolve(batch, RowsTaken(0, backlog=True)) for batch in waiting]
        told = work.event("given_up", unsent=len(view.ready), waiting=len(waiting))
        await work.commit(Changes(batches=tuple(after), events=(told,)))


def _failed(work: Work, segment: Segment, batches: Sequence[Batch], chosen: Chosen) -> list[tuple[Entry, Batch]]:
    keys = key_rows(segment, work.blobs)
    with Joined(segment, batches, work.blobs) as joined:
        found = ((entry, entry.ordinal - segment.first_ordinal) for entry in joined.best.failed())
        ended = ((entry, joined.batches[joined.batch[at]], keys[at][0]) for entry, at in found)
        return [(entry, batch) for entry, batch, key in ended if chosen.takes(entry, batch, key)]


async def held(work: Work) -> list[tuple[Batch, Sequence[RemoteBatch]]]:
    """Submissions that wait for proof or for the operator, each with the provider's batches that it may be."""
    view = await work.store.view(work.job_id, work.clock.now(), 0)
    waiting = [batch for batch in view.open if batch.state is BatchState.HELD]
    return [(batch, [each.remote for each in await candidates(work, batch)]) for batch in waiting]


async def adopt(work: Work, batch_id: BatchId, remote_id: RemoteId) -> Batch:
    """The operator's word that a held submission is this batch of the provider. Where its answers can tell, they are
    asked, now or when it has ended. Raises `UsageError` where it cannot be."""
    batch = await _held(work, batch_id)
    remote = (await work.provider.status([remote_id])).get(remote_id)
    if remote is None:
        raise UsageError(f"the provider has no batch {remote_id} on this account: overnight reconcile lists them")
    other = (await work.store.adopters(batch.account, [remote_id])).get(remote_id)
    if other is not None:
        raise UsageError(f"batch {other.id} of job {other.job_id} was taken for {remote_id}: adopt another one")
    ours = True if work.provider.proof != "count" else await whose(work, batch, remote) if is_over(remote) else None
    if ours is False:
        raise UsageError(f"the answers of {remote_id} are not those of batch {batch_id}: adopt another one")
    # The operator's word is enough for what has ended without an answer: nothing better will come.
    proved = ours is True or is_over(remote)
    return await work.step(batch, SubmitAccepted(remote, work.clock.now(), proved))


async def declare_absent(work: Work, batch_id: BatchId) -> Batch:
    """The operator's word that a held submission never arrived: its rows go out in a new batch. Raises `UsageError`
    where a batch of the provider proves to be it."""
    batch = await _held(work, batch_id)
    ours = [each.remote.id for each in await candidates(work, batch) if each.ours]
    if ours:
        raise UsageError(f"{ours[0]} is batch {batch_id}, as its answers tell: adopt it")
    return await absent(work, batch, "declared_absent")


async def _held(work: Work, batch_id: BatchId) -> Batch:
    batch = await work.store.batch(batch_id)
    if batch is None or batch.job_id != work.job_id:
        raise UsageError(f"job {work.job_id} has no batch {batch_id}: overnight status {work.job_id} lists them")
    if batch.state is not BatchState.HELD:
        raise UsageError(f"batch {batch_id} is {batch.state}, not held: nothing is to be decided")
    return batch
