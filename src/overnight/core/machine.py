"""The machine of a batch: one table of transitions, and `evolve`, which refuses what the table does not hold.

Events are named in the past tense: they say what has happened and been written down, never what should. A fact that
stands beside the state (a cancel that was asked for, rows that went out again, files that were deleted) is an event
whose target is the state itself. The diagram in the docs is drawn from `TRANSITIONS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from overnight.errors import InvariantError
from overnight.types import (
    FINAL_STATES,
    Batch,
    BatchState,
    Counts,
    Failure,
    FailureKind,
    FileId,
    PicoUSD,
    RemoteBatch,
    RemoteState,
    Tokens,
    Totals,
)


@dataclass(frozen=True, slots=True)
class SubmitStarted:
    """The intent is on the disk; from here on bytes may leave, on this account's bill."""

    account: str
    sender: str
    at: float


@dataclass(frozen=True, slots=True)
class Uploaded:
    """The input file is at the provider (None: the API has none, the requests go with the create); a create may leave
    until the deadline (wall clock), never after it."""

    file_id: FileId | None
    sender: str
    create_deadline: float


@dataclass(frozen=True, slots=True)
class SubmitAccepted:
    """The provider has the batch: it answered the create, or the batch was found and adopted. `proved` False: adopted
    because nothing else fitted; its first answer will tell."""

    remote: RemoteBatch
    at: float
    proved: bool = True


@dataclass(frozen=True, slots=True)
class SubmitRejected:
    """The provider certainly took nothing. `final`: every row ends with this failure; else the shard goes out again."""

    failure: Failure
    at: float
    final: bool


@dataclass(frozen=True, slots=True)
class SubmitAbsent:
    """Proved: no batch at the provider can be it, and none can come any more."""

    at: float


@dataclass(frozen=True, slots=True)
class SubmitUndecidable:
    """Neither the provider's listing nor an answer tells which batch it is, if any; later proof, or the operator,
    decides."""

    failure: Failure
    at: float


@dataclass(frozen=True, slots=True)
class Polled:
    """The provider says that the batch is not over."""

    remote: RemoteBatch
    at: float


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """Somebody wants this batch to stop; while its fate is unknown that waits."""

    at: float


@dataclass(frozen=True, slots=True)
class CanceledUnsent:
    """Canceled before anything left: every row ends as canceled."""

    at: float


@dataclass(frozen=True, slots=True)
class RemoteEnded:
    """The provider says that results can be read."""

    remote: RemoteBatch
    at: float


@dataclass(frozen=True, slots=True)
class RemoteProved:
    """An answer of the batch that was adopted without proof is ours, and so is the batch."""

    at: float


@dataclass(frozen=True, slots=True)
class RemoteDisproved:
    """The batch that was adopted without proof is somebody else's: it is remembered, and the search begins anew."""

    at: float


@dataclass(frozen=True, slots=True)
class RemoteFailed:
    """The provider refused the batch as a whole after accepting it; nothing ran. `final` as in `SubmitRejected`."""

    remote: RemoteBatch
    failure: Failure
    at: float
    final: bool


@dataclass(frozen=True, slots=True)
class Collected:
    """Answers and ledger are on the disk."""

    answers: tuple[str, ...]
    ledger_blob: str
    totals: Totals
    at: float


@dataclass(frozen=True, slots=True)
class RowsTaken:
    """`rows` of this batch went out again; `backlog`: with them its retryable rows are dealt with."""

    rows: int
    backlog: bool


@dataclass(frozen=True, slots=True)
class RemoteCleaned:
    """Our files at the provider are deleted, or kept by the user's wish."""


Event = (
    SubmitStarted
    | Uploaded
    | SubmitAccepted
    | SubmitRejected
    | SubmitAbsent
    | SubmitUndecidable
    | Polled
    | CancelRequested
    | CanceledUnsent
    | RemoteEnded
    | RemoteProved
    | RemoteDisproved
    | RemoteFailed
    | Collected
    | RowsTaken
    | RemoteCleaned
)

_S = BatchState

TRANSITIONS: Mapping[BatchState, Mapping[type[Event], frozenset[BatchState]]] = MappingProxyType(
    {
        _S.PLANNED: {
            SubmitStarted: frozenset({_S.SUBMITTING}),
            CanceledUnsent: frozenset({_S.CANCELED}),
        },
        _S.SUBMITTING: {
            Uploaded: frozenset({_S.SUBMITTING}),
            SubmitAccepted: frozenset({_S.IN_PROGRESS}),
            SubmitRejected: frozenset({_S.FAILED}),
            SubmitAbsent: frozenset({_S.ABSENT}),
            SubmitUndecidable: frozenset({_S.HELD}),
            CancelRequested: frozenset({_S.SUBMITTING}),
        },
        _S.HELD: {
            SubmitAccepted: frozenset({_S.IN_PROGRESS}),
            SubmitRejected: frozenset({_S.FAILED}),
            SubmitAbsent: frozenset({_S.ABSENT}),
            SubmitUndecidable: frozenset({_S.HELD}),
            CancelRequested: frozenset({_S.HELD}),
            CanceledUnsent: frozenset({_S.CANCELED}),
        },
        _S.IN_PROGRESS: {
            Polled: frozenset({_S.IN_PROGRESS, _S.CANCELING}),
            CancelRequested: frozenset({_S.IN_PROGRESS}),
            RemoteEnded: frozenset({_S.ENDED}),
            RemoteDisproved: frozenset({_S.SUBMITTING}),
            RemoteFailed: frozenset({_S.FAILED}),
        },
        _S.CANCELING: {
            Polled: frozenset({_S.CANCELING}),
            RemoteEnded: frozenset({_S.ENDED}),
            RemoteDisproved: frozenset({_S.SUBMITTING}),
            RemoteFailed: frozenset({_S.FAILED}),
        },
        _S.ENDED: {
            RemoteProved: frozenset({_S.ENDED}),
            RemoteDisproved: frozenset({_S.SUBMITTING}),
            SubmitUndecidable: frozenset({_S.HELD}),
            Collected: frozenset({_S.COLLECTED}),
        },
        _S.COLLECTED: {
            RowsTaken: frozenset({_S.COLLECTED}),
            RemoteCleaned: frozenset({_S.COLLECTED}),
        },
        _S.FAILED: {
            RowsTaken: frozenset({_S.FAILED}),
            RemoteCleaned: frozenset({_S.FAILED}),
        },
        _S.ABSENT: {
            RemoteCleaned: frozenset({_S.ABSENT}),
        },
        _S.CANCELED: {
            RowsTaken: frozenset({_S.CANCELED}),
            RemoteCleaned: frozenset({_S.CANCELED}),
        },
    }
)


def evolve(batch: Batch, event: Event) -> Batch:
    """The batch after the event. Raises `InvariantError`, changing nothing, where the table does not hold the step, or
    where it takes a batch for ours that is not proved to be, or doubts one that is."""
    if not _fits_proof(batch, event):
        raise InvariantError(f"batch {batch.id} (proved: {batch.proved}): {type(event).__name__} does not fit that")
    after = _apply(batch, event)
    if after.state not in TRANSITIONS[batch.state].get(type(event), frozenset()):
        raise InvariantError(
            f"batch {batch.id} is {batch.state}: {type(event).__name__} to {after.state} is no step of it"
        )
    return after


def _fits_proof(batch: Batch, event: Event) -> bool:
    match event:
        case Collected() | RemoteFailed():
            return batch.proved
        case RemoteProved() | RemoteDisproved():
            return not batch.proved
        case SubmitUndecidable():
            return not batch.proved or batch.remote is None
        case _:
            return True


def _apply(batch: Batch, event: Event) -> Batch:
    match event:
        case SubmitStarted(account, sender, at):
            return replace(batch, state=_S.SUBMITTING, account=account, sender=sender, submitted_at=at)
        case Uploaded(file_id, sender, create_deadline):
            return replace(batch, file_id=file_id, sender=sender, create_deadline=create_deadline)
        case SubmitAccepted(remote, at, proved):
            seen = replace(batch, remote=remote, accepted_at=at, first_seen_at=at, polled_at=at)
            return replace(seen, state=_S.IN_PROGRESS, proved=proved, failure=None)
        case SubmitRejected(failure, _, final):
            return _failed(batch, failure, final)
        case SubmitAbsent():
            return replace(batch, state=_S.ABSENT)
        case SubmitUndecidable(failure, _):
            return replace(_unknown(batch), state=_S.HELD, failure=failure)
        case Polled(remote, at):
            canceling = batch.state is _S.CANCELING or remote.state is RemoteState.CANCELING
            state = _S.CANCELING if canceling else batch.state
            return replace(batch, state=state, remote=remote, polled_at=at)
        case CancelRequested():
            return replace(batch, cancel_requested=True)
        case CanceledUnsent(at):
            totals = whole(
                batch.shard.rows, Counts(total=batch.shard.rows, canceled=batch.shard.rows), FailureKind.CANCELED
            )
            return replace(batch, state=_S.CANCELED, ended_at=at, totals=totals, backlog_taken=True)
        case RemoteEnded(remote, at):
            return replace(batch, state=_S.ENDED, remote=remote, polled_at=at, ended_at=remote.ended_at or at)
        case RemoteProved():
            return replace(batch, proved=True)
        case RemoteDisproved():
            foreign = (*batch.foreign, batch.remote.id) if batch.remote is not None else batch.foreign
            return replace(_unknown(batch), state=_S.SUBMITTING, foreign=foreign)
        case RemoteFailed(remote, failure, at, final):
            ended = replace(batch, remote=remote, polled_at=at, ended_at=remote.ended_at or at)
            return _failed(ended, failure, final)
        case Collected(answers, ledger_blob, totals, _):
            nothing_waits = not sum(totals.retryable.values())
            return replace(
                batch,
                state=_S.COLLECTED,
                answers=answers,
                ledger_blob=ledger_blob,
                totals=totals,
                backlog_taken=nothing_waits,
            )
        case RowsTaken(rows, backlog):
            return replace(batch, taken=batch.taken + rows, backlog_taken=batch.backlog_taken or backlog)
        case RemoteCleaned():
            return replace(batch, cleaned=True)


def _unknown(batch: Batch) -> Batch:
    """As before any batch of the provider was taken for it."""
    return replace(batch, remote=None, accepted_at=None, first_seen_at=None, polled_at=None, ended_at=None, proved=True)


def _failed(batch: Batch, failure: Failure, final: bool) -> Batch:
    rows = batch.shard.rows
    totals = whole(rows, Counts(total=rows, errored=rows), failure.kind) if final else None
    return replace(batch, state=_S.FAILED, failure=failure, totals=totals, backlog_taken=True)


def whole(rows: int, counts: Counts, kind: FailureKind) -> Totals:
    """Totals of a batch whose rows all ended the same way, none of them run."""
    return Totals(rows=rows, counts=counts, kinds={kind: rows}, retryable={}, tokens=Tokens(), cost=PicoUSD(0))


def diagram() -> str:
    """The table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", "    [*] --> planned"]
    for state, steps in TRANSITIONS.items():
        for event, targets in steps.items():
            lines += [f"    {state} --> {target}: {event.__name__}" for target in sorted(targets)]
    lines += [f"    {state} --> [*]" for state in sorted(FINAL_STATES)]
    return "\n".join(lines) + "\n"
