"""What the engine needs to advance one job: the adapters it was given, the job's terms, and small commits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, ParamSpec, TypeVar

from overnight.core.cost import Rates
from overnight.core.decide import Terms, Wait
from overnight.core.machine import Event as BatchEvent
from overnight.core.machine import evolve
from overnight.data.shards import varied
from overnight.ports import Blobs, Changes, Clock, Event, Lease, Provider, Store
from overnight.types import (
    Batch,
    BatchId,
    BatchState,
    Failure,
    FailureKind,
    Hold,
    JobId,
    RemoteId,
    Reply,
    Segment,
    Shard,
    Tag,
)

LOADED: Final = 4
"""Creates that carry their requests, at the same time: each may take as long as its size needs on a line of its own."""
MOST_PAUSE = 1_800.0
"""Seconds that a batch which never arrives waits at most before it is sent again."""
AnswerCheck = Callable[[Reply], str | None]
P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run synchronous work of the data plane beside the loop."""
    return await asyncio.get_running_loop().run_in_executor(None, partial(call, *args, **kwargs))


def planned_batch(
    shard: Shard, provider: str, dialect: str, new_id: Callable[[], str], *, now: float, rank: int
) -> Batch:
    """A planned attempt of a shard, under a new id, tag and file name."""
    new = BatchId(new_id()[:16])
    return Batch(
        id=new,
        job_id=shard.job_id,
        shard=shard,
        state=BatchState.PLANNED,
        provider=provider,
        model=shard.model,
        account="",
        dialect=dialect,
        rank=rank,
        tag=Tag(new_id()),
        filename=f"overnight-{shard.job_id}-{new}.jsonl",
        created_at=now,
    )


@dataclass(slots=True)
class Work:
    """One process's hold on one job. `waits`, `clean_tries` and `foreign` are this process's memory only: whatever must
    survive stands in the store."""

    job_id: JobId
    lease: Lease
    is_dead: Callable[[str], bool]  # whether the process behind a `Lease.owner` is known to be gone
    store: Store
    provider: Provider
    blobs: Blobs
    clock: Clock
    terms: Terms
    check: AnswerCheck
    rates: Rates | None
    run_tag: str
    segments: tuple[Segment, ...]
    new_id: Callable[[], str]  # random, printable, 32 characters
    jitter: Callable[[], float]  # 0 to 1
    log: Callable[[str, Mapping[str, object]], None]
    waits: dict[BatchId, Wait] = field(default_factory=dict)
    clean_tries: dict[BatchId, int] = field(default_factory=dict)
    foreign: dict[BatchId, set[RemoteId]] = field(default_factory=dict)  # proved not to be that submission
    answered: set[BatchId] = field(default_factory=set)  # creates whose answer is being committed, or taken back
    loaded: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(LOADED))

    async def commit(self, changes: Changes) -> None:
        """Write under our lease. Raises `LeaseLost`, `Conflict`."""
        await self.store.commit(self.lease, changes)

    def event(self, name: str, batch: Batch | None = None, **data: object) -> Event:
        """A line of the audit log, now."""
        return Event(self.job_id, self.clock.now(), name, batch.id if batch is not None else None, data)

    def planned_batch(self, shard: Shard, *, rank: int) -> Batch:
        """A planned attempt of a shard, under a new id, tag and file name."""
        now = self.clock.now()
        return planned_batch(shard, self.provider.name, self.provider.dialect, self.new_id, now=now, rank=rank)

    def again(self, batch: Batch, shard: Shard, failure: Failure, delay: float) -> Batch:
        """The next attempt of what a batch was refused for: its shard, or a part of it, in `delay` seconds."""
        new = self.planned_batch(shard, rank=batch.rank)
        not_before = new.created_at + delay * (1 + 0.2 * self.jitter()) if delay else 0.0
        return replace(new, not_before=not_before, put_back=(*batch.put_back, failure.kind))

    def anew(self, batch: Batch) -> Batch:
        """The same attempt once more, of a batch that never arrived: nobody has refused anything. Where that happens
        again and again, as with a provider that answers every create with 5xx, it waits longer each time."""
        earlier = batch.put_back.count(FailureKind.MISSING)
        delay = min(self.terms.visibility * 2 ** (earlier - 1), MOST_PAUSE) if earlier else 0.0
        new = self.planned_batch(batch.shard, rank=batch.rank)
        not_before = self.clock.now() + delay if delay else 0.0
        return replace(new, not_before=not_before, put_back=(*batch.put_back, FailureKind.MISSING))

    def follow_up_rows(self) -> int:
        """The most rows of the next follow-up; where a lost batch is known by its number of requests only, another
        number each time."""
        rows = self.terms.follow_up_rows
        return varied(rows, int(self.jitter() * rows)) if self.provider.proof == "count" else rows

    async def hold(self, hold: Hold) -> None:
        """Let the job stand still; an earlier reason stays."""
        told = self.event("held", kind=hold.kind, message=hold.message)
        await self.store.ask(self.job_id, told, lambda job: job if job.hold else replace(job, hold=hold))

    async def step(self, batch: Batch, event: BatchEvent) -> Batch:
        """Commit one event of one batch and return the batch as it is stored then."""
        after = evolve(batch, event)
        await self.commit(Changes(batches=(after,), events=(self.event(type(event).__name__, after),)))
        return replace(after, version=after.version + 1)

    def remember(self, batch: Batch, *, unsent: bool) -> None:
        """Our own submission did not end: nothing left (`unsent`), or nobody knows."""
        now = self.clock.elapsed()
        known = self.waits.get(batch.id)
        if known is None or known.unsent is not unsent:
            self.waits[batch.id] = Wait(now, 0, now, owner_dead=True, unsent=unsent)
        else:
            self.waits[batch.id] = replace(known, looks=known.looks + 1, last=now)

    def fenced(self, batch: Batch) -> bool:
        """Whether this process has deleted the batch's input file."""
        known = self.waits.get(batch.id)
        return known is not None and known.fenced is not None

    def looked(self, batch: Batch, *, fence: bool = False, in_vain: bool = False) -> None:
        """One more look at the provider's listing did not tell; `fence`: the input file is deleted now; `in_vain`: no
        further look will tell."""
        now = self.clock.elapsed()
        dead = batch.sender == self.lease.owner or self.is_dead(batch.sender)
        known = self.waits.get(batch.id) or Wait(now, 0, now, owner_dead=dead)
        fenced = now if fence else known.fenced
        self.waits[batch.id] = replace(known, looks=known.looks + 1, last=now, fenced=fenced, in_vain=in_vain)

    def forget(self, batch: Batch) -> None:
        """Its fate is known."""
        self.waits.pop(batch.id, None)
        self.foreign.pop(batch.id, None)

    def log_end(self, batch: Batch) -> None:
        """The one structured line that every end of a batch writes: counts, times, failure ratio, cost; no content."""
        totals = batch.totals
        if totals is None:
            return
        began = batch.accepted_at if batch.accepted_at is not None else batch.created_at
        ended = batch.ended_at if batch.ended_at is not None else self.clock.now()
        self.log(
            "batch_ended",
            {
                "job": self.job_id,
                "batch": batch.id,
                "remote": batch.remote.id if batch.remote is not None else None,
                "state": batch.state,
                "model": batch.model,
                "rows": totals.rows,
                "succeeded": totals.counts.succeeded,
                "failed": totals.rows - totals.counts.succeeded,
                "failure_ratio": round(1 - totals.counts.succeeded / max(totals.rows, 1), 4),
                "kinds": dict(totals.kinds),
                "seconds": round(max(ended - began, 0.0), 3),  # the provider tells whole seconds
                "input_tokens": totals.tokens.input,
                "output_tokens": totals.tokens.output,
                "cost_usd": None if totals.cost is None else totals.cost / 1e12,
            },
        )
