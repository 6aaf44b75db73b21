"""A shard that the provider refused as a whole, in parts: nothing of it ran, so its rows go on in new shards."""

from __future__ import annotations

from dataclasses import dataclass, replace

from overnight.core.machine import whole
from overnight.data.follow_up import Row, write_follow_up
from overnight.data.ledger import tries_of
from overnight.data.spans import ordinals
from overnight.engine.work import Work, in_thread
from overnight.types import Batch, BatchState, Counts, Failure, FailureKind, Shard

MOST_LINES = 20
"""Refusals of a shard for one of its lines; with the next one all rows that are left end."""
TOO_LONG = "token_limit_exceeded"
TOO_LARGE = 413
PATIENCE = 2
"""Refusals of a shard for the length of the account's queue, before it is asked whether anything else was in it."""


@dataclass(frozen=True, slots=True)
class Parts:
    """New shards and their batches; none: the shard stays whole."""

    shards: tuple[Shard, ...] = ()
    batches: tuple[Batch, ...] = ()


async def parts_of(work: Work, batch: Batch, failure: Failure, delay: float) -> Parts:
    """Without the line that the provider names, whose row ends with the failure; or in halves, to be sent in `delay`
    seconds, where the shard is larger than the provider takes, or longer than the account's whole queue."""
    rows, line, earlier = batch.shard.rows, failure.line, batch.put_back.count(failure.kind)
    if rows == 1 or batch.duplicate_of is not None:
        return Parts()
    if failure.kind is FailureKind.PERMANENT and line is not None and 1 <= line <= rows and earlier < MOST_LINES:
        bad, rest = await in_thread(_cut, work, batch.shard, (line - 1, line))
        again = tuple(work.again(batch, shard, failure, 0.0) for shard in rest)
        return Parts((*bad, *rest), (*(_refused(work, batch, shard, failure) for shard in bad), *again))
    too_long = failure.code == TOO_LONG and earlier >= PATIENCE and await _alone(work, batch)
    if failure.status == TOO_LARGE or too_long:
        halves = sum(await in_thread(_cut, work, batch.shard, (0, rows // 2)), ())
        again = tuple(work.again(batch, half, failure, delay) for half in halves)
        return Parts(halves, again)
    return Parts()


async def _alone(work: Work, batch: Batch) -> bool:
    """Whether no other batch of the job has passed validation, and so fills the queue."""
    view = await work.store.view(work.job_id, work.clock.now(), 0)
    others = (other.remote for other in view.open if other.id != batch.id)
    return not any(remote is not None and remote.counts.total for remote in others)


def _cut(work: Work, shard: Shard, part: tuple[int, int]) -> tuple[tuple[Shard, ...], tuple[Shard, ...]]:
    """New shards of the lines `part` (from, to), and of the others."""
    tries = tries_of(shard, work.blobs)
    rows: list[Row] = [(at, *tries.get(at, (0, 0)), shard) for at in ordinals(shard.spans)]
    start, stop = part
    return _written(work, rows[start:stop]), _written(work, rows[:start] + rows[stop:])


def _written(work: Work, rows: list[Row]) -> tuple[Shard, ...]:
    return write_follow_up(
        rows,
        job_id=work.job_id,
        run_tag=work.run_tag,
        generation=rows[0][3].generation + 1,
        blobs=work.blobs,
        new_id=work.new_id,
        most_rows=work.provider.limits.rows,
        most_bytes=work.provider.limits.size,
    )


def _refused(work: Work, batch: Batch, shard: Shard, failure: Failure) -> Batch:
    """The batch of the row whose line was refused: what was sent of it was sent in the other one."""
    return replace(
        work.planned_batch(shard, rank=batch.rank),
        state=BatchState.FAILED,
        account=batch.account,
        filename="",
        submitted_at=batch.submitted_at,
        ended_at=work.clock.now(),
        failure=failure,
        totals=whole(shard.rows, Counts(total=shard.rows, errored=shard.rows), failure.kind),
        backlog_taken=True,
        cleaned=True,
    )
