"""How a job's rows ended, counted from the ledgers alone: no answer is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from overnight.data.columns import is_keyed
from overnight.data.entries import KINDS, OUTCOMES
from overnight.data.joined import Joined
from overnight.data.spans import ordinals
from overnight.data.table import PENDING, Parts, key_rows
from overnight.types import FailureKind, Outcome

SUCCEEDED = Outcome.SUCCEEDED.value
UNSENT = frozenset({Outcome.SKIPPED.value, PENDING})


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Selected rows by outcome (`pending`: none yet); those without success by reason."""

    rows: Mapping[str, int]
    reasons: Mapping[str, tuple[int, str]]  # FailureKind value -> rows, the message of the first


def count_outcomes(parts: Parts) -> Outcomes:
    """The outcomes of all selected rows."""
    rows: Counter[str] = Counter()
    reasons: dict[str, tuple[int, str]] = {}
    for _, status, kind, message in _ends(parts):
        rows[status] += 1
        if kind is not None:
            count, example = reasons.get(kind.value, (0, message))
            reasons[kind.value] = (count + 1, example)
    return Outcomes(dict(rows), reasons)


def first_failed(parts: Parts) -> str | None:
    """The key of the first row that was sent and ended without success."""
    return next((key for key, status, _, _ in _ends(parts) if status != SUCCEEDED and status not in UNSENT), None)


def _ends(parts: Parts) -> Iterator[tuple[str, str, FailureKind | None, str]]:
    """Key, status, kind and message of each selected row, in order."""
    for segment in parts.segments:
        selected = parts.selected(segment)
        if not selected:
            continue
        keys, first = key_rows(segment, parts.blobs), segment.first_ordinal
        with Joined(segment, parts.contributing(segment.index), parts.blobs) as joined:
            best, messages = joined.best, joined.best.messages.values
            for ordinal in ordinals(selected):
                at = ordinal - first
                key, kind, message = keys[at]
                shown = key if is_keyed(parts.spec) else str(ordinal + 1)
                outcome = OUTCOMES[best.outcome[at]]
                if outcome is not None:
                    yield shown, outcome.value, KINDS[best.kind[at]], messages[best.message[at]] or ""
                else:
                    yield shown, PENDING if kind is None else Outcome.SKIPPED.value, kind, message or ""
