"""Sources: files by path or glob, and spooled rows, read as numbered records in segments that never move."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO, Self

from overnight.data.records import DEFAULT_CUT, Block, Cut, Record, Run, SourceChanged, SourceFile
from overnight.data.sources_csv import CsvFile
from overnight.data.sources_jsonl import JsonlFile, Values, parse_object
from overnight.data.spool import is_spool, spool_blob
from overnight.data.text_files import TextFile
from overnight.errors import UsageError
from overnight.ports import Blobs
from overnight.types import Segment

_DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
_JSONL = (".jsonl", ".ndjson")
_PARQUET = (".parquet", ".pq")
_KNOWN = ".csv, .tsv, .jsonl (each also with .gz) or .parquet"

Parse = Callable[[bytes], Values]


class Source:
    """One or several files with the same columns, read as one sequence of records. Close it, or use it in a `with`."""

    def __init__(self, locator: str, files: Sequence[SourceFile], cut: Cut) -> None:
        self.locator = locator
        """Absolute real paths, one a line, or `spool:<sha256>`: part of the job's identity."""
        self.columns = tuple(dict.fromkeys(name for file in files for name in file.columns))
        self.rows = sum(file.rows for file in files)
        """How many records, estimated from the start of each file."""
        self.size = sum(file.size for file in files)
        """Bytes as stored."""
        self._files = {file.name: file for file in files}
        self._cut = cut

    def segments(self, after: Segment | None = None, wanted: frozenset[str] | None = None) -> Iterator[Run]:
        """The segments behind the last known one, in order; consume each before asking for the next. With `wanted`
        the records may hold those columns only. Raises `SourceChanged` where the file of the last known segment went
        on growing."""
        ordinal = 0 if after is None else after.first_ordinal + after.rows
        files = list(self._files.values())
        if after is not None:
            files = files[files.index(self._file(after)) :]
        for file in files:
            known = after if after is not None and file.name == after.file else None
            for run in file.runs(self._cut, ordinal, known, wanted):
                if not run.begin():
                    continue
                if known is not None and not self._cut.complete(known):
                    raise SourceChanged(
                        f"{file.name} has grown since this job was planned ({file.unit} {run.line} is new): "
                        "start over as a new job with --new"
                    )
                yield run
                ordinal = run.first_ordinal + run.rows

    def read(self, segment: Segment, wanted: frozenset[str] | None = None) -> Iterator[Record]:
        """The segment's records again. Raises `SourceChanged` at their end, or before, when they are not the same."""
        for block in self.read_blocks(segment, wanted):
            yield from block

    def read_blocks(self, segment: Segment, wanted: frozenset[str] | None = None) -> Iterator[Block]:
        """The same in blocks."""
        file = self._file(segment)
        run = file.again(segment, wanted)
        try:
            yield from run.blocks()
        except UsageError:
            self.verify(segment)
            raise
        if run.sha256 != segment.sha256:
            raise self._changed(segment)

    def verify(self, segment: Segment) -> None:
        """Raises `SourceChanged` when the segment's bytes are not the same. Reads no records."""
        if self._file(segment).digest(segment) != segment.sha256:
            raise self._changed(segment)

    def place(self, file: str, line: int) -> str:
        """For people: `/data/reviews.csv, line 17`."""
        return f"{file}, {self._files[file].unit} {line}"

    def close(self) -> None:
        """Let go of open files."""
        for file in self._files.values():
            file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _file(self, segment: Segment) -> SourceFile:
        if segment.file not in self._files:
            raise self._changed(segment)
        return self._files[segment.file]

    def _changed(self, segment: Segment) -> SourceChanged:
        first, last = segment.first_ordinal + 1, segment.first_ordinal + segment.rows
        return SourceChanged(
            f"{segment.file} changed since this job was planned (in rows {first} to {last}): "
            "restore the file, or start over as a new job with --new"
        )


def open_source(
    source: str | tuple[str, ...], base: Path, blobs: Blobs, *, parse: Parse = parse_object, cut: Cut = DEFAULT_CUT
) -> Source:
    """The source named by a path, a glob, several of them (relative ones from `base`), or a spool's locator. `parse`
    reads a JSONL line; another one than the default admits JSONL only. Raises `UsageError` where there is nothing to
    read, and names the file."""
    if is_spool(source):
        name = spool_blob(source)
        size = blobs.size(name)
        if size is None:
            raise UsageError(f"the rows of {source} are no longer kept here: give them again")
        text = TextFile(source, partial(blobs.open, name), size, gzipped=False)
        return Source(source, [JsonlFile(text, parse)], cut)
    patterns = (source,) if isinstance(source, str) else source
    paths = sorted({path for pattern in patterns for path in _matches(pattern, base)})
    if not paths:
        raise UsageError("no source is given: name a file or a glob")
    files = [_open_file(path, parse) for path in paths]
    if all(file.size == 0 for file in files):
        raise UsageError(f"{files[0].name} is empty: there is nothing to send")
    _same_shape(files)
    return Source("\n".join(file.name for file in files), files, cut)


def _matches(pattern: str, base: Path) -> Iterator[Path]:
    path = base.absolute() / Path(pattern).expanduser()
    if path.exists():
        found = [path]
    elif glob.has_magic(pattern):
        root = Path(path.anchor)
        found = [match for match in root.glob(str(path.relative_to(root))) if match.is_file() and match.name[0] != "."]
        if not found:
            raise UsageError(f"no file matches {path}: check the pattern")
    else:
        raise UsageError(f"{path}: no such file")
    for match in found:
        if match.is_dir():
            raise UsageError(f"{match} is a directory: name its files, for example {match / '*.csv'}")
        yield Path(os.path.realpath(match))


def _open_file(path: Path, parse: Parse) -> SourceFile:
    gzipped = path.suffix.lower() == ".gz"
    suffix = Path(path.stem).suffix.lower() if gzipped else path.suffix.lower()
    lines_only = parse is not parse_object
    if suffix in _PARQUET and not gzipped and not lines_only:
        from overnight.data.sources_parquet import ParquetFile

        return ParquetFile(path)
    try:
        size = path.stat().st_size
        text = TextFile(str(path), partial(_reader, path), size, gzipped)
        if suffix in _JSONL:
            return JsonlFile(text, parse)
        if suffix in _DELIMITERS and not lines_only:
            return CsvFile(text, _DELIMITERS[suffix])
    except OSError as error:
        raise UsageError(f"{path} cannot be opened ({error.strerror}): check its permissions") from error
    needed = ".jsonl (also with .gz): raw requests are lines of JSON" if lines_only else _KNOWN
    raise UsageError(f"{path}: the format is told by the suffix, which must be {needed}")


def _reader(path: Path) -> BinaryIO:
    return path.open("rb", buffering=1 << 20)


def _same_shape(files: Sequence[SourceFile]) -> None:
    first = files[0]
    for file in files[1:]:
        if type(file) is not type(first):
            raise UsageError(f"{file.name} and {first.name} are of different formats: give one format at a time")
        if isinstance(file, JsonlFile):  # objects may lack keys: what is missing reads as empty
            continue
        if different := set(file.columns) ^ set(first.columns):
            names = ", ".join(map(repr, sorted(different)))
            raise UsageError(f"{file.name} and {first.name} differ in their columns ({names}): make them the same")
