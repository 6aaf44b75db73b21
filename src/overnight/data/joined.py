"""One segment's attempts joined by ordinal: of several entries of a row the best, and the money of all of them."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from overnight.data.entries import SUCCEEDED, Entries
from overnight.data.ledger import entries_of
from overnight.ports import BlobReader, Blobs
from overnight.types import Batch, Entry, PicoUSD, Segment, Tokens

GAP = 8 << 10
"""Bytes between two wanted answers that are cheaper to read along than to skip by another call."""
READ = 8 << 20
"""Most bytes of one read, but for one answer that is longer."""
_NOTHING_HELD = ((-1, -1), 0, b"")


@dataclass(frozen=True, slots=True)
class Spent:
    """Tokens and pico-dollars, each None where a part of it is unknown."""

    tokens: Tokens | None
    cost: PicoUSD | None

    def and_also(self, entry: Entry) -> Spent:
        """The sum with another attempt."""
        tokens = None if self.tokens is None or entry.tokens is None else self.tokens + entry.tokens
        return Spent(tokens, None if self.cost is None or entry.cost is None else PicoUSD(self.cost + entry.cost))


@dataclass(slots=True)
class Joined:
    """By position in the segment: the entry that counts (none: no answer yet), the number of its batch, how many
    attempts reached the provider, and in `beside` what the entries that do not count have cost."""

    segment: Segment
    batches: Sequence[Batch]
    blobs: Blobs
    best: Entries = field(init=False)
    batch: array[int] = field(init=False)
    attempts: array[int] = field(init=False)
    remotes: list[str | None] = field(init=False)  # by number of the batch
    beside: dict[int, Spent] = field(default_factory=dict)
    _readers: dict[tuple[int, int], BlobReader] = field(default_factory=dict)
    _held: tuple[tuple[int, int], int, bytes] = _NOTHING_HELD

    def __post_init__(self) -> None:
        """Success beats failure, then the higher rank, then the later batch; a batch that the provider accepted twice
        adds its money and nothing else."""
        rows = self.segment.rows
        self.best, self.batch, self.attempts = Entries.blank(rows), _same(0, rows), _same(0, rows)
        self.batches = sorted(self.batches, key=lambda batch: (batch.rank, batch.created_at))
        self.remotes = [None if batch.remote is None else batch.remote.id for batch in self.batches]
        for number, batch in enumerate(self.batches):
            entries = entries_of(batch, self.blobs, self.segment)
            if batch.duplicate_of is not None:
                for entry in entries:
                    self._spend(entry.ordinal - self.segment.first_ordinal, entry)
            elif len(entries):
                entries.speak_as(self.best)
                self._place(entries, number, 1 if batch.submitted_at is not None else 0)

    def _place(self, entries: Entries, number: int, sent: int) -> None:
        best, batch, attempts, rows = self.best, self.batch, self.attempts, len(entries)
        first = self.segment.first_ordinal
        start = entries.ordinal[0] - first
        stop = entries.ordinal[-1] - first + 1
        if stop - start == rows and not any(best.outcome[start:stop]):  # as a rule: nothing else holds these rows
            best.take(start, entries, 0, rows)
            batch[start:stop], attempts[start:stop] = _same(number, rows), _same(sent, rows)
            return
        for row, ordinal in enumerate(entries.ordinal):
            at = ordinal - first
            attempts[at] += sent
            if best.outcome[at] == SUCCEEDED != entries.outcome[row]:
                self._spend(at, entries[row])
            else:
                self._spend(at, best[at])
                best.take(at, entries, row, 1)
                batch[at] = number

    def _spend(self, at: int, entry: Entry | None) -> None:
        if entry is not None:
            known = self.beside.get(at)
            self.beside[at] = Spent(entry.tokens, entry.cost) if known is None else known.and_also(entry)

    def parts(self, places: Sequence[int], *columns: tuple[memoryview | None, memoryview]) -> list[list[bytes | None]]:
        """Parts of the raw answers of these positions: for each two columns of `best`, with where in its line the part
        starts (None: at its start) and how long it is, the part of every position; None where no answer came.
        Neighbours are read together."""
        best = self.best
        offsets, lengths, files = (picked(column, places) for column in (best.offset, best.length, best.file))
        zeros = [0] * len(places)
        asked = [
            (zeros if starts is None else picked(starts, places), picked(sizes, places)) for starts, sizes in columns
        ]
        found: list[list[bytes | None]] = [[None] * len(places) for _ in columns]
        wanted: dict[tuple[int, int], list[int]] = {}
        for slot, name in enumerate(zip(picked(self.batch, places), files, strict=True)):
            if lengths[slot]:
                wanted.setdefault(name, []).append(slot)
        for name, slots in wanted.items():
            for run in _runs(slots, offsets, lengths):
                first = min(map(offsets.__getitem__, run))
                last = max(run, key=offsets.__getitem__)
                first, data = self._read(name, first, offsets[last] + lengths[last])
                within = [offsets[slot] - first for slot in run]
                for part, (starts, sizes) in zip(found, asked, strict=True):
                    for slot, offset in zip(run, within, strict=True):
                        start = offset + starts[slot]
                        part[slot] = data[start : start + sizes[slot]]
        return found

    def _read(self, name: tuple[int, int], first: int, end: int) -> tuple[int, bytes]:
        """Bytes of a file that hold those asked for, and where they start: those read last, where that will do."""
        held, start, data = self._held
        if held != name or first < start or end > start + len(data):
            start, data = first, self._reader(*name).read_at(first, end - first)
            self._held = name, start, data
        return start, data

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


def picked(column: memoryview | array[int], places: Sequence[int]) -> list[int]:
    """The column's numbers at these positions, which ascend."""
    first, rows = places[0], len(places)
    if places[-1] - first == rows - 1:
        return column[first : first + rows].tolist()
    return [column[at] for at in places]


def _same(number: int, rows: int) -> array[int]:
    return array("i", [number]) * rows


def _runs(slots: list[int], offsets: Sequence[int], lengths: Sequence[int]) -> Iterator[Sequence[int]]:
    """Slots of answers in one file, parted into what is read at once."""
    last = max(slots, key=offsets.__getitem__)
    span = offsets[last] + lengths[last] - min(map(offsets.__getitem__, slots))
    if span <= min(READ, 4 * sum(map(lengths.__getitem__, slots))):
        yield slots  # as a rule: all answers of a batch
        return
    slots.sort(key=offsets.__getitem__)
    start = 0
    for at in range(1, len(slots)):
        offset, before = offsets[slots[at]], offsets[slots[at - 1]] + lengths[slots[at - 1]]
        if offset > before + GAP or offset + lengths[slots[at]] - offsets[slots[start]] > READ:
            yield slots[start:at]
            start = at
    yield slots[start:]
