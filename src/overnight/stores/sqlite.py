"""What is SQLite's own: how a file is opened, how a transaction begins, what its errors mean."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Dialect, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry

from overnight.errors import Conflict, LocalError, OvernightError, StoreError

BUSY_SECONDS = 30.0
"""How long a transaction waits for another process to finish its own; ours take milliseconds."""

WRITING = "overnight_writing"
"""Execution option of a connection whose transactions write."""

_LOCAL = ("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")
_DAMAGED = ("SQLITE_NOTADB", "SQLITE_CORRUPT")

_compiled: dict[Any, Any] = {}
"""Statements as SQL, for all stores of the process: making them takes longer than a short job's transactions."""


@cache
def _dialect() -> Dialect:
    """What they were made for: SQLAlchemy takes those of another dialect for others. It knows SQLite's version once it
    was connected."""
    engine = create_engine("sqlite+pysqlite://")
    engine.connect().close()
    engine.dispose()
    return engine.dialect


def connect(path: Path) -> Engine:
    """An engine with one durable connection (WAL, synchronous=FULL, foreign keys) to the file, made with mode 0600."""
    try:
        with contextlib.suppress(FileExistsError):
            path.parent.mkdir(mode=0o700, parents=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
    except OSError as error:
        raise LocalError(
            f"the store cannot be opened ({path}): {error.strerror}: make it a writable file, or name another home"
        ) from error
    engine = create_engine(
        f"sqlite+pysqlite:///{path}",
        pool_size=1,
        max_overflow=0,
        hide_parameters=True,  # errors are shown and logged; what was stored is not
        connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False},
        execution_options={"compiled_cache": _compiled},
    )
    engine.dialect = _dialect()
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: sqlite3.Connection, _entry: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # transactions begin where `_begin` says, not where the driver guesses
    _to_wal(connection)
    for pragma in ("synchronous=FULL", "fullfsync=ON", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _to_wal(connection: sqlite3.Connection) -> None:
    """Switching a new file to WAL does not wait for a process that is doing the same: SQLite says busy at once."""
    give_up = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if not error.sqlite_errorname.startswith("SQLITE_BUSY") or time.monotonic() > give_up:
                raise
            time.sleep(0.005)


def _begin(connection: Connection) -> None:
    # A transaction that reads first and writes later could find that another process wrote between: it locks at once.
    writing = connection.get_execution_options().get(WRITING, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


@contextlib.contextmanager
def restructuring(engine: Engine) -> Iterator[None]:
    """Inside, foreign keys are not enforced: SQLite changes a table by copying and dropping it, while other tables
    refer to it. Only outside of a transaction can that be switched."""
    _foreign_keys(engine, "OFF")
    try:
        yield
    finally:
        _foreign_keys(engine, "ON")


def _foreign_keys(engine: Engine, word: str) -> None:
    connection = engine.raw_connection()
    connection.cursor().execute(f"PRAGMA foreign_keys={word}")
    connection.close()


def translate(error: DBAPIError, path: Path) -> OvernightError:
    """The error as one of ours; the message names the file and never what was to be stored."""
    cause = error.orig
    name = getattr(cause, "sqlite_errorname", None) or "SQLITE_ERROR"
    if name.startswith("SQLITE_CONSTRAINT"):
        return Conflict(f"the store refused a record ({path}): {cause}")
    if name.startswith(_LOCAL):
        return LocalError(f"the store cannot be used ({path}): {cause}: free the disk or make it writable, then go on")
    if name.startswith(_DAMAGED):
        return LocalError(f"the store cannot be read ({path}): {cause}: restore it from a copy, or name another home")
    if name.startswith("SQLITE_BUSY"):
        return StoreError(f"another process kept the store locked for {BUSY_SECONDS:.0f} s ({path}): try again")
    return StoreError(f"the store failed ({path}): {cause}")
