"""The one table of failures: what is done about each kind, exhaustively."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from overnight.spec import Policy
from overnight.types import Failure, FailureKind


@dataclass(frozen=True, slots=True)
class Treatment:
    """`again`: another attempt of the same request can help. `burns`: the attempt counts against `policy.retries`.
    `pauses`: the job stands still until somebody acts."""

    again: bool
    burns: bool = True
    pauses: bool = False


def treatment(kind: FailureKind) -> Treatment:
    """What is done about a failure of this kind."""
    match kind:
        case (
            FailureKind.TRANSIENT | FailureKind.EXPIRED | FailureKind.MISSING | FailureKind.INVALID | FailureKind.EMPTY
        ):
            return Treatment(again=True)
        case FailureKind.QUOTA | FailureKind.FILE:
            return Treatment(again=True, burns=False)
        case FailureKind.ACCOUNT:
            return Treatment(again=True, burns=False, pauses=True)
        case FailureKind.CANCELED:
            # Whether it was our own cancel or the provider's, nothing ran; only the user's word sends it again.
            return Treatment(again=False, burns=False)
        case FailureKind.PERMANENT | FailureKind.TRUNCATED | FailureKind.REFUSED:
            return Treatment(again=False)
        case FailureKind.BAD_ROW | FailureKind.EMPTY_ROW:
            return Treatment(again=False, burns=False)
        case _:
            assert_never(kind)


def again(kind: FailureKind, burned: int, paid: int, policy: Policy) -> bool:
    """Whether a row goes out again by itself, after `burned` attempts that count and `paid` ones that ran."""
    told = treatment(kind)
    return told.again and burned <= policy.retries and paid < policy.max_paid


@dataclass(frozen=True, slots=True)
class PutBack:
    """The shard goes out again in a new batch, not before `delay` seconds have passed."""

    delay: float


QUOTA_BACKOFF = (60.0, 1800.0)
"""First and longest wait in seconds after a refusal for quota."""
LONGEST_ASKED = 3600.0
"""Longest wait in seconds that a provider may ask for."""
MOST_FILE_TRIES = 3
"""A provider that does not see the uploaded file is believed after so many submissions."""


def fate_of_shard(failure: Failure, put_back: Sequence[FailureKind], policy: Policy) -> PutBack | None:
    """What happens to a shard whose batch was refused as a whole, after earlier refusals of these kinds; nothing of it
    ran. Only those of the same kind count. None: its rows end with this failure."""
    tries = put_back.count(failure.kind)
    asked = min(failure.retry_after or 0.0, LONGEST_ASKED)
    match failure.kind:
        case FailureKind.QUOTA:
            first, longest = QUOTA_BACKOFF
            return PutBack(max(min(first * 2.0 ** min(tries, 10), longest), asked))
        case FailureKind.ACCOUNT:
            return PutBack(0.0)  # the job is held; resuming sends it again
        case FailureKind.FILE:
            return PutBack(10.0 * (tries + 1)) if tries < MOST_FILE_TRIES else None
        case FailureKind.TRANSIENT:
            return PutBack(max(30.0 * 2.0 ** min(tries, 6), asked)) if tries < policy.retries else None
        case (
            FailureKind.PERMANENT
            | FailureKind.TRUNCATED
            | FailureKind.REFUSED
            | FailureKind.INVALID
            | FailureKind.EMPTY
            | FailureKind.EXPIRED
            | FailureKind.CANCELED
            | FailureKind.MISSING
            | FailureKind.BAD_ROW
            | FailureKind.EMPTY_ROW
        ):
            return None
        case _:
            assert_never(failure.kind)
