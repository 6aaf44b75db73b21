"""Submitting a batch. The order is the whole point: intent committed, file uploaded, file id and deadline committed,
one create, answer committed. A create whose fate is unknown is left to `settle`, and never repeated blindly."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import nullcontext

from overnight.core.deadline import create_seconds
from overnight.core.machine import Event as BatchEvent
from overnight.core.machine import SubmitAccepted, SubmitRejected, SubmitStarted, Uploaded, evolve
from overnight.core.retry import fate_of_shard
from overnight.engine.split import parts_of
from overnight.engine.work import Work
from overnight.errors import LeaseLost, ProviderError
from overnight.ports import Changes, Submission
from overnight.types import Batch, BatchState, Failure, FailureKind, Hold, Job, RemoteBatch


async def submit(work: Work, batch: Batch, job: Job) -> None:
    """Send a planned batch, or go on with one whose create certainly never left. Raises `ProviderError` where nobody
    answers; then the same submission goes on later."""
    resumed = batch.state is not BatchState.PLANNED
    if not resumed:
        account = job.account.fingerprint if job.account is not None else ""
        batch = await work.step(batch, SubmitStarted(account, work.lease.owner, work.clock.now()))
    try:
        if resumed and batch.create_deadline is None:
            for lost in await work.provider.find_files(batch.filename):  # uploads whose answer was lost
                await work.provider.delete_file(lost)
        file_id = batch.file_id or await work.provider.upload(
            lambda: work.blobs.open(batch.shard.blob), batch.shard.size, batch.filename
        )
    except ProviderError as error:
        await _not_sent(work, batch, error.failure)
        return
    timeout = create_seconds(work.terms.spec.policy.create_timeout, batch.shard.size, file_id)
    async with work.loaded if file_id is None else nullcontext():
        before = work.clock.elapsed()
        batch = await work.step(batch, Uploaded(file_id, work.lease.owner, work.clock.now() + timeout))
        work.forget(batch)
        if work.clock.elapsed() - before > timeout:
            return  # this process was stopped meanwhile, and somebody may be looking for the batch: do not send
        await _create(work, batch, timeout)


async def _create(work: Work, batch: Batch, timeout: float) -> None:
    shard = batch.shard
    submission = Submission(
        file_id=batch.file_id,
        filename=batch.filename,
        model=batch.model,
        endpoint=shard.endpoint,
        tag=batch.tag,
        metadata={"overnight_job": batch.job_id, "overnight_batch": batch.id},
        content=lambda: work.blobs.open(shard.blob),
        size=shard.size,
        rows=shard.rows,
    )
    try:
        async with asyncio.timeout(timeout):
            remote = await work.provider.create(submission)
    except TimeoutError:
        work.remember(batch, unsent=False)
    except ProviderError as error:
        if error.failure.proves_refusal:
            await _not_sent(work, batch, error.failure)
            return
        work.log("create_unknown", {"batch": batch.id, "reason": error.failure.message})
        work.remember(batch, unsent=False)
    else:
        await _accepted(work, batch, remote)


async def _accepted(work: Work, batch: Batch, remote: RemoteBatch) -> None:
    work.answered.add(batch.id)
    try:
        await work.step(batch, SubmitAccepted(remote, work.clock.now()))
    except LeaseLost:
        await _disown(work, batch, remote)
        raise
    finally:
        work.answered.discard(batch.id)


async def _disown(work: Work, batch: Batch, remote: RemoteBatch) -> None:
    """We were replaced while creating. Where the new owner declares our submission absent, what we made belongs to
    nobody: cancel it, its shard is on its way in a batch of the new owner's. Where he adopts it, all is well."""
    most = create_seconds(work.terms.spec.policy.create_timeout, batch.shard.size, batch.file_id)
    patience = work.clock.elapsed() + work.terms.visibility + most
    while True:
        current = await work.store.batch(batch.id)
        if current is None or current.state is not BatchState.SUBMITTING:
            break
        if work.clock.elapsed() >= patience:
            return
        await work.clock.sleep(max(1.0, work.terms.settle_every))
    if current is not None and current.state is BatchState.ABSENT:
        work.log("late_create_canceled", {"batch": batch.id, "remote": remote.id})
        await work.provider.cancel(remote.id)


async def _not_sent(work: Work, batch: Batch, failure: Failure) -> None:
    """The provider has nothing of this batch."""
    if failure.kind is FailureKind.TRANSIENT:
        # Nobody answered, or too busy to: the same submission goes on later, and no row pays for it.
        work.remember(batch, unsent=True)
        raise ProviderError(failure)
    await refuse(work, batch, failure, lambda final: SubmitRejected(failure, work.clock.now(), final))


async def refuse(work: Work, batch: Batch, failure: Failure, event: Callable[[bool], BatchEvent]) -> None:
    """Commit a refusal of the whole batch, before or after acceptance: its shard goes out again in a new batch, or in
    parts, or its rows end with the failure; trouble of the account holds the job as well. The rows of a duplicate are
    the other batch's to send again."""
    duplicate = batch.duplicate_of is not None
    fate = None if duplicate else fate_of_shard(failure, batch.put_back, work.terms.spec.policy)
    parts = await parts_of(work, batch, failure, 0.0 if fate is None else fate.delay)
    new = parts.batches or (() if fate is None else (work.again(batch, batch.shard, failure, fate.delay),))
    after = evolve(batch, event(not new))
    told = work.event("refused", batch, kind=failure.kind, code=failure.code, status=failure.status, again=bool(new))
    await work.commit(Changes(batches=(after,), new_shards=parts.shards, new_batches=new, events=(told,)))
    work.forget(batch)
    if failure.kind is FailureKind.ACCOUNT:
        await work.hold(Hold("account", failure.message, 4))
    for ended in (after, *parts.batches):
        if ended.totals is not None:
            work.log_end(ended)
