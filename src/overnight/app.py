"""The composition root: the only file that names concrete adapters."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from overnight.clock import SystemClock
from overnight.errors import LocalError, UsageError
from overnight.ports import Blobs, Clock, Journal, ObjectStore, Upstream


@dataclass(frozen=True, slots=True)
class ServerParts:
    """What a batch server is made of. `any_model`: the upstream serves more names than it lists."""

    objects: ObjectStore
    blobs: Blobs
    journals: Callable[[str], Journal]
    upstream: Upstream
    clock: Clock
    home_id: str
    any_model: bool
    release: Callable[[], None]

    async def close(self) -> None:
        """Stop the upstream, close the store, give the home back."""
        try:
            await self.upstream.close()
            await self.objects.close()
        finally:
            self.release()


def open_server(home: Path, upstream: Upstream, any_model: bool = False) -> ServerParts:
    """The parts of a server whose objects are kept in `home`, which is made where it is missing. Raises `UsageError`
    where another server has it."""
    from overnight.blobs.files import FileBlobs
    from overnight.blobs.journal import FileJournal
    from overnight.blobs.lock import OwnerLock
    from overnight.stores.database import Database
    from overnight.stores.objects import SqlObjects

    root = home / "server"
    lock = OwnerLock(root / "lock")
    if not lock.try_acquire():
        raise UsageError(f"another server is running on this home ({home}): stop it, or give another --home")
    blobs = root / "blobs"
    return ServerParts(
        objects=SqlObjects(Database(root / "server.db")),
        blobs=FileBlobs(blobs),
        journals=lambda name: FileJournal(blobs / name),
        upstream=upstream,
        clock=SystemClock(),
        home_id=_home_id(root / "id"),
        any_model=any_model,
        release=lock.release,
    )


def _home_id(path: Path) -> str:
    """The random name of a home, made once. Called under the home's lock."""
    try:
        if path.exists():
            return path.read_text().strip()
        new = path.with_suffix(".new")
        new.write_text(secrets.token_hex(8))
        new.replace(path)
        return path.read_text().strip()
    except OSError as error:
        raise LocalError(f"the home cannot be named ({path}): {error.strerror}") from None
