"""Entries of a ledger, packed: a million of them are summed and read a column at a time, and none becomes an object."""

from __future__ import annotations

import struct
from collections.abc import Hashable, Iterator, Sequence
from typing import Generic, TypeVar

from overnight.types import Entry, FailureKind, Outcome, PicoUSD, Tokens
from overnight.wire.plain import Plain

OUTCOMES = (None, *Outcome)
"""Of a record by their number; 0 is a position that holds no row."""
KINDS = (None, *FailureKind)
SUCCEEDED = OUTCOMES.index(Outcome.SUCCEEDED)
UNKNOWN = -1
"""Tokens (all of them, told by `input`) or cost of a row that nobody knows."""

_RECORD = struct.Struct("=3q17i4x")  # in all a multiple of 8, so that columns of both widths are views
SIZE = _RECORD.size
"""Bytes of a record."""
_LONGS = SIZE // 8
_INTS = SIZE // 4
Report = tuple[str | None, str | None]
"""Finish reason and model."""
T = TypeVar("T", bound=Hashable)


class Numbered(Generic[T]):
    """Values that many rows share, by number; 0 is none."""

    def __init__(self, values: Sequence[T] = ()) -> None:
        self.values: list[T | None] = [None, *values]
        self._numbers = {value: number for number, value in enumerate(values, 1)}

    def number(self, value: T) -> int:
        """The value's number, a new one where it has none yet."""
        found = self._numbers.setdefault(value, len(self.values))
        if found == len(self.values):
            self.values.append(value)
        return found

    def __iter__(self) -> Iterator[T]:
        return iter(self._numbers)

    def renumber(self, column: memoryview, other: Numbered[T]) -> None:
        """Turn the numbers in the column into the other's."""
        numbers = [0 if value is None else other.number(value) for value in self.values]
        if numbers != list(range(len(numbers))):
            for at, number in enumerate(column):
                column[at] = numbers[number]


class Entries:
    """Packed entries by position, some of which may hold none. The columns are views: `sum(entries.input)`.

    `text_*` and `id_*` tell where in its line the JSON of a plain answer's text stands, and its request id; the text of
    any other has no length, and is found by reading the whole line. `report` is the number of what plain answers say
    besides.
    """

    __slots__ = (
        "burned",
        "cached",
        "cost",
        "data",
        "file",
        "id_at",
        "id_length",
        "input",
        "kind",
        "length",
        "message",
        "messages",
        "offset",
        "ordinal",
        "outcome",
        "output",
        "paid",
        "reasoning",
        "report",
        "reports",
        "text_at",
        "text_length",
        "written",
    )

    def __init__(self, data: bytearray, messages: Sequence[str] = (), reports: Sequence[Report] = ()) -> None:
        self.data = data
        self.messages, self.reports = Numbered(messages), Numbered(reports)
        view = memoryview(data or bytearray(SIZE))  # no empty view can be cast
        longs, ints = view.cast("q")[: len(data) // 8], view.cast("i")[: len(data) // 4]
        self.ordinal, self.offset, self.cost = (longs[at::_LONGS] for at in range(3))
        self.outcome, self.kind, self.message, self.report = (ints[at::_INTS] for at in range(6, 10))
        self.file, self.length = (ints[at::_INTS] for at in range(10, 12))
        self.text_at, self.text_length, self.id_at, self.id_length = (ints[at::_INTS] for at in range(12, 16))
        self.input, self.cached, self.output, self.reasoning = (ints[at::_INTS] for at in range(16, 20))
        self.written, self.burned, self.paid = (ints[at::_INTS] for at in range(20, 23))

    @classmethod
    def blank(cls, rows: int) -> Entries:
        """So many positions that hold no row."""
        return cls(bytearray(rows * SIZE))

    def __len__(self) -> int:
        return len(self.ordinal)

    def __getitem__(self, at: int) -> Entry | None:
        outcome = OUTCOMES[self.outcome[at]]
        if outcome is None:
            return None
        cost = self.cost[at]
        used = (self.input, self.cached, self.output, self.reasoning, self.written)
        return Entry(
            self.ordinal[at],
            outcome,
            KINDS[self.kind[at]],
            self.file[at],
            self.offset[at],
            self.length[at],
            Tokens(*(column[at] for column in used)) if self.input[at] != UNKNOWN else None,
            None if cost == UNKNOWN else PicoUSD(cost),
            self.burned[at],
            self.paid[at],
            self.messages.values[self.message[at]],
        )

    def __iter__(self) -> Iterator[Entry]:
        for at in range(len(self)):
            entry = self[at]
            if entry is not None:
                yield entry

    def failed(self) -> Iterator[Entry]:
        """Those without success."""
        for at, outcome in enumerate(self.outcome):
            entry = self[at] if outcome != SUCCEEDED else None
            if entry is not None:
                yield entry

    def __setitem__(self, at: int, entry: Entry) -> None:
        used = entry.tokens
        message = 0 if entry.message is None else self.messages.number(entry.message)
        _RECORD.pack_into(
            self.data,
            at * SIZE,
            entry.ordinal,
            entry.offset,
            UNKNOWN if entry.cost is None else entry.cost,
            OUTCOMES.index(entry.outcome),
            KINDS.index(entry.kind),
            message,
            0,
            entry.file,
            entry.length,
            *(0, 0, 0, 0),
            *(
                (UNKNOWN, 0, 0, 0, 0)
                if used is None
                else (used.input, used.cached, used.output, used.reasoning, used.written)
            ),
            entry.burned,
            entry.paid,
        )

    def put_plain(
        self,
        at: int,
        ordinal: int,
        file: int,
        offset: int,
        length: int,
        told: Plain,
        report: int,
        cost: int,
        burned: int,
        paid: int,
    ) -> None:
        """The entry of a plain answer."""
        _, _, _, text_at, text_length, id_at, id_length, taken, cached, made, thought, written = told
        _RECORD.pack_into(
            self.data,
            at * SIZE,
            ordinal,
            offset,
            cost,
            SUCCEEDED,
            0,
            0,
            report,
            file,
            length,
            text_at,
            text_length,
            id_at,
            id_length,
            taken,
            cached,
            made,
            thought,
            written,
            burned,
            paid,
        )

    def speak_as(self, other: Entries) -> None:
        """Take over the other's numbers of messages and reports, so that records can go from here to there."""
        self.messages.renumber(self.message, other.messages)
        self.reports.renumber(self.report, other.reports)
        self.messages, self.reports = other.messages, other.reports

    def take(self, at: int, other: Entries, start: int, rows: int) -> None:
        """Copy so many records, of entries that speak alike."""
        self.data[at * SIZE : (at + rows) * SIZE] = other.data[start * SIZE : (start + rows) * SIZE]
