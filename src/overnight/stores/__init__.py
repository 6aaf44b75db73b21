"""Store, StoreReader and ObjectStore on SQL databases. Importing this loads no SQL library; opening does."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from overnight.errors import UsageError

if TYPE_CHECKING:
    from overnight.stores.objects import SqlObjects
    from overnight.stores.store import SqlStore


def open_store(where: str | Path, now: Callable[[], float] = time.time) -> SqlStore:
    """The store in the SQLite file `where` (a path, or a URL: `sqlite:///relative`, `sqlite:////absolute`), made or
    migrated as needed. `now` is the
    clock of its leases, in unix seconds. Raises `LocalError` where this machine does not let it be opened or a newer
    overnight wrote it."""
    from overnight.stores.database import Database
    from overnight.stores.store import SqlStore

    return SqlStore(Database(_path(where)), now)


def open_objects(where: str | Path) -> SqlObjects:
    """The object store in the same kind of file as `open_store` takes; both may lie in one file."""
    from overnight.stores.database import Database
    from overnight.stores.objects import SqlObjects

    return SqlObjects(Database(_path(where)))


def _path(where: str | Path) -> Path:
    if isinstance(where, str) and "://" in where:
        scheme, _, rest = where.partition("://")
        if scheme != "sqlite" or not rest.startswith("/"):
            raise UsageError(f"no store speaks {scheme} ({scheme}://...): give a path or sqlite:///PATH")
        where = rest.removeprefix("/")
    return Path(where).absolute()
