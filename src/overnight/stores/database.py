"""A database and the one thread that speaks to it; its schema made or migrated when it is opened."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    insert,
    inspect,
    select,
)
from sqlalchemy.exc import DBAPIError

from overnight.errors import LocalError
from overnight.stores import sqlite
from overnight.stores.schema import HEAD, metadata

T = TypeVar("T")

# As Alembic makes it.
_version = Table("alembic_version", MetaData(), Column("version_num", String(32), nullable=False))
_version.append_constraint(PrimaryKeyConstraint("version_num", name="alembic_version_pkc"))


class Database:
    """Transactions of one SQLite file, one after another in a thread of its own. May be used from any event loop."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="overnight-store")
        try:
            self._reading = self._thread.submit(self._translated, lambda: _open(path)).result()
        except BaseException:
            self._thread.shutdown()
            raise
        self._writing = self._reading.execution_options(**{sqlite.WRITING: True})

    async def read(self, work: Callable[[Connection], T]) -> T:
        """What `work` returns, run in one reading transaction: all that it sees is of one moment."""
        return await self._run(self._reading, work)

    async def write(self, work: Callable[[Connection], T]) -> T:
        """What `work` returns, run in one writing transaction that is durable when this returns; where it raises,
        nothing is written. A caller that is canceled meanwhile does not know which."""
        return await self._run(self._writing, work)

    async def close(self) -> None:
        """Finish what runs and close the file; a second call does nothing."""
        try:
            closing = self._thread.submit(self._reading.dispose)
        except RuntimeError:  # closed already
            return
        await asyncio.wrap_future(closing)
        self._thread.shutdown()

    async def _run(self, engine: Engine, work: Callable[[Connection], T]) -> T:
        def transaction() -> T:
            with engine.begin() as connection:
                return work(connection)

        return await asyncio.wrap_future(self._thread.submit(self._translated, transaction))

    def _translated(self, step: Callable[[], T]) -> T:
        try:
            return step()
        except DBAPIError as error:
            raise sqlite.translate(error, self.path) from error


def _open(path: Path) -> Engine:
    engine = sqlite.connect(path)
    try:
        with engine.begin() as connection:
            current = _revision(connection)
        if current != HEAD:
            writing = engine.execution_options(**{sqlite.WRITING: True})
            with sqlite.restructuring(engine), writing.begin() as connection:
                _make_current(connection, path)
    except BaseException:
        engine.dispose()
        raise
    return engine


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table(_version.name):
        return None
    return connection.execute(select(_version.c.version_num)).scalar_one_or_none()


def _make_current(connection: Connection, path: Path) -> None:
    """Under the write lock: another process may have done it since the first look."""
    current = _revision(connection)
    if current == HEAD:
        return
    if current is None and not inspect(connection).get_table_names():
        create(connection)
        return
    if current is None:
        raise LocalError(f"the store belongs to another program ({path}): name another home")
    from overnight.stores.migrations import known, upgrade  # Alembic costs half a second to import

    if current not in known():
        raise LocalError(f"a newer overnight wrote the store ({path}, schema {current}): install that version or newer")
    upgrade(connection)


def create(connection: Connection) -> None:
    """Make the schema in an empty database, without Alembic, and stamp it."""
    metadata.create_all(connection, checkfirst=False)
    _version.create(connection)
    connection.execute(insert(_version).values(version_num=HEAD))
