"""Blobs as files below one directory: nothing is visible under its name before it is whole and on the disk."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Self

from overnight.blobs.durable import local_error, make_directory, sync, sync_directory
from overnight.blobs.lock import flock
from overnight.errors import InvariantError, LocalError

_BUFFER = 1 << 18
_NEW = ".new"
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+=,-]{0,199}")


class FileBlobs:
    """Immutable named files below `root`, which is made with mode 0700, as are the directories in it; files have 0600.
    What a process that died left half-written is removed on opening."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._new = self.root / _NEW
        try:
            make_directory(self._new)
            if self.root.stat().st_mode & 0o077:
                self.root.chmod(0o700)
        except OSError as error:
            raise local_error(error, self.root, "open the home") from error
        self.sweep()

    def create(self, name: str) -> FileWriter:
        """A writer for a new blob; `commit` publishes it."""
        path = self._path(name)
        try:
            fd, unfinished = self._unfinished()
        except OSError as error:
            raise local_error(error, path, "write") from error
        return FileWriter(fd, unfinished, path)

    def open(self, name: str) -> BinaryIO:
        """Read from the start. Raises `LocalError` where it is missing."""
        path = self._path(name)
        try:
            return path.open("rb", buffering=_BUFFER)
        except OSError as error:
            raise _unreadable(error, path) from error

    def reader(self, name: str) -> FileReader:
        """Read anywhere. Raises `LocalError` where it is missing."""
        path = self._path(name)
        try:
            return FileReader(os.open(path, os.O_RDONLY | os.O_CLOEXEC), path)
        except OSError as error:
            raise _unreadable(error, path) from error

    def size(self, name: str) -> int | None:
        """Bytes, or None where it is missing."""
        try:
            return self._path(name).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def list(self, prefix: str) -> Iterator[str]:
        """Names that start with the prefix, sorted."""
        directory = prefix.rpartition("/")[0]
        if directory:
            self._path(directory)
        for name in _names(self.root, directory):
            if name.startswith(prefix):
                yield name

    def delete(self, name: str) -> None:
        """Remove; a missing one is fine."""
        path = self._path(name)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise local_error(error, path, "delete") from error

    def free(self) -> int | None:
        """Bytes left on the disk for this user."""
        return shutil.disk_usage(self.root).free

    def sweep(self) -> int:
        """Remove what dead processes left unfinished; how many files that were. A living writer's file is locked."""
        removed = 0
        with os.scandir(self._new) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError), Path(entry.path).open("rb") as file:
                    if flock(file.fileno()):
                        Path(entry.path).unlink()
                        removed += 1
        return removed

    def _unfinished(self) -> tuple[int, Path]:
        """A new file, locked, so that the sweep of another process leaves it alone."""
        while True:
            path = self._new / secrets.token_hex(8)
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            if flock(fd) is not False and os.fstat(fd).st_nlink:
                return fd, path
            os.close(fd)  # a sweep came between opening and locking

    def _path(self, name: str) -> Path:
        if not all(_PART.fullmatch(part) for part in name.split("/")):
            raise InvariantError(f"not a name of a blob: {name!r}")
        return self.root / name


class FileWriter:
    """A blob in the making. Leaving the `with` without `commit` leaves nothing behind."""

    def __init__(self, fd: int, unfinished: Path, path: Path) -> None:
        self._file = os.fdopen(fd, "wb", buffering=_BUFFER)
        self._unfinished = unfinished
        self._path = path

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Append; raises `LocalError` with the path when the disk is full."""
        try:
            return self._file.write(data)
        except OSError as error:
            raise local_error(error, self._path, "write") from error

    def tell(self) -> int:
        """Bytes written."""
        return self._file.tell()

    def commit(self) -> None:
        """Publish under the name, durably; a blob of that name is replaced. Raises `LocalError`; then nothing changed
        under the name, unless the very last step, making the new name durable, was what failed."""
        try:
            self._file.flush()
            sync(self._file.fileno())
            make_directory(self._path.parent)
            self._unfinished.replace(self._path)
            sync_directory(self._path.parent)
        except OSError as error:
            raise local_error(error, self._path, "write") from error
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._file.closed:
            return
        with contextlib.suppress(FileNotFoundError):
            self._unfinished.unlink()
        with contextlib.suppress(OSError):  # what is still in the buffer may not find room on the disk
            self._file.close()


class FileReader:
    """Random access to a published blob; may be used from several threads."""

    def __init__(self, fd: int, path: Path) -> None:
        self._fd = fd
        self._path = path

    def read_at(self, offset: int, length: int) -> bytes:
        """Exactly those bytes (fewer only at the end)."""
        try:
            data = os.pread(self._fd, length, offset)
            while 0 < len(data) < length and (more := os.pread(self._fd, length - len(data), offset + len(data))):
                data += more
        except OSError as error:
            raise local_error(error, self._path, "read") from error
        return data

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _unreadable(error: OSError, path: Path) -> LocalError:
    if isinstance(error, FileNotFoundError):
        return LocalError(f"a file of the home is missing ({path}): put it back, or start the job anew with --new")
    return local_error(error, path, "read")


def _names(root: Path, directory: str) -> Iterator[str]:
    """Names of the blobs below the directory, in the order of the whole names."""
    try:
        with os.scandir(root / directory) as found:
            entries = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in found]
    except (FileNotFoundError, NotADirectoryError):
        return
    # A directory sorts as its name with the slash that follows: `a-b` comes before `a/b`.
    for name, is_directory in sorted(
        (name + "/" if is_directory else name, is_directory) for name, is_directory in entries
    ):
        if name.startswith("."):
            continue
        path = f"{directory}/{name}" if directory else name
        if is_directory:
            yield from _names(root, path.rstrip("/"))
        else:
            yield path
