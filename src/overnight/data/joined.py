"""One segment's attempts joined by ordinal: of several entries of a row the best, and the money of all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from overnight.data.ledger import Line, Usage, lines_of
from overnight.ports import BlobReader, Blobs
from overnight.types import Batch, Outcome, Segment

GAP = 8 << 10
"""Bytes between two wanted answers that are cheaper to read along than to skip by another call."""
READ = 8 << 20
"""Most bytes of one read, but for one answer that is longer."""


@dataclass(frozen=True, slots=True)
class Spent:
    """Tokens and pico-dollars, each None where a part of it is unknown."""

    tokens: Usage | None
    cost: int | None

    def and_also(self, line: Line) -> Spent:
        """The sum with another attempt."""
        a, b = self.tokens, line.tokens
        tokens = (
            None
            if a is None or b is None
            else Usage(a.input + b.input, a.cached + b.cached, a.output + b.output, a.reasoning + b.reasoning)
        )
        return Spent(tokens, None if self.cost is None or line.cost is None else self.cost + line.cost)


@dataclass(slots=True)
class Joined:
    """By position in the segment: the entry that counts (None: no answer yet), the number of its batch, how many
    attempts reached the provider, and in `beside` what the entries that do not count have cost."""

    segment: Segment
    batches: Sequence[Batch]
    blobs: Blobs
    best: list[Line | None] = field(init=False)
    batch: list[int] = field(init=False)
    attempts: list[int] = field(init=False)
    remotes: list[str | None] = field(init=False)  # by number of the batch
    beside: dict[int, Spent] = field(default_factory=dict)
    _readers: dict[tuple[int, int], BlobReader] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Success beats failure, then the higher rank, then the later batch; a batch that the provider accepted twice
        adds its money and nothing else."""
        rows = self.segment.rows
        self.best, self.batch, self.attempts = [None] * rows, [0] * rows, [0] * rows
        self.batches = sorted(self.batches, key=lambda batch: (batch.rank, batch.created_at))
        self.remotes = [None if batch.remote is None else batch.remote.id for batch in self.batches]
        for number, batch in enumerate(self.batches):
            lines = lines_of(batch, self.blobs, self.segment)
            if batch.duplicate_of is not None:
                for line in lines:
                    self._spend(line.ordinal - self.segment.first_ordinal, line)
            else:
                self._place(lines, number, 1 if batch.submitted_at is not None else 0)

    def _place(self, lines: Sequence[Line], number: int, sent: int) -> None:
        best, batch, attempts, first = self.best, self.batch, self.attempts, self.segment.first_ordinal
        for line in lines:
            at = line.ordinal - first
            old = best[at]
            attempts[at] += sent
            if old is None:
                best[at], batch[at] = line, number
            elif line.outcome is Outcome.SUCCEEDED or old.outcome is not Outcome.SUCCEEDED:
                best[at], batch[at] = line, number
                self._spend(at, old)
            else:
                self._spend(at, line)

    def _spend(self, at: int, line: Line) -> None:
        known = self.beside.get(at)
        self.beside[at] = Spent(line.tokens, line.cost) if known is None else known.and_also(line)

    def raws(self, places: Sequence[int]) -> list[bytes | None]:
        """The raw answer lines of these positions, None where no answer came. Neighbours are read together."""
        found: list[bytes | None] = [None] * len(places)
        wanted: dict[tuple[int, int], list[tuple[int, int, int]]] = {}
        best, batch = self.best, self.batch
        for slot, at in enumerate(places):
            line = best[at]
            if line is not None and line.file >= 0:
                wanted.setdefault((batch[at], line.file), []).append((line.offset, line.length, slot))
        for name, lines in wanted.items():
            reader = self._reader(*name)
            for part in _runs(sorted(lines)):
                first, (offset, length, _) = part[0][0], part[-1]
                data = reader.read_at(first, offset + length - first)
                for offset, length, slot in part:
                    start = offset - first
                    found[slot] = data[start : start + length]
        return found

    def _reader(self, number: int, file: int) -> BlobReader:
        reader = self._readers.get((number, file))
        if reader is None:
            reader = self._readers[number, file] = self.blobs.reader(self.batches[number].answers[file])
        return reader

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()


def _runs(lines: Sequence[tuple[int, int, int]]) -> Iterator[Sequence[tuple[int, int, int]]]:
    """Offsets, lengths and more of lines in the order of a file, cut into what is read at once."""
    held = sum(length for _, length, _ in lines)
    if lines[-1][0] + lines[-1][1] - lines[0][0] <= min(READ, 4 * held):
        yield lines  # as a rule: all answers of a batch
        return
    start = 0
    for at in range(1, len(lines)):
        offset, length, _ = lines[at]
        if offset > sum(lines[at - 1][:2]) + GAP or offset + length - lines[start][0] > READ:
            yield lines[start:at]
            start = at
    yield lines[start:]
