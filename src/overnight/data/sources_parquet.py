"""Parquet: rows in file order, read in one thread with small buffers; only wanted columns are decoded."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import islice
from math import ceil
from pathlib import Path
from typing import Any

from overnight.data.records import BLOCK_ROWS, Block, Cut, Run
from overnight.errors import UsageError
from overnight.types import Segment

_BATCH_ROWS = 2000
_BATCH_BYTES = 8 << 20


class ParquetFile:
    """One Parquet file. Segments are cut by the file's own metadata. What is hashed for a segment are the stored bytes
    of the row groups that it touches, with the schema and the rows' place in them: no value need be decoded for it."""

    unit = "row"

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self.size = path.stat().st_size
        self._file = _open(path)
        self._metadata = self._file.metadata
        self.rows = self._metadata.num_rows
        self.columns = tuple(self._file.schema_arrow.names)
        if len(set(self.columns)) < len(self.columns):
            raise UsageError(f"{path} repeats a column name: give every column a name of its own")
        self._digests: dict[int, bytes] = {}
        self._idle: tuple[int, frozenset[str] | None, Iterator[_Row]] | None = None

    def runs(self, cut: Cut, first_ordinal: int, after: Segment | None, wanted: frozenset[str] | None) -> Iterator[Run]:
        """As `SourceFile.runs`."""
        done = 0 if after is None else after.line - 1 + after.rows
        ordinal = first_ordinal
        for first, rows, size in self._cuts(cut):
            if first >= done:
                yield self._run(first, rows, size, ordinal, wanted)
                ordinal += rows

    def again(self, segment: Segment, wanted: frozenset[str] | None) -> Run:
        """As `SourceFile.again`."""
        return self._run(segment.line - 1, segment.rows, segment.length, segment.first_ordinal, wanted)

    def digest(self, segment: Segment) -> str:
        """As `SourceFile.digest`."""
        return self._digest(segment.line - 1, segment.rows)

    def close(self) -> None:
        """As `SourceFile.close`."""
        self._idle = None
        self._file.close()

    def _groups(self) -> Iterator[tuple[int, int, int]]:
        """Number, first row and rows of each row group that is not empty."""
        first = 0
        for number in range(self._metadata.num_row_groups):
            rows = self._metadata.row_group(number).num_rows
            if rows:
                yield number, first, rows
            first += rows

    def _cuts(self, cut: Cut) -> Iterator[tuple[int, int, int]]:
        """First row, rows and bytes (decompressed) of each segment."""
        start, rows, size = 0, 0, 0.0
        for number, _, held in self._groups():
            per_row = max(1.0, self._metadata.row_group(number).total_byte_size / held)
            left = held
            while left:
                taken = min(left, cut.rows - rows, max(1, ceil((cut.size - size) / per_row)))
                left -= taken
                rows += taken
                size += taken * per_row
                if rows >= cut.rows or size >= cut.size:
                    yield start, rows, ceil(size)
                    start, rows, size = start + rows, 0, 0.0
        if rows:
            yield start, rows, ceil(size)

    def _run(self, first: int, rows: int, size: int, ordinal: int, wanted: frozenset[str] | None) -> Run:
        def read(run: Run) -> Iterator[Block]:
            source = self._take(first, wanted)
            while run.rows < rows:
                block = Block(ordinal + run.rows)
                for values, problem in islice(source, min(BLOCK_ROWS, rows - run.rows)):
                    line = run.next_line + len(block.values)
                    block.add(line, values, f"{run.file}, row {line}: {problem}" if problem else None)
                if not block.values:
                    break
                run.rows += len(block.values)
                run.next_line += len(block.values)
                yield block
            self._idle = (first + run.rows, wanted, source)
            run.length = size
            run.sha256 = self._digest(first, rows)

        group = next((number for number, start, held in self._groups() if first < start + held), 0)
        return Run(self.name, ordinal, group, first + 1, read)

    def _take(self, first: int, wanted: frozenset[str] | None) -> Iterator[_Row]:
        if self._idle is not None and self._idle[:2] == (first, wanted):
            return self._idle[2]
        groups = [(number, start) for number, start, rows in self._groups() if first < start + rows]
        rows = self._values([number for number, _ in groups], wanted)
        for _ in range(first - groups[0][1] if groups else 0):
            next(rows, None)
        return rows

    def _values(self, groups: list[int], wanted: frozenset[str] | None) -> Iterator[_Row]:
        names = [name for name in self.columns if wanted is None or name in wanted] or list(self.columns[:1])
        per_row = sum(self._metadata.row_group(number).total_byte_size for number in groups) / max(1, self.rows)
        size = max(1, min(_BATCH_ROWS, int(_BATCH_BYTES / max(1.0, per_row))))
        try:
            for batch in self._file.iter_batches(batch_size=size, row_groups=groups, columns=names, use_threads=False):
                yield from _decoded(names, batch)
        except (OSError, ValueError) as error:
            raise _broken(self.name) from error

    def _digest(self, first: int, rows: int) -> str:
        digest = hashlib.sha256(repr([(f.name, str(f.type)) for f in self._file.schema_arrow]).encode())
        for number, start, held in self._groups():
            if start < first + rows and first < start + held:
                digest.update(b"%d %d %d " % (max(0, first - start), min(held, first + rows - start), held))
                digest.update(self._group_digest(number))
        return digest.hexdigest()

    def _group_digest(self, number: int) -> bytes:
        if number not in self._digests:
            group, digest = self._metadata.row_group(number), hashlib.sha256()
            with Path(self.name).open("rb") as file:
                for index in range(group.num_columns):
                    chunk = group.column(index)
                    places = (chunk.dictionary_page_offset, chunk.data_page_offset)
                    file.seek(min(place for place in places if place))
                    left = chunk.total_compressed_size
                    while left and (block := file.read(min(left, 1 << 20))):
                        digest.update(block)
                        left -= len(block)
            self._digests[number] = digest.digest()
        return self._digests[number]


_Row = tuple[dict[str, Any] | None, str | None]


def _decoded(names: list[str], batch: Any) -> Iterator[_Row]:
    try:
        columns = [column.to_pylist() for column in batch.columns]
    except ValueError:  # one value that Python cannot hold (nanoseconds, bad UTF-8) must not fail the batch
        yield from (_one_by_one(names, batch, row) for row in range(batch.num_rows))
        return
    for values in zip(*columns, strict=True):
        yield dict(zip(names, values, strict=True)), None


def _one_by_one(names: list[str], batch: Any, row: int) -> _Row:
    values = {}
    for name, column in zip(names, batch.columns, strict=True):
        try:
            values[name] = column[row].as_py()
        except ValueError:
            return None, f"the value of {name!r} cannot be read"
    return values, None


def _open(path: Path) -> Any:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise UsageError(f"{path}: reading Parquet needs pyarrow: pip install 'overnight[parquet]'") from error
    try:
        return parquet.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False)
    except (OSError, ValueError) as error:
        raise _broken(str(path)) from error


def _broken(name: str) -> UsageError:
    return UsageError(f"{name} cannot be read as Parquet: check the file")
