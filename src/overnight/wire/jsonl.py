"""Framing of JSON Lines: a line ends at `\\n` and nowhere else (U+2028 is an ordinary character inside a string)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

BOM = b"\xef\xbb\xbf"


class LineTooLong(ValueError):
    """A line exceeds the limit; `number` is 1-based, `offset` its first byte."""

    def __init__(self, number: int, offset: int, limit: int) -> None:
        super().__init__(f"line {number} is longer than {limit:,} bytes")
        self.number = number
        self.offset = offset


def lines(chunks: Iterable[bytes], limit: int | None = None) -> Iterator[tuple[int, int, bytes]]:
    """`(number, offset, line)` of every line that is not blank, without its line end: the number 1-based over all
    lines, the offset in bytes. A last line without `\\n` counts. Never holds more than `limit` bytes and one chunk;
    raises `LineTooLong` beyond."""
    number, offset, rest = 1, 0, bytearray()
    for chunk in chunks:
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            line = bytes(rest) + chunk[start:end] if rest else chunk[start:end]
            rest.clear()
            yield from _checked(number, offset, line, limit)
            offset += len(line) + 1
            number += 1
            start = end + 1
        rest += chunk[start:]
        if limit is not None and len(rest) > limit:
            raise LineTooLong(number, offset, limit)
    yield from _checked(number, offset, bytes(rest), limit)


def _checked(number: int, offset: int, line: bytes, limit: int | None) -> Iterator[tuple[int, int, bytes]]:
    if limit is not None and len(line) > limit:
        raise LineTooLong(number, offset, limit)
    if line and not line.isspace():
        yield number, offset, line.removesuffix(b"\r")
