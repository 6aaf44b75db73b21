"""Finding out what became of a submission whose answer was lost: adopt it, or prove that there is none.

Absence is a claim about money (contracts: 15.1). It is made only after the waiting that `core.decide` demands,
from a complete listing without a match, and behind a fence where there is a file: our input file is deleted first, so
that a create still on its way fails unpaid. `core.fate` decides, by what `engine.candidates` saw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from overnight.core.fate import Absent, Adopt, Candidate, LookAgain, Undecided, fate
from overnight.core.machine import (
    CancelRequested,
    RemoteDisproved,
    RemoteProved,
    SubmitAbsent,
    SubmitAccepted,
    SubmitUndecidable,
    evolve,
)
from overnight.engine.candidates import candidates, rivals, whose
from overnight.engine.work import Work
from overnight.ports import Changes, Event
from overnight.types import Batch, BatchId, BatchState, Failure, FailureKind, RemoteBatch, Shard, ShardId

SHOWN = 5
"""Candidates that a message names."""


async def settle(work: Work, batch: Batch, *, prove: bool) -> None:
    """Look for the batch. Found: adopted. Not found and `prove`: fenced; and the next time, when what arrived before
    the fence has had time to show, declared absent and its shard planned again. One that may be it, or several, and
    `prove`: adopted without proof, or held. Else the look is remembered."""
    if batch.create_deadline is None:  # no create has left
        await absent(work, batch, "absent")
        return
    seen = await candidates(work, batch)
    policy = work.terms.spec.policy
    contested = any(each.ours is None for each in seen) and bool(await rivals(work, batch))
    match fate(seen, waited=prove, contested=contested, exclusive=policy.exclusive):
        case Adopt() as found:
            await _adopt(work, batch, found)
        case Absent() if batch.file_id is not None and policy.fence and not work.fenced(batch):
            await work.provider.delete_file(batch.file_id)
            work.looked(batch, fence=True)
        case Absent():
            await absent(work, batch, "absent")
        case Undecided() as undecided:
            await _hold(work, batch, undecided)
        case LookAgain():
            work.looked(batch)


async def ask_answers(work: Work, batch: Batch) -> None:
    """Ask the answers of an ended batch that was adopted without proof whose they are. Ours: it is collected next.
    Somebody else's: nothing of it is taken, and the search goes on without it. No answer to tell: held."""
    assert batch.remote is not None
    remote, now = batch.remote, work.clock.now()
    ours = await whose(work, batch, remote)
    if ours or (ours is None and work.terms.spec.policy.exclusive):
        await work.step(batch, RemoteProved(now))
    elif ours is False:
        await disprove(work, batch)
    else:
        told = f"batch {remote.id} ended without an answer that tells whose it is"
        await work.step(batch, SubmitUndecidable(_undecidable(batch, told), now))


async def disprove(work: Work, batch: Batch) -> None:
    """The batch that was adopted is not ours, or ran nothing: search again, without it."""
    assert batch.remote is not None
    after = evolve(batch, RemoteDisproved(work.clock.now()))
    told = work.event("disproved", batch, remote=batch.remote.id)
    await work.commit(Changes(batches=(after,), events=(told,)))


async def postpone_cancel(work: Work, batch: Batch) -> None:
    """Note that somebody wants the batch stopped; it goes on until an answer tells that it is ours."""
    assert batch.remote is not None
    work.log("cancel_waits", {"batch": batch.id, "remote": batch.remote.id})
    after = evolve(batch, CancelRequested(work.clock.now()))
    told = work.event("cancel_waits", batch, remote=batch.remote.id)
    await work.commit(Changes(batches=(after,), events=(told,)))


async def absent(work: Work, batch: Batch, name: str) -> Batch:
    """There is none: its shard goes out again, as a batch of its own. `name` is the event's."""
    after = evolve(batch, SubmitAbsent(work.clock.now()))
    told = work.event(name, batch)
    await work.commit(Changes(batches=(after,), new_batches=(work.anew(batch),), events=(told,)))
    work.forget(batch)
    return after


async def _adopt(work: Work, batch: Batch, found: Adopt) -> None:
    """Adopt it. Twins were made by a repeated create: each becomes a batch of its own that is canceled and collected,
    so that what it cost is known. Where one of them was taken for another batch of this home without proof, that one is
    searched for again, in the same transaction."""
    now = work.clock.now()
    every = (found.remote, *found.twins)
    holders = await work.store.adopters(batch.account, [remote.id for remote in every])
    wrong = [holder for holder in holders.values() if not holder.proved]
    adopted = evolve(batch, SubmitAccepted(found.remote, now, found.proved))
    twins = tuple(_twin(work, batch, remote, now) for remote in found.twins)
    duplicates = [remote.id for remote in found.twins]
    told = [work.event("adopted", batch, remote=found.remote.id, proved=found.proved, duplicates=duplicates)]
    told += [Event(each.job_id, now, "disproved", each.id, {"remote": _remote_id(each)}) for each in wrong]
    await work.commit(
        Changes(
            batches=(*(evolve(each, RemoteDisproved(now)) for each in wrong), adopted),
            new_shards=tuple(twin.shard for twin in twins),
            new_batches=twins,
            events=tuple(told),
        )
    )
    work.forget(batch)


def _remote_id(batch: Batch) -> str:
    return batch.remote.id if batch.remote is not None else ""


async def _hold(work: Work, batch: Batch, undecided: Undecided) -> None:
    """Hold it, or tell what has changed since it was; answers that come will tell, or the operator."""
    failure = _undecidable(batch, _told(undecided.candidates))
    if batch.state is not BatchState.HELD or batch.failure != failure:
        after = evolve(batch, SubmitUndecidable(failure, work.clock.now()))
        remotes = [each.remote.id for each in undecided.candidates]
        told = work.event("undecidable", batch, remotes=remotes, reason=failure.message)
        await work.commit(Changes(batches=(after,), events=(told,)))
        work.log("undecidable", {"batch": batch.id, "remotes": remotes})
    work.looked(batch, in_vain=not undecided.in_time)


def _told(candidates: Sequence[Candidate]) -> str:
    states = (
        f"{each.remote.raw_status}, no answer tells" if each.mute else each.remote.raw_status for each in candidates
    )
    named = [f"{each.remote.id} ({state})" for each, state in zip(candidates, states, strict=True)]
    more = f" and {len(named) - SHOWN} more" if len(named) > SHOWN else ""
    return f"it may be {', '.join(named[:SHOWN])}{more}, or have never arrived"


def _undecidable(batch: Batch, told: str) -> Failure:
    told = f"submission of {batch.shard.rows:,} requests that cannot be told from others: {told}"
    return Failure(FailureKind.TRANSIENT, told, code="undecidable")


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
