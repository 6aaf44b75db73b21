"""The batches of the provider that a lost submission may be, and what their answers say of whose they are."""

from __future__ import annotations

import math

from overnight.core.fate import Candidate, is_over
from overnight.data.spans import position
from overnight.engine.work import Work
from overnight.errors import ProviderError
from overnight.ports import Search
from overnight.types import Batch, FailureKind, RemoteBatch, RemoteState, Shard
from overnight.wire.custom_ids import split_custom_id

SLACK = 86_400.0
"""Seconds before the intent from which the provider's listing is searched, and after the last moment of a create: room
for a clock that was off, as one that takes local time for universal time is."""
PATIENCE = 3_600.0
"""Seconds after a batch's end in which its answers may still be had, though they cannot be now."""
PEEKS = 100
"""Batches whose answers are asked whose they are, at one look."""


async def candidates(work: Work, batch: Batch) -> list[Candidate]:
    """Every batch of the provider that may be this submission, oldest first, without those that are proved to be
    another's. What carries our tag, or was made of our file, is ours; of what only has as many requests, the answers
    tell, where it has ended."""
    counted = work.provider.proof == "count"
    latest = math.inf if batch.create_deadline is None else batch.create_deadline + SLACK
    sent = batch.submitted_at if batch.submitted_at is not None else batch.created_at
    search = Search(
        batch.tag,
        batch.file_id,
        since=min(sent, work.clock.now()) - SLACK,
        until=latest if counted else math.inf,
        filename=batch.filename,
        rows=batch.shard.rows,
    )
    found = await work.provider.find(search)
    if not counted:
        return [Candidate(remote, True) for remote in found]
    adopters = await work.store.adopters(batch.account, [remote.id for remote in found])
    others = {id for id, adopter in adopters.items() if adopter.proved and adopter.id != batch.id}
    known = others.union(batch.foreign, work.foreign.get(batch.id, ()))
    told: list[Candidate] = []
    peeks = PEEKS
    for remote in found:
        if remote.id in known or (remote.state is RemoteState.FAILED and not ran(remote)):
            continue
        peeks -= is_over(remote)
        told.append(await _peeked(work, batch, remote) if peeks >= 0 else Candidate(remote, None))
    foreign = (each.remote.id for each in told if each.ours is False)
    work.foreign.setdefault(batch.id, set()).update(foreign)
    return [each for each in told if each.ours is not False]


async def _peeked(work: Work, batch: Batch, remote: RemoteBatch) -> Candidate:
    if not is_over(remote):
        return Candidate(remote, None)
    try:
        ours = await whose(work, batch, remote)
    except ProviderError as error:
        if error.failure.kind is FailureKind.ACCOUNT:
            raise
        work.log("not_peeked", {"batch": batch.id, "remote": remote.id, "reason": error.failure.message})
        # Somebody else's trouble, as a rule, and not to stop us; nor is it waited for without end.
        late = remote.ended_at is not None and abs(work.clock.now() - remote.ended_at) > PATIENCE
        return Candidate(remote, None, mute=late)
    return Candidate(remote, ours, mute=ours is None)


async def whose(work: Work, batch: Batch, remote: RemoteBatch) -> bool | None:
    """Whether a batch that is over is this submission, by the id of one of its answers: run, row and generation. None
    where it has no answer to tell, or is gone: its owner may delete it."""
    try:
        custom_id = await work.provider.first_id(remote)
    except ProviderError as error:
        if error.failure.kind is FailureKind.ACCOUNT or await work.provider.status([remote.id]):
            raise
        custom_id = None
    return None if custom_id is None else is_of(custom_id, work.run_tag, batch.shard)


def is_of(custom_id: str, run_tag: str, shard: Shard) -> bool:
    """Whether the id is one of the shard's."""
    parts = split_custom_id(custom_id)
    if parts is None or parts[0] != run_tag or parts[2] != shard.generation:
        return False
    return position(shard.spans, parts[1]) is not None


def ran(remote: RemoteBatch) -> bool:
    """Whether rows of a failed batch ran all the same: then it is not to be sent again as if nothing was paid."""
    used = remote.usage is not None and remote.usage.input + remote.usage.output > 0
    return remote.output_file is not None or remote.counts.succeeded > 0 or used


async def rivals(work: Work, batch: Batch) -> list[Batch]:
    """Other submissions of this home on the same account that may be any of the same batches."""
    found = await work.store.unresolved(batch.account)
    return [other for other in found if other.id != batch.id and other.shard.rows == batch.shard.rows]
