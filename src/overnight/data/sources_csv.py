"""CSV and TSV: RFC 4180, UTF-8, a header; every value stays the text that it is."""

from __future__ import annotations

import csv
import zlib
from codecs import BOM_UTF8
from collections.abc import Iterator
from operator import itemgetter
from typing import Any, BinaryIO

from overnight.data.records import RECORD_BYTES, Record, Run
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
    ) -> Iterator[Record]:
        width, ordinal = len(self.columns), run.first_ordinal
        names = [name for name in self.columns if wanted is None or name in wanted]
        pick = itemgetter(*map(self.columns.index, names)) if len(names) > 1 else None
        single = self.columns.index(names[0]) if len(names) == 1 else 0
        lines = _Lines(run, stream, digest)
        reader = csv.reader(lines, strict=True, delimiter=self._delimiter)
        while run.rows < rows and run.length < size:
            line = lines.start_record()
            problem = None
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                row, problem = [], self._quote_problem(run, line, error)
            if not row and problem is None:
                continue
            run.rows += 1
            if lines.bad:
                problem, lines.bad = f"{run.file}, line {lines.bad}: not valid UTF-8", 0
            elif problem is None and len(row) != width:
                problem = f"{run.file}, line {line}: {len(row)} fields where the header has {width}"
            if problem is not None:
                yield Record(ordinal, line, None, problem)
            elif pick is not None:
                yield Record(ordinal, line, dict(zip(names, pick(row), strict=True)))
            else:
                yield Record(ordinal, line, dict.fromkeys(names, row[single]))
            ordinal += 1

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
        run, readline = self.run, stream.readline
        while raw := readline(RECORD_BYTES + 1):
            if digest is not None:
                digest.update(raw)
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
