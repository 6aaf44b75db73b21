"""Bringing answers home: raw files first, then the ledger, then one commit; and sending out again what may succeed."""

from __future__ import annotations

from dataclasses import replace

from overnight.core.machine import Collected, RowsTaken, evolve
from overnight.core.retry import again
from overnight.data.answers import collect as read_answers
from overnight.data.follow_up import write_follow_up
from overnight.data.ledger import entries_of
from overnight.engine.work import Work, in_thread
from overnight.errors import ProviderError
from overnight.ports import DOWNLOAD_SHORT, Changes
from overnight.types import Batch, FailureKind, FileId, Hold, Job, Shard

LOST_AFTER = 600.0
"""Seconds after a batch's end was seen, before a result file that is gone or short is believed to be so."""


async def collect(work: Work, batch: Batch, job: Job) -> None:
    """Download both files, judge every row, commit. Safe to repeat: blobs are replaced, the commit happens once.
    Raises `ProviderError` where a file cannot be had now."""
    assert batch.remote is not None
    answers: list[str] = []
    for file_id, kind in ((batch.remote.output_file, "output"), (batch.remote.error_file, "error")):
        name = f"jobs/{batch.job_id}/answers/{batch.id}.{kind}.jsonl"
        if file_id is not None and await _download(work, batch, file_id, name):
            answers.append(name)
    blob, totals = await in_thread(
        read_answers,
        replace(batch, answers=tuple(answers)),
        job,
        work.check,
        work.blobs,
        work.rates,
        work.terms.spec.policy,
        work.segments,
        work.run_tag,
    )
    if batch.duplicate_of is not None:
        totals = replace(totals, retryable={})  # its rows are the other batch's to try again
    after = evolve(batch, Collected(tuple(answers), blob, totals, work.clock.now()))
    told = work.event("collected", after, rows=totals.rows, succeeded=totals.counts.succeeded)
    await work.commit(Changes(batches=(after,), events=(told,)))
    work.log_end(after)
    refused = totals.kinds.get(FailureKind.ACCOUNT, 0)
    if refused:
        await work.hold(Hold("account", f"the provider refused {refused} rows for billing or access", 4))


async def _download(work: Work, batch: Batch, file_id: FileId, name: str) -> bool:
    """True when the blob holds the file, or all of it that there is; False when the provider has it no more. Both are
    believed only after a while: rows that are missing may be paid for again."""
    with work.blobs.create(name) as writer:
        try:
            await work.provider.download(file_id, writer)
        except ProviderError as error:
            gone, short = error.failure.status == 404, error.failure.code == DOWNLOAD_SHORT
            seen = batch.polled_at if batch.polled_at is not None else 0.0
            if not (gone or short) or abs(work.clock.now() - seen) < LOST_AFTER:
                raise
            work.log("answers_gone" if gone else "answers_short", {"batch": batch.id, "file": file_id})
            if gone:
                return False
        await in_thread(writer.commit)
    return True


async def follow_up(work: Work, job: Job) -> None:
    """Put rows that wait for another attempt into new shards and planned batches, the oldest first, about one
    batch's worth a call. One transaction: no row can go out twice, none be forgotten."""
    sources: list[Batch] = []
    waiting = 0
    for batch in await work.store.backlog(work.job_id, 1000):
        sources.append(batch)
        waiting += sum(batch.totals.retryable.values()) if batch.totals is not None else 0
        if waiting >= work.terms.follow_up_rows:
            break
    rows, taken = await in_thread(_retryable, work, sources)
    generation = max((batch.shard.generation for batch in sources), default=0) + 1
    shards = await in_thread(
        write_follow_up,
        rows,
        job_id=work.job_id,
        run_tag=work.run_tag,
        generation=generation,
        blobs=work.blobs,
        new_id=work.new_id,
        most_rows=work.follow_up_rows(),
        most_bytes=work.provider.limits.size,
    )
    rank = max((batch.rank for batch in sources), default=0) + 1
    after = tuple(evolve(batch, RowsTaken(taken[batch.id], backlog=True)) for batch in sources)
    new = tuple(work.planned_batch(shard, rank=rank) for shard in shards)
    told = work.event("followed_up", rows=len(rows), batches=len(new))
    await work.commit(Changes(batches=after, new_shards=tuple(shards), new_batches=new, events=(told,)))


def _retryable(work: Work, sources: list[Batch]) -> tuple[list[tuple[int, int, int, Shard]], dict[str, int]]:
    policy = work.terms.spec.policy
    rows: list[tuple[int, int, int, Shard]] = []
    taken: dict[str, int] = {}
    for batch in sources:
        before = len(rows)
        rows += [
            (entry.ordinal, entry.burned, entry.paid, batch.shard)
            for entry in entries_of(batch, work.blobs).failed()
            if entry.kind is not None and again(entry.kind, entry.burned, entry.paid, policy)
        ]
        taken[batch.id] = len(rows) - before
    return rows, taken
