"""Actions become calls, calls become committed events. One function per action; nothing here decides or loops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import assert_never

from overnight.core.decide import (
    Action,
    Cancel,
    CancelUnsent,
    Clean,
    Collect,
    FollowUp,
    HoldJob,
    Poll,
    PostponeCancel,
    Prove,
    Settle,
    Submit,
)
from overnight.core.machine import (
    CanceledUnsent,
    CancelRequested,
    Polled,
    RemoteCleaned,
    RemoteEnded,
    RemoteFailed,
    evolve,
)
from overnight.engine.candidates import ran
from overnight.engine.collect import collect, follow_up
from overnight.engine.settle import ask_answers, disprove, postpone_cancel, settle
from overnight.engine.submit import refuse, submit
from overnight.engine.work import Work
from overnight.errors import ProviderError
from overnight.ports import Changes
from overnight.types import Batch, Failure, FailureKind, Job, Outcome, RemoteBatch, RemoteState

CLEAN_TRIES = 8
"""Attempts to delete our files of one batch before they are left to the provider's own expiry: with the runner's pauses
between them, some minutes of an outage."""
CLEAN_AT_ONCE = 20
GRACE = 3600.0
"""Seconds after its window in which a batch that cannot be seen is still waited for."""
FILES_LATE = 600.0
"""Seconds after its end in which a batch may still name its files."""


async def perform(work: Work, action: Action, job: Job) -> None:
    """Carry out one action and commit what came of it. Raises `ProviderError` where the provider did not play along;
    the store then holds the truth as far as it is known, and the next decision goes on from there."""
    match action:
        case Submit(batch):
            await submit(work, batch, job)
        case Settle(batch, prove):
            await settle(work, batch, prove=prove)
        case Prove(batch):
            await ask_answers(work, batch)
        case PostponeCancel(batch):
            await postpone_cancel(work, batch)
        case Poll(batches):
            await poll(work, batches)
        case Cancel(batch):
            await cancel(work, batch)
        case CancelUnsent(batches):
            now = work.clock.now()
            after = tuple(evolve(batch, CanceledUnsent(now)) for batch in batches)
            await work.commit(Changes(batches=after, events=(work.event("canceled_unsent", batches=len(after)),)))
        case Collect(batch):
            await collect(work, batch, job)
        case FollowUp():
            await follow_up(work, job)
        case Clean():
            await clean(work)
        case HoldJob(hold):
            await work.hold(hold)
        case _:
            assert_never(action)


async def poll(work: Work, batches: Sequence[Batch]) -> None:
    """Ask once for all of them; commit what is not over in one transaction, each end in its own."""
    now = work.clock.now()
    seen = await work.provider.status([batch.remote.id for batch in batches if batch.remote is not None])
    quiet: list[Batch] = []
    for batch in batches:
        assert batch.remote is not None
        remote = seen.get(batch.remote.id)
        if remote is None and _given_up(batch, now, work.provider.limits.window):
            work.log("not_found", {"batch": batch.id, "remote": batch.remote.id})
            await work.step(batch, RemoteEnded(replace(batch.remote, end=Outcome.CANCELED), now))
            continue
        if remote is None:
            # A fresh batch can be invisible for a while; one that stays so is never called gone, it may be paid.
            work.log("not_found", {"batch": batch.id, "remote": batch.remote.id})
            quiet.append(evolve(batch, Polled(batch.remote, now)))
            continue
        match remote.state:
            case RemoteState.IN_PROGRESS | RemoteState.CANCELING:
                _tell_unknown(work, batch, remote)
                quiet.append(evolve(batch, Polled(remote, now)))
            case RemoteState.ENDED if _names_no_answers_yet(remote, now) or _may_yet_succeed(batch, remote):
                quiet.append(evolve(batch, Polled(remote, now)))
            case RemoteState.ENDED:
                await work.step(batch, RemoteEnded(remote, now))
            case RemoteState.FAILED if ran(remote):
                work.log("failed_with_answers", {"batch": batch.id, "remote": remote.id})
                await work.step(batch, RemoteEnded(remote, now))
            case RemoteState.FAILED if not batch.proved:
                await disprove(work, batch)  # it ran nothing, whosever it is
            case RemoteState.FAILED:
                await _failed(work, batch, remote)
            case _:
                assert_never(remote.state)
    if quiet:
        await work.commit(Changes(batches=tuple(quiet)))


def _given_up(batch: Batch, now: float, window: float) -> bool:
    """Nobody waits for it any more, or it may be somebody's who deleted it; and a batch that can be seen nowhere when
    its window is over will bring nothing."""
    began = batch.accepted_at if batch.accepted_at is not None else batch.created_at
    return (batch.cancel_requested or not batch.proved) and now > began + window + GRACE


def _names_no_answers_yet(remote: RemoteBatch, now: float) -> bool:
    """It counts answers and has no file of them: taken at its word too early, they would be paid for again."""
    lately = remote.ended_at is not None and 0 <= now - remote.ended_at < FILES_LATE
    return lately and remote.output_file is None and remote.counts.succeeded > 0


def _may_yet_succeed(batch: Batch, remote: RemoteBatch) -> bool:
    """It says for the first time that it was canceled, and gives nothing: batches were seen that said so, and had
    succeeded at the next look (Q-G5)."""
    silent = remote.output_file is None and remote.error_file is None
    said_so = batch.remote is not None and batch.remote.state is RemoteState.ENDED
    return remote.end is Outcome.CANCELED and silent and not said_so


def _tell_unknown(work: Work, batch: Batch, remote: RemoteBatch) -> None:
    known = batch.remote.raw_status if batch.remote is not None else ""
    if remote.raw_status != known:
        work.log("status", {"batch": batch.id, "remote": remote.id, "status": remote.raw_status})


async def _failed(work: Work, batch: Batch, remote: RemoteBatch) -> None:
    unnamed = Failure(FailureKind.TRANSIENT, f"the provider says {remote.raw_status} and gives no reason")
    failure = remote.failure if remote.failure is not None else unnamed
    await refuse(work, batch, failure, lambda final: RemoteFailed(remote, failure, work.clock.now(), final))


async def cancel(work: Work, batch: Batch) -> None:
    """Ask the provider to cancel; where the batch is over already, or cannot be canceled, take in how it stands."""
    assert batch.remote is not None
    try:
        remote = await work.provider.cancel(batch.remote.id)
    except ProviderError as error:
        if error.failure.kind in {FailureKind.TRANSIENT, FailureKind.ACCOUNT}:
            await poll(work, (batch,))  # it may end meanwhile
            raise
        work.log("not_canceled", {"batch": batch.id, "remote": batch.remote.id, "reason": error.failure.message})
        remote = None
    asked = batch if batch.cancel_requested else await work.step(batch, CancelRequested(work.clock.now()))
    if remote is not None and remote.state in {RemoteState.IN_PROGRESS, RemoteState.CANCELING}:
        await work.commit(Changes(batches=(evolve(asked, Polled(remote, work.clock.now())),)))
    else:
        await poll(work, (asked,))


async def clean(work: Work) -> None:
    """Delete our files of some ended batches, after their results are committed. What cannot be deleted after some
    tries, or may not be by this key, is left to the provider's own expiry, and said."""
    for batch in await work.store.to_clean(work.job_id, CLEAN_AT_ONCE):
        if not work.terms.spec.policy.keep_remote:
            try:
                await _delete_files(work, batch)
            except ProviderError as error:
                tries = work.clean_tries.get(batch.id, 0) + 1
                work.clean_tries[batch.id] = tries
                if tries < CLEAN_TRIES and error.failure.kind is FailureKind.TRANSIENT:
                    raise
                work.log("not_cleaned", {"batch": batch.id, "reason": error.failure.message})
        await work.step(batch, RemoteCleaned())


async def _delete_files(work: Work, batch: Batch) -> None:
    remote = batch.remote
    files = [] if batch.file_id is None else [batch.file_id]
    if batch.file_id is None and batch.submitted_at is not None and batch.filename:
        files += await work.provider.find_files(batch.filename)  # an upload whose answer was lost
    if remote is not None:
        files += [file for file in (remote.output_file, remote.error_file) if file is not None]
    for file in files:
        await work.provider.delete_file(file)
    # Never somebody else's: a batch that is taken for ours and not proved is left alone.
    if work.terms.spec.policy.delete_batches and remote is not None and batch.proved:
        await work.provider.delete_batch(remote.id)
