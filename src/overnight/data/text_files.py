"""Line-based source files, plain or gzipped, and the runs of records in them."""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, cast

from overnight.data.records import RECORD_BYTES, Block, Cut, Run
from overnight.errors import UsageError
from overnight.types import Segment

_BLOCK = 1 << 20


class TextFile:
    """The decompressed bytes of one file, from any offset. Reading on where the last reading ended costs nothing,
    so that gzipped segments are decompressed once when read in order."""

    def __init__(self, name: str, opener: Callable[[], BinaryIO], size: int, gzipped: bool) -> None:
        self.name = name
        self.size = size
        self._opener = opener
        self._gzipped = gzipped
        self._idle: tuple[BinaryIO, int] | None = None
        self._lent: set[BinaryIO] = set()

    def take(self, offset: int) -> BinaryIO:
        """A stream at that offset; it is the caller's until `give_back`."""
        stream, position = self._idle or (None, 0)
        self._idle = None
        if stream is not None and position > offset:
            stream.close()
            stream = None
        if stream is None:
            stream, position = self._open(), 0
        self._lent.add(stream)
        if position < offset and not self._gzipped and stream.seekable():
            stream.seek(offset)
            return stream
        while position < offset:
            skipped = len(self.guarded(stream.read, min(_BLOCK, offset - position)))
            if not skipped:
                break
            position += skipped
        return stream

    def give_back(self, stream: BinaryIO, offset: int) -> None:
        """Keep the stream, which stands at `offset`, for the next reading."""
        if self._idle is not None:
            self._idle[0].close()
        self._lent.discard(stream)
        self._idle = (stream, offset)

    def drop(self, stream: BinaryIO) -> None:
        """Close a stream that was taken."""
        self._lent.discard(stream)
        stream.close()

    def close(self) -> None:
        """Close what is open, a reading under way included."""
        if self._idle is not None:
            self._idle[0].close()
            self._idle = None
        while self._lent:
            self._lent.pop().close()

    def guarded(self, read: Callable[[int], bytes], size: int) -> bytes:
        """`read(size)`; raises `UsageError` where the file cannot be read."""
        try:
            return read(size)
        except (OSError, EOFError, zlib.error) as error:
            raise self.broken(error) from error

    def broken(self, error: Exception) -> UsageError:
        """What is said of a file that cannot be read on."""
        what = "gzip data is damaged or cut off" if self._gzipped else type(error).__name__
        return UsageError(f"{self.name} cannot be read ({what}): check the file")

    def head(self) -> tuple[bytes, float]:
        """The first megabyte, and how many bytes the file holds in all: an estimate where it is gzipped."""
        stream = self.take(0)
        try:
            start = self.guarded(stream.read, _BLOCK)
        finally:
            self.drop(stream)
        if not self._gzipped or len(start) < _BLOCK:
            return start, self.size if not self._gzipped else len(start)
        return start, self.size * len(start) / max(1, len(zlib.compress(start, 6)))

    def _open(self) -> BinaryIO:
        stream = self._opener()
        if not self._gzipped:
            return stream
        return _Gzip(stream)


class _Gzip(io.BufferedReader):
    """A gzip stream with a large buffer, that closes the file below it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._below = stream
        super().__init__(cast(io.RawIOBase, gzip.GzipFile(fileobj=stream, mode="rb")), _BLOCK)

    def close(self) -> None:
        super().close()
        self._below.close()


Parse = Callable[[Run, BinaryIO, Any, float, int, frozenset[str] | None], Iterator[Block]]
"""How one text format finds records, `(run, stream, digest, rows, size, wanted)`: yields blocks of them from the
stream, which stands at the run's offset, until `rows` or `size` is reached; feeds every byte to `digest` and counts
`run.rows`, `run.length` and `run.next_line`. What it raises comes behind the records before it."""


class TextRuns:
    """Segments of a text file. `seed` (the header) goes into every segment's hash: with it a segment cannot be the
    same under other column names."""

    def __init__(self, text: TextFile, parse: Parse, start: int, line: int, seed: bytes = b"") -> None:
        self._text = text
        self._parse = parse
        self._start = start
        self._line = line
        self._seed = seed

    def runs(self, cut: Cut, first_ordinal: int, after: Segment | None, wanted: frozenset[str] | None) -> Iterator[Run]:
        """As `SourceFile.runs`."""
        offset, line = self._start, self._line
        if after is not None:
            offset = after.offset + after.length
            line = after.line + self._count_lines(after)
        while True:
            run = self._run(first_ordinal, offset, line, cut.rows, cut.size, wanted)
            yield run
            if not run.rows:
                return
            first_ordinal += run.rows
            offset += run.length
            line = run.next_line

    def again(self, segment: Segment, wanted: frozenset[str] | None) -> Run:
        """As `SourceFile.again`: by bytes alone, so that blank lines behind the last record are read too."""
        return self._run(segment.first_ordinal, segment.offset, segment.line, float("inf"), segment.length, wanted)

    def digest(self, segment: Segment) -> str:
        """As `SourceFile.digest`."""
        digest = hashlib.sha256(self._seed)
        for block in self._blocks(segment):
            digest.update(block)
        return digest.hexdigest()

    def _count_lines(self, segment: Segment) -> int:
        return sum(block.count(b"\n") for block in self._blocks(segment))

    def _blocks(self, segment: Segment) -> Iterator[bytes]:
        stream, left = self._text.take(segment.offset), segment.length
        try:
            while left and (block := self._text.guarded(stream.read, min(_BLOCK, left))):
                left -= len(block)
                yield block
        except BaseException:
            self._text.drop(stream)
            raise
        self._text.give_back(stream, segment.offset + segment.length - left)

    def _run(
        self, first_ordinal: int, offset: int, line: int, rows: float, size: int, wanted: frozenset[str] | None
    ) -> Run:
        def read(run: Run) -> Iterator[Block]:
            digest = hashlib.sha256(self._seed)
            stream = self._text.take(offset)
            try:
                yield from self._parse(run, stream, digest, rows, size, wanted)
            except (OSError, EOFError, zlib.error) as error:
                self._text.drop(stream)
                raise self._text.broken(error) from error
            except BaseException:
                self._text.drop(stream)
                raise
            self._text.give_back(stream, offset + run.length)
            run.sha256 = digest.hexdigest()

        return Run(self._text.name, first_ordinal, offset, line, read)


def too_long(name: str, line: int) -> UsageError:
    """What is said of a record that does not end."""
    return UsageError(
        f"{name}, line {line}: the record that starts here is over {RECORD_BYTES >> 20} MB: "
        "close its quote, or split or remove it"
    )
