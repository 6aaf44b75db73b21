"""A lock of the operating system: it ends with its process, however that ends."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from overnight.blobs.durable import local_error, make_directory

_TRIES = 5


class OwnerLock:
    """An exclusive lock on a file of its own; the file stays when the lock ends. On a platform without such locks it is
    always granted: there the lease alone keeps two owners apart."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    def try_acquire(self) -> bool:
        """True when this object holds the lock now, False when another holds it."""
        if self._fd is not None:
            return True
        try:
            make_directory(self._path.parent)
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise local_error(error, self._path, "lock the job") from error
        for _ in range(_TRIES):
            if flock(fd) is not False:
                self._fd = fd
                return True
            time.sleep(0.002)  # `owner_is_dead` of another process may be holding it for a moment
        os.close(fd)
        return False

    def release(self) -> None:
        """Give it back; nothing happens when it is not held."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def owner_is_dead(path: Path) -> bool | None:
    """Whether the process that locked this file is gone: True when nobody holds the lock. None where that cannot be
    told: the file is not there, or the platform has no such locks."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return flock(fd, shared=True)
    finally:
        os.close(fd)


def flock(fd: int, *, shared: bool = False) -> bool | None:
    """Lock the open file without waiting: False where another open file has it, None where there are no such locks.
    It is given back when the file is closed."""
    if sys.platform == "win32":
        return None
    import fcntl

    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
