"""Input files on their way to an API that wants its lines otherwise than a shard has them."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer as Buffer

Line = Callable[[bytes], bytes]
"""A line as the API wants it."""


def in_other_lines(content: Callable[[], BinaryIO], line: Line) -> tuple[Callable[[], BinaryIO], int]:
    """The content line by line in other words, to be opened as often as the given one, and its size in bytes. Reads it
    once: call from a worker thread."""
    with content() as file:
        size = sum(len(line(each)) for each in file)
    return (lambda: io.BufferedReader(_Lines(content(), line), 1 << 16)), size


class _Lines(io.RawIOBase):
    def __init__(self, file: BinaryIO, line: Line) -> None:
        self._file = file
        self._line = line
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        self._rest = self._rest or self._line(self._file.readline())
        with memoryview(buffer).cast("B") as place:
            taken = min(len(place), len(self._rest))
            place[:taken] = self._rest[:taken]
        self._rest = self._rest[taken:]
        return taken

    def close(self) -> None:
        self._file.close()
        super().close()
