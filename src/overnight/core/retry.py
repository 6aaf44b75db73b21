"""The one table of failures: what is done about each kind, exhaustively."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from overnight.spec import Policy
from overnight.types import FailureKind


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
