"""What a source gives: records, and runs of records that become segments."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from overnight.errors import UsageError
from overnight.types import Segment

RECORD_BYTES = 64 << 20
"""A longer record always stops: it is an open quote or no table at all."""


class SourceChanged(UsageError):
    """The source is not what it was when the job was planned."""

    code = "source_changed"


class Unreadable(Exception):
    """One record cannot be read; the message is free of content."""


@dataclass(slots=True)
class Record:
    """One physical record. `values` by column, or None and then `problem` says why and where, free of content."""

    ordinal: int
    line: int  # 1-based physical line at which it starts; row of the file for Parquet
    values: Mapping[str, Any] | None
    problem: str | None = None


BLOCK_ROWS = 100
BLOCK_BYTES = 256 << 10
"""Records are read in blocks of so many, or as many as have so many bytes: more would fall out of the processor's
caches, fewer would cost more in calls."""


@dataclass(slots=True)
class Block:
    """Records that follow each other: `lines` and `values` of each, as in `Record`, and problems by position."""

    first: int
    lines: list[int] = field(default_factory=list)
    values: list[Mapping[str, Any] | None] = field(default_factory=list)
    problems: dict[int, str] = field(default_factory=dict)

    def add(self, line: int, values: Mapping[str, Any] | None, problem: str | None = None) -> None:
        """One record more."""
        if problem is not None:
            self.problems[len(self.values)] = problem
        self.lines.append(line)
        self.values.append(values)

    def __iter__(self) -> Iterator[Record]:
        for at, (line, values) in enumerate(zip(self.lines, self.values, strict=True)):
            yield Record(self.first + at, line, values, self.problems.get(at))


def filled(value: object) -> bool:
    """False for what counts as empty: None, blank text, an empty list or object."""
    if isinstance(value, str):
        return bool(value) and not value.isspace()
    return value is not None and value not in ([], {})


def filled_texts(column: Collection[object]) -> bool:
    """Whether all of these are texts that are not empty: `filled`, at a fraction of the cost."""
    return set(map(type, column)) == {str} and all(column) and not any(map(str.isspace, cast(Collection[str], column)))


@dataclass(frozen=True, slots=True)
class Cut:
    """Where segments end: at so many records, or behind the record with which so many source bytes are reached.
    Known segments rely on it: other defaults would be another cut of the same source."""

    rows: int = 50_000
    size: int = 64 << 20

    def complete(self, segment: Segment) -> bool:
        """True where the segment ended by this cut, False where it ended with its file."""
        return segment.rows >= self.rows or segment.length >= self.size


DEFAULT_CUT = Cut()


@dataclass(slots=True)
class Run:
    """A segment in the reading. Iterate once; then `rows`, `length` and `sha256` are what `types.Segment` records."""

    file: str
    first_ordinal: int
    offset: int
    line: int
    read: Callable[[Run], Iterator[Block]]
    rows: int = 0
    length: int = 0
    next_line: int = 0
    sha256: str = ""
    _begun: tuple[Block, Iterator[Block]] | None = None

    def begin(self) -> bool:
        """Read the first records; False where there are none."""
        self.next_line = self.line
        blocks = self.read(self)
        first = next(blocks, None)
        if first is not None:
            self._begun = (first, blocks)
        return first is not None

    def blocks(self) -> Iterator[Block]:
        """The records in blocks, none of them empty."""
        if self._begun is not None or self.begin():
            assert self._begun is not None
            first, blocks = self._begun
            yield first
            yield from blocks

    def __iter__(self) -> Iterator[Record]:
        for block in self.blocks():
            yield from block


class SourceFile(Protocol):
    """One file of a source in its format."""

    name: str
    """Absolute path, or the locator of a spool."""
    columns: tuple[str, ...]
    rows: int
    """How many records; for text formats an estimate from the first megabyte."""
    size: int
    """Bytes as stored."""
    unit: str
    """What `Record.line` counts: "line" or "row"."""

    def runs(self, cut: Cut, first_ordinal: int, after: Segment | None, wanted: frozenset[str] | None) -> Iterator[Run]:
        """The segments behind `after` (None: from the start), each to be consumed before the next is asked for.
        Values of columns that are not wanted (None: all are) may be left out."""

    def again(self, segment: Segment, wanted: frozenset[str] | None) -> Run:
        """The same records once more."""

    def digest(self, segment: Segment) -> str:
        """What `Segment.sha256` would be now, without reading records."""

    def close(self) -> None:
        """Let go of open files."""
