import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from overnight.stores import open_store
from overnight.stores.store import SqlStore
from overnight.testing.store_reading_suite import StoreReadingSuite
from overnight.testing.store_suite import StoreSuite


class SqlitePlace:
    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.path = tmp_path / "home" / "state.db"

    def open(self, now: Callable[[], float]) -> SqlStore:
        return open_store(self.path, now)

    def count(self, table: str) -> int:
        connection = sqlite3.connect(self.path)
        (rows,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
        connection.close()
        return rows


class TestSqliteStore(SqlitePlace, StoreSuite):
    pass


class TestSqliteStoreReading(SqlitePlace, StoreReadingSuite):
    pass
