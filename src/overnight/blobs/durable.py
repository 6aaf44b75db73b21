"""Bytes that are on the disk when a call returns, and errors that say which disk."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from pathlib import Path

from overnight.errors import LocalError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def sync(fd: int) -> None:
    """Return when the file's bytes and length are on the disk itself, not in its cache."""
    if sys.platform == "darwin":
        import fcntl

        with contextlib.suppress(OSError):  # not every file system there knows it
            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
            return
        os.fsync(fd)
    else:
        os.fdatasync(fd)


def sync_directory(path: Path) -> None:
    """Return when names made or replaced in the directory are on the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_directory(path: Path) -> None:
    """Make the directory, with mode 0700, and those above it, durably; one that exists stays as it is."""
    if path.is_dir():
        return
    make_directory(path.parent)
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    sync_directory(path.parent)


def local_error(error: OSError, path: Path, doing: str) -> LocalError:
    """The error with the path and what to do: `cannot write answers (/home/x): No space left ...: free some space`."""
    if error.errno in _FULL:
        advice = "free some space there, then run the same command again"
    elif error.errno in {errno.EROFS, errno.EACCES, errno.EPERM}:
        advice = "make it writable for this user, or name another home"
    elif error.errno in {errno.EMFILE, errno.ENFILE}:
        advice = "raise the limit of open files (ulimit -n)"
    else:
        advice = "look after the disk, then run the same command again"
    reason = os.strerror(error.errno) if error.errno is not None else str(error)
    return LocalError(f"cannot {doing} ({path}): {reason}: {advice}")
