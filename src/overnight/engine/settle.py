"""Finding out what became of a submission whose answer was lost: adopt it, or prove that there is none.

Absence is a claim about money (contracts: 15.1). It is made only after the waiting that `core.decide` demands,
from a complete listing without a match, and behind a fence: our input file is deleted first, so that a create still
on its way fails unpaid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from overnight.core.machine import SubmitAbsent, SubmitAccepted, evolve
from overnight.engine.work import Work
from overnight.ports import Changes, Search
from overnight.types import Batch, BatchId, BatchState, RemoteBatch, RemoteState, Shard, ShardId

FIND_SLACK = 86_400.0
"""Seconds before the intent from which the provider's listing is searched: room for a clock that was off, as one that
takes local time for universal time is."""


async def settle(work: Work, batch: Batch, *, prove: bool) -> None:
    """Look for the batch. Found: adopted. Not found and `prove`: fenced; and the next time, when what arrived before
    the fence has had time to show, declared absent and its shard planned again. Else the look is remembered."""
    if batch.create_deadline is None:  # no create has left
        await _absent(work, batch)
        return
    found = await find(work, batch)
    if not found and not prove:
        work.looked(batch)
        return
    if not found and batch.file_id is not None and work.terms.spec.policy.fence and not work.fenced(batch):
        await work.provider.delete_file(batch.file_id)
        work.looked(batch, fence=True)
        return
    if found:
        await _adopt(work, batch, found)
    else:
        await _absent(work, batch)


async def find(work: Work, batch: Batch) -> Sequence[RemoteBatch]:
    """What the provider has that carries the batch's tag or was made of its file, oldest first."""
    sent = batch.submitted_at if batch.submitted_at is not None else batch.created_at
    since = min(sent, work.clock.now()) - FIND_SLACK
    return await work.provider.find(
        Search(batch.tag, batch.file_id, since, filename=batch.filename, rows=batch.shard.rows)
    )


async def _adopt(work: Work, batch: Batch, found: Sequence[RemoteBatch]) -> None:
    """Adopt the oldest that did not fail. Further ones were made by a repeated create: each becomes a batch of its
    own that is canceled and collected, so that what it cost is known."""
    alive = [remote for remote in found if remote.state is not RemoteState.FAILED] or list(found)
    now = work.clock.now()
    adopted = evolve(batch, SubmitAccepted(alive[0], now))
    twins = tuple(_twin(work, batch, remote, now) for remote in alive[1:])
    told = work.event("adopted", batch, remote=alive[0].id, duplicates=[remote.id for remote in alive[1:]])
    shards = tuple(twin.shard for twin in twins)
    await work.commit(Changes(batches=(adopted,), new_shards=shards, new_batches=twins, events=(told,)))
    work.waits.pop(batch.id, None)


def _twin(work: Work, batch: Batch, remote: RemoteBatch, now: float) -> Batch:
    shard: Shard = replace(batch.shard, id=ShardId(work.new_id()[:16]))
    planned = work.planned_batch(shard, rank=batch.rank - 1)
    return replace(
        planned,
        state=BatchState.IN_PROGRESS,
        account=batch.account,
        tag=batch.tag,
        filename="",  # the input file is the other batch's
        submitted_at=batch.submitted_at,
        accepted_at=now,
        first_seen_at=now,
        remote=remote,
        duplicate_of=BatchId(batch.id),
    )


async def _absent(work: Work, batch: Batch) -> None:
    after = evolve(batch, SubmitAbsent(work.clock.now()))
    told = work.event("absent", batch)
    await work.commit(Changes(batches=(after,), new_batches=(work.anew(batch),), events=(told,)))
    work.waits.pop(batch.id, None)
