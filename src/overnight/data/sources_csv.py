"""CSV and TSV: RFC 4180, UTF-8, a header; every value stays the text that it is."""

from __future__ import annotations

import csv
import zlib
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator
from operator import itemgetter
from typing import Any, BinaryIO

from overnight.data.records import BLOCK_BYTES, BLOCK_ROWS, RECORD_BYTES, Block, Run
from overnight.data.text_files import TextFile, TextRuns, too_long
from overnight.errors import UsageError

csv.field_size_limit(max(csv.field_size_limit(), RECORD_BYTES))


class CsvFile:
    """One CSV file with its header."""

    unit = "line"

    def __init__(self, text: TextFile, delimiter: str) -> None:
        self.name = text.name
        self.size = text.size
        self._text = text
        self._delimiter = delimiter
        header, length, lines = self._header()
        self.columns = header
        head, total = text.head()
        body = head[length:]
        density = max(1, body.count(b"\n")) / len(body) if body else 0
        self.rows = round((total - length) * density)
        runs = TextRuns(text, self._parse, length, lines + 1, seed=head[:length])
        self.runs, self.again, self.digest, self.close = runs.runs, runs.again, runs.digest, text.close

    def _header(self) -> tuple[tuple[str, ...], int, int]:
        """Column names, bytes and physical lines of the header."""
        stream = self._text.take(0)
        try:
            lines = _Lines(Run(self.name, 0, 0, 1, lambda run: iter(())), stream, None)
            lines.run.next_line = 1
            header = next(csv.reader(lines, strict=True, delimiter=self._delimiter), None)
        except csv.Error as error:
            raise UsageError(f"{self.name}, line 1: the header cannot be read ({error}): mend it") from error
        except (OSError, EOFError, zlib.error) as error:
            raise self._text.broken(error) from error
        finally:
            self._text.drop(stream)
        if not header:
            problem = "is empty" if lines.run.length == 0 else "has a blank line where its header should be"
            raise UsageError(f"{self.name} {problem}: a first line with the column names is needed")
        if lines.bad:
            raise UsageError(f"{self.name}, line {lines.bad}: the header is not valid UTF-8: save the file as UTF-8")
        if repeated := sorted({name for name in header if header.count(name) > 1}):
            names = ", ".join(map(repr, repeated))
            raise UsageError(f"{self.name}, line 1: the header repeats {names}: give every column a name of its own")
        return tuple(header), lines.run.length, lines.run.next_line - 1

    def _parse(
        self, run: Run, stream: BinaryIO, digest: Any, rows: float, size: int, wanted: frozenset[str] | None
    ) -> Iterator[Block]:
        lines = _Lines(run, stream, digest)
        reader = csv.reader(lines, strict=True, delimiter=self._delimiter)
        values_of = self._picker(wanted)
        ended, failure = False, None
        while not ended and run.rows < rows and run.length < size:
            block = Block(run.first_ordinal + run.rows)
            most, stop = min(BLOCK_ROWS, rows - run.rows), min(run.length + BLOCK_BYTES, size)
            try:
                ended = self._fill(block, run, lines, reader, values_of, most, stop)
            except (UsageError, OSError, EOFError, zlib.error) as error:
                failure = error
            run.rows += len(block.values)
            if block.values:
                yield block
            if failure is not None:
                raise failure

    def _picker(self, wanted: frozenset[str] | None) -> Callable[[list[str]], dict[str, str]]:
        """Makes the wanted values of a record of them all."""
        names = [name for name in self.columns if wanted is None or name in wanted]
        if len(names) == len(self.columns):
            return lambda row: dict(zip(names, row, strict=True))
        if len(names) < 2:
            single = self.columns.index(names[0]) if names else 0
            return lambda row: dict.fromkeys(names, row[single])
        pick = itemgetter(*map(self.columns.index, names))
        return lambda row: dict(zip(names, pick(row), strict=True))

    def _fill(
        self,
        block: Block,
        run: Run,
        lines: _Lines,
        reader: Iterator[list[str]],
        values_of: Callable[[list[str]], dict[str, str]],
        most: float,
        stop: int,
    ) -> bool:
        """Read records into the block until it holds `most` of them or the run is `stop` bytes long. True where there
        are no more."""
        width, numbers, values = len(self.columns), block.lines, block.values
        while len(values) < most and run.length < stop:
            line = lines.start_record()
            try:
                row = next(reader)
            except StopIteration:
                return True
            except csv.Error as error:
                block.add(line, None, self._quote_problem(run, line, error))
                lines.bad = 0
                continue
            if lines.bad:
                block.add(line, None, f"{run.file}, line {lines.bad}: not valid UTF-8")
                lines.bad = 0
            elif len(row) == width:
                numbers.append(line)
                values.append(values_of(row))
            elif row:
                problem = f"{run.file}, line {line}: {len(row)} fields where the header has {width}"
                block.add(line, None, problem)
        return False

    def _quote_problem(self, run: Run, line: int, error: csv.Error) -> str:
        """The problem of a record on one line. A record that went on over its line has an open quote: nobody can
        tell where the next record starts, so that is raised."""
        if "unexpected end" in str(error) or run.next_line > line + 1:
            raise UsageError(
                f"{run.file}, line {line}: a quote opens in this record and is not properly closed: close it, "
                'and write a quote inside a quoted field as ""'
            )
        return f"{run.file}, line {line}: cannot be read as CSV ({error})"


class _Lines:
    """Physical lines as text for `csv.reader`, which asks for no line more than its record needs."""

    def __init__(self, run: Run, stream: BinaryIO, digest: Any | None) -> None:
        self.run = run
        self.bad = 0  # first line of the present record that is no UTF-8
        self._record, self._line = 0, 1
        self._lines = self._decoded(stream, digest)

    def start_record(self) -> int:
        """The next line is the first of a record; its number."""
        self._record, self._line = self.run.length, self.run.next_line
        return self._line

    def __iter__(self) -> Iterator[str]:
        return self._lines

    def _decoded(self, stream: BinaryIO, digest: Any | None) -> Iterator[str]:
        run, readline, update = self.run, stream.readline, None if digest is None else digest.update
        while raw := readline(RECORD_BYTES + 1):
            if update is not None:
                update(raw)
            run.length += len(raw)
            if run.length - self._record > RECORD_BYTES:
                raise too_long(run.file, self._line)
            if run.next_line == 1 and raw.startswith(BOM_UTF8):
                raw = raw[len(BOM_UTF8) :]
            try:
                text = raw.decode()
            except UnicodeDecodeError:
                text = raw.decode(errors="surrogateescape")
                self.bad = self.bad or run.next_line
            run.next_line += 1
            yield text
