"""The merge: a job's answers as one table in the order of its source, written to a file or iterated over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from overnight.data.columns import Layout, shown
from overnight.data.images import ImageFiles
from overnight.data.table import Columns, Parts, Which, blocks, key_rows, layout_of
from overnight.data.writers import TableWriter
from overnight.ports import Blobs
from overnight.types import BatchId, FailureKind, Ordinal, Outcome, PicoUSD, Segment, Tokens, Totals


@dataclass(frozen=True, slots=True)
class MergeSummary:
    """What a table holds. Money is that of the batches behind the rows, as they were settled."""

    rows: int
    outcomes: Mapping[str, int]  # status -> rows
    reasons: Mapping[str, tuple[int, str]]  # FailureKind value -> rows that ended so, the message of the first
    labels: Mapping[str, int]  # succeeded rows by label, where the job asks for labels
    tokens: Tokens
    cost: PicoUSD | None  # the part that is known; None where there is no price
    unknown_rows: int  # rows that may have run and never came back


def merge(parts: Parts, path: Path, which: Which = "finished") -> MergeSummary:
    """Write the table; the format is told by the suffix. Images go into a directory beside it. Raises `UsageError`
    where a row of a `finished` table is not answered yet, `LocalError` where a file cannot be written, `SourceChanged`
    where kept columns are no longer what they were (without a source the rest can be had). Then what stood at the path
    before still does."""
    tally = _Tally(labeled=parts.spec.answer.labels is not None)
    layout = layout_of(parts, which)
    parts = replace(parts, keep_image=ImageFiles(path).keep)
    with TableWriter(path, layout.columns) as table:
        for block in _table(parts, layout, which, tally):
            table.write(block)
            del block  # before the next one is made
        table.commit()
    return tally.summary()


def iterate(parts: Parts, which: Which = "finished") -> Iterator[dict[str, Any]]:
    """The same rows as dictionaries by column, nested values as Python values; raises as `merge` does, on the way."""
    layout = layout_of(parts, which)
    names = [column.name for column in layout.columns]
    for block in _table(parts, layout, which, _Tally(labeled=False)):
        for row in zip(*map(shown, layout.columns, block), strict=True):
            yield dict(zip(names, row, strict=True))


def find_row(key: str, segments: Sequence[Segment], blobs: Blobs) -> Ordinal | None:
    """The ordinal of the row with this key, or None."""
    for segment in segments:
        for at, row in enumerate(key_rows(segment, blobs)):
            if row[0] == key:
                return Ordinal(segment.first_ordinal + at)
    return None


def _table(parts: Parts, layout: Layout, which: Which, tally: _Tally) -> Iterator[Columns]:
    for segment in parts.segments:
        batches = parts.contributing(segment.index)
        tally.batches.update((batch.id, batch.totals) for batch in batches if batch.totals is not None)
        yield from blocks(parts, layout, which, segment, batches, tally)


@dataclass(slots=True)
class _Tally:
    """Counts while rows go by."""

    labeled: bool
    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, tuple[int, str]] = field(default_factory=dict)
    labels: Counter[str] = field(default_factory=Counter)
    batches: dict[BatchId, Totals] = field(default_factory=dict)

    def succeeded(self, answers: Columns) -> None:
        self.outcomes[Outcome.SUCCEEDED.value] += len(answers[0])
        if self.labeled:
            self.labels.update(answers[0])

    def ended(self, status: str, kind: FailureKind | None, message: str) -> None:
        self.outcomes[status] += 1
        if kind is not None:
            rows, example = self.reasons.get(kind.value, (0, message))
            self.reasons[kind.value] = (rows + 1, example)

    def summary(self) -> MergeSummary:
        """All of it; the money of a batch once, however many segments it has rows of."""
        totals = list(self.batches.values())
        known = [one.cost for one in totals if one.cost is not None]
        return MergeSummary(
            rows=self.outcomes.total(),
            outcomes=dict(+self.outcomes),
            reasons=self.reasons,
            labels=dict(self.labels),
            tokens=sum((one.tokens for one in totals), Tokens()),
            cost=PicoUSD(sum(known)) if len(known) == len(totals) else None,
            unknown_rows=sum(one.unknown_rows for one in totals),
        )
