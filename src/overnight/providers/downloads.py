"""Downloads that are whole or raise: no provider's answers are believed because the connection ended politely."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from zlib import crc32

import orjson

from overnight.errors import ProviderError
from overnight.http import Answer
from overnight.ports import DOWNLOAD_SHORT, BlobWriter
from overnight.types import Failure, FailureKind

DOWNLOADS = 3  # tries of one file
CUT = Failure(FailureKind.TRANSIENT, "the file came cut short", code="download_cut")
SHORT = Failure(FailureKind.TRANSIENT, "the file is not whole, each time in the same way", code=DOWNLOAD_SHORT)


async def fetch(
    get: Callable[[Callable[[bytes], object]], Awaitable[Answer]],
    refused: Callable[[Answer], Failure],
    sink: Sink,
    sleep: Callable[[float], Awaitable[object]],
) -> None:
    """Let `get` write into the sink until the file is whole; a further try compares by checksum what is written
    already, and goes on behind it. After three tries it raises `ProviderError`, with code `download_short` where the
    last two brought the same whole answer, else `download_cut` where something came; the sink then holds that
    beginning."""
    failure = CUT
    for number in range(DOWNLOADS):
        if number:
            await sleep(2.0**number)
        sink.restart()
        try:
            answer = await get(sink.write)
        except ProviderError as error:
            failure = replace(error.failure, code=CUT.code)
            continue
        if answer.status >= 300:
            failure = refused(answer)
            if failure.kind is not FailureKind.TRANSIENT:
                break
        elif sink.whole():
            return
        else:
            failure = SHORT if sink.came_again() else CUT
    raise ProviderError(failure)


class Sink:
    """Bytes of a download on their way into a writer that cannot go back: a new try starts over, and as many bytes as
    are written already are only compared. `size`: the file's bytes as told (None or 0: not told); `rows`: its lines as
    told, of a file whose size nobody tells."""

    def __init__(self, into: BlobWriter, size: int | None, rows: int | None = None) -> None:
        self._into = into
        self._size = size
        self._rows = rows
        self._written = 0  # crc32
        self._length = 0
        self._lines = 0  # that have an end
        self._first = b""
        self._tail = bytearray()  # of the last line, as long as it has no end
        self.restart()

    def restart(self) -> None:
        """The next byte written is the file's first."""
        self._again = 0
        self._to_skip = self._known = self._length
        self._same = True

    def write(self, chunk: bytes) -> None:
        """Take the next bytes of this try."""
        old, new = chunk[: self._to_skip], chunk[self._to_skip :]
        if old:
            self._again = crc32(old, self._again)
            self._to_skip -= len(old)
            if not self._to_skip:
                self._same = self._again == self._written
        if new and self._same:
            self._into.write(new)
            self._written = crc32(new, self._written)
            self._length += len(new)
            self._lines += new.count(b"\n")
            self._first = self._first or new.lstrip()[:1]
            end = new.rfind(b"\n")
            if end >= 0:
                self._tail.clear()
            self._tail += new[end + 1 :]

    def whole(self) -> bool:
        """Whether this try brought all of the file, the same as earlier tries, and JSON to its last line."""
        if not self._length:
            return self._size == 0
        as_told = not self._size or self._size == self._length
        all_rows = self._rows is None or self._rows <= self._lines + bool(self._tail.strip())
        return as_told and all_rows and not self._to_skip and self._same and self._first == b"{" and self._ends_whole()

    def came_again(self) -> bool:
        """Whether this try brought what was known before, no less and no more, and it looks like answers; where rows
        are told, nothing at all is an answer as well."""
        looks_right = self._first == b"{" or (self._rows is not None and not self._length)
        return self._length == self._known and not self._to_skip and self._same and looks_right

    def _ends_whole(self) -> bool:
        try:
            return not self._tail or isinstance(orjson.loads(self._tail), dict)
        except orjson.JSONDecodeError:
            return False
