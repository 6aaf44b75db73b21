"""Sending mended rows: into the same job, the same output, above the answers that they had."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from overnight.core.machine import RowsTaken, evolve
from overnight.data.joined import Joined
from overnight.data.mended import Mending, mended_ordinals, write_mended
from overnight.data.shards import Most
from overnight.data.spans import Spans, position
from overnight.engine.operate import carry_out_cancel
from overnight.engine.work import Work, in_thread
from overnight.errors import UsageError
from overnight.ports import Changes
from overnight.types import FINAL_STATES, Batch, BatchId, Outcome, Segment, Span


@dataclass(slots=True)
class Mended:
    """How many of the mended rows go out again, and how many do not."""

    sent: int = 0
    succeeded: int = 0  # before, or by another retry
    on_their_way: int = 0


@dataclass(slots=True)
class _Rows:
    """What is known of the mended rows so far."""

    left_out: set[int] = field(default_factory=set)
    tries: dict[int, tuple[int, int]] = field(default_factory=dict)
    taken: Counter[BatchId] = field(default_factory=Counter)
    sources: dict[BatchId, Batch] = field(default_factory=dict)
    told: Mended = field(default_factory=Mended)


async def mend(work: Work, task: Mending, selected: Spans) -> Mended:
    """Put mended rows into new batches, in one transaction, above every attempt so far. Rows that were bad or empty are
    taken as well; rows that succeeded, or are on their way, are left alone. Raises `UsageError` where a row is not
    among those selected, or cannot be sent."""
    ordinals = await in_thread(mended_ordinals, task)
    strange = next((key for key, ordinal in ordinals.items() if position(selected, ordinal) is None), None)
    if strange is not None:
        raise UsageError("a mended row is not among the rows that were planned: run the whole job first")
    await carry_out_cancel(work)
    batches = [batch async for batch in work.store.batches(work.job_id)]
    busy = [batch.shard.spans for batch in batches if batch.state not in FINAL_STATES]
    waiting = {batch.id for batch in await work.store.backlog(work.job_id, 1_000_000)}
    rows, wanted = _Rows(), frozenset(ordinals.values())
    for segment in work.segments:
        contributing = await work.store.contributing(work.job_id, segment.index)
        await in_thread(_judge, work, segment, contributing, wanted, busy, waiting, rows)
    rows.told.sent = len(wanted) - len(rows.left_out)
    if not rows.told.sent:
        return rows.told
    most = Most(work.follow_up_rows(), work.provider.limits.size, work.provider.limits.size)
    generation = max((shard.generation for shard in await work.store.shards(work.job_id)), default=0) + 1
    shards = await in_thread(
        write_mended,
        task,
        ordinals,
        rows.left_out,
        rows.tries,
        generation=generation,
        most=most,
        new_id=work.new_id,
    )
    rank = max((batch.rank for batch in batches), default=0) + 1
    after = tuple(evolve(batch, RowsTaken(rows.taken[batch.id], backlog=False)) for batch in rows.sources.values())
    new = tuple(work.planned_batch(shard, rank=rank) for shard in shards)
    told = work.event("mended", rows=rows.told.sent, batches=len(new))
    await work.commit(Changes(batches=after, new_shards=tuple(shards), new_batches=new, events=(told,)))
    await work.store.ask(work.job_id, told, lambda job: replace(job, cancel_requested=False))
    return rows.told


def _judge(
    work: Work,
    segment: Segment,
    contributing: Sequence[Batch],
    wanted: frozenset[int],
    busy: Sequence[Sequence[Span]],
    waiting: set[BatchId],
    rows: _Rows,
) -> None:
    """Find out of each mended row of the segment whether it may go out, and what it has cost so far."""
    mine = [each for each in wanted if segment.first_ordinal <= each < segment.first_ordinal + segment.rows]
    if not mine:
        return
    with Joined(segment, contributing, work.blobs) as joined:
        for ordinal in mine:
            at = ordinal - segment.first_ordinal
            entry, batch = joined.best[at], joined.batches[joined.batch[at]] if joined.batches else None
            if any(position(spans, ordinal) is not None for spans in busy):
                rows.told.on_their_way += 1
                rows.left_out.add(ordinal)
            elif entry is None or batch is None:
                continue
            elif entry.outcome is Outcome.SUCCEEDED:
                rows.told.succeeded += 1
                rows.left_out.add(ordinal)
            elif batch.id in waiting:
                rows.told.on_their_way += 1
                rows.left_out.add(ordinal)
            else:
                rows.tries[ordinal] = (0, entry.paid)
                rows.taken[batch.id] += 1
                rows.sources[batch.id] = batch
