"""A journal of lines with natural group commit: while one group is being written and synced, the next one gathers."""

from __future__ import annotations

import asyncio
import os
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from overnight.blobs.durable import local_error, make_directory, sync, sync_directory
from overnight.blobs.lock import flock
from overnight.errors import InvariantError, LocalError

GROUP = 256
"""Most lines of one write."""

_BLOCK = 1 << 16


@dataclass(frozen=True, slots=True)
class _Waiting:
    line: bytes
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[tuple[int, int]]


class FileJournal:
    """An append-only file of lines, for one process at a time. What `append` returned from is on the disk. Where the
    disk fails, all that waits fails, and every later `append`: what a failed sync left behind is known only after the
    file is opened again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._failed: LocalError | None = None
        self._closing = False
        self._waiting: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        try:
            self._fd = self._open()
        except OSError as error:
            raise local_error(error, path, "open the journal") from error
        self._writer = threading.Thread(target=self._write_groups, name="overnight-journal", daemon=True)
        self._writer.start()

    @property
    def length(self) -> int:
        """Bytes that are on the disk: whole lines only."""
        return self._length

    async def append(self, line: bytes) -> tuple[int, int]:
        """Offset and length of the line (without its newline) once it is durable. Raises `LocalError` when the disk
        does not take it; a caller that is canceled meanwhile does not know."""
        if b"\n" in line:
            raise InvariantError("a line of a journal holds a newline")
        if self._closing:
            raise InvariantError(f"the journal is closed ({self._path})")
        loop = asyncio.get_running_loop()
        waiting = _Waiting(line, loop, loop.create_future())
        self._waiting.put(waiting)
        return await waiting.done

    def replay(self) -> Iterator[tuple[int, bytes]]:
        """`(offset, line)` of all lines that are durable now, oldest first."""
        end, offset = self._length, 0
        with self._path.open("rb", buffering=_BLOCK) as file:
            while offset < end:
                line = file.readline()
                yield offset, line[:-1]
                offset += len(line)

    def read(self, offset: int, length: int) -> bytes:
        """The line that `append` or `replay` placed there."""
        try:
            return os.pread(self._fd, length, offset)
        except OSError as error:
            raise local_error(error, self._path, "read the journal") from error

    async def close(self) -> None:
        """Flush and close; a second call waits for the first. Canceled meanwhile, it is closed all the same."""
        if not self._closing:
            self._closing = True
            self._waiting.put(None)
        await asyncio.get_running_loop().run_in_executor(None, self._writer.join)

    def _open(self) -> int:
        make_directory(self._path.parent)
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if flock(fd) is False:
                raise LocalError(f"another process writes this journal ({self._path}): stop it first")
            self._length = _whole(fd)
            os.ftruncate(fd, self._length)
            sync(fd)
            sync_directory(self._path.parent)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _write_groups(self) -> None:
        closing = False
        while not closing:
            group = [self._waiting.get()]
            while len(group) < GROUP and group[-1] is not None and not self._waiting.empty():
                group.append(self._waiting.get())
            closing = group[-1] is None
            lines = [waiting for waiting in group if waiting is not None]
            if lines:
                self._write(lines)
        os.close(self._fd)

    def _write(self, group: list[_Waiting]) -> None:
        start = self._length
        if self._failed is None:
            try:
                self._store(b"".join(waiting.line + b"\n" for waiting in group))
            except OSError as error:
                self._failed = local_error(error, self._path, "write the journal")
        places = []
        for waiting in group:
            places.append((start, len(waiting.line)))
            start += len(waiting.line) + 1
        for loop in {waiting.loop for waiting in group}:
            mine = [(waiting.done, place) for waiting, place in zip(group, places, strict=True) if waiting.loop is loop]
            try:
                loop.call_soon_threadsafe(_tell, mine, self._failed)
            except RuntimeError:  # the loop is closed: nobody waits any more
                continue

    def _store(self, data: bytes) -> None:
        try:
            written = 0
            while written < len(data):
                written += os.pwrite(self._fd, memoryview(data)[written:], self._length + written)
            sync(self._fd)
        except OSError:
            os.ftruncate(self._fd, self._length)  # lines that were refused shall not be met by a replay
            raise
        self._length += len(data)


def _tell(mine: list[tuple[asyncio.Future[tuple[int, int]], tuple[int, int]]], failed: LocalError | None) -> None:
    for done, place in mine:
        if done.done():  # canceled
            continue
        if failed is None:
            done.set_result(place)
        else:
            done.set_exception(LocalError(str(failed)))


def _whole(fd: int) -> int:
    """Length of the file up to its last newline."""
    end = os.fstat(fd).st_size
    while end > 0:
        start = max(0, end - _BLOCK)
        newline = os.pread(fd, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0
