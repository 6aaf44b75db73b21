import asyncio
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, event

from overnight.errors import LocalError, StoreError, UsageError
from overnight.ports import Changes, Event
from overnight.stores import open_objects, open_store
from overnight.stores.objects import SqlObjects
from overnight.stores.store import SqlStore
from overnight.testing.examples import JOB, a_batch, a_job, a_shard, planned
from overnight.testing.object_store_suite import ObjectStoreSuite
from overnight.testing.store_reading_suite import StoreReadingSuite
from overnight.testing.store_suite import StoreSuite
from overnight.types import BatchState
from tests.blobs.small_disk import remount, small_disk


class SqlitePlace:
    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.path = tmp_path / "home" / "state.db"

    def open(self, now: Callable[[], float]) -> SqlStore:
        return open_store(self.path, now)

    def open_objects(self) -> SqlObjects:
        return open_objects(self.path)

    def count(self, table: str) -> int:
        ((rows,),) = _query(self.path, f"SELECT count(*) FROM {table}")
        return rows


class TestSqliteStore(SqlitePlace, StoreSuite):
    pass


class TestSqliteStoreReading(SqlitePlace, StoreReadingSuite):
    pass


class TestSqliteObjects(SqlitePlace, ObjectStoreSuite):
    pass


def _query(path: Path, sql: str, *values: object) -> list[tuple[int, ...]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(sql, values).fetchall()
    finally:
        connection.close()


def _run(script: str, *args: object) -> str:
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, args)], capture_output=True, text=True, check=True
    ).stdout


Sent = tuple[sqlite3.Connection, str, tuple[object, ...]]


@pytest.fixture
def statements() -> Iterator[list[Sent]]:
    """What is sent to the database from now on, by whomever, with the connection it is sent through."""
    seen: list[Sent] = []

    def note(connection: Connection, _cursor: object, sql: str, values: tuple[object, ...], *_: object) -> None:
        seen.append((connection.connection.dbapi_connection, sql, values))

    event.listen(Engine, "before_cursor_execute", note)
    yield seen
    event.remove(Engine, "before_cursor_execute", note)


def test_a_commit_is_on_the_disk_and_a_write_locks_at_once(tmp_path: Path, statements: list[Sent]) -> None:
    async def play() -> None:
        store = open_store(tmp_path / "s.db")
        await store.create_job(a_job())
        raw = statements[-1][0]
        told = [raw.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous", "foreign_keys")]
        assert told == ["wal", 2, 1]
        assert raw.execute("PRAGMA busy_timeout").fetchone()[0] == 30_000
        begins = [sql for _, sql, _ in statements if sql.startswith("BEGIN")]
        assert begins[-1] == "BEGIN IMMEDIATE"
        statements.clear()
        await store.job(JOB)
        assert [sql for _, sql, _ in statements if sql.startswith("BEGIN")] == ["BEGIN"]
        await store.close()
        await store.close()

    asyncio.run(play())


def test_nobody_else_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "home" / "s.db"
    store = open_store(path)
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o600}
    asyncio.run(store.close())
    path.chmod(0o644)
    asyncio.run(open_store(f"sqlite:///{path}").close())
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_view_of_a_big_job_loads_what_is_open_and_never_walks_the_ended(
    tmp_path: Path, statements: list[Sent]
) -> None:
    path = tmp_path / "s.db"

    async def play() -> None:
        store = open_store(path, lambda: 1000.0)
        await store.create_job(a_job())
        lease = await store.acquire("job", "a", 60)
        assert lease is not None
        states = [BatchState.COLLECTED] * 500 + [BatchState.PLANNED] * 200 + [BatchState.IN_PROGRESS] * 5
        batches = [a_batch(f"b{n}", a_shard(f"s{n}"), state) for n, state in enumerate(states)]
        done = [replace(batch, backlog_taken=True, cleaned=True) for batch in batches[:500]]
        await store.commit(lease, planned(done + batches[500:]))
        statements.clear()
        view = await store.view(JOB, 2000.0, 32)
        assert (len(view.open), len(view.ready), view.totals.ended) == (5, 32, 5000)
        await store.backlog(JOB, 100)
        await store.to_clean(JOB, 100)
        await store.close()

    asyncio.run(play())
    rows = 0
    for _, sql, values in statements:
        if not sql.startswith("SELECT"):
            continue
        rows += len(_query(path, sql, *values))
        if "GROUP BY batches.state" in sql:
            continue  # the one sum over all batches
        steps = [str(step[3]) for step in _query(path, f"EXPLAIN QUERY PLAN {sql}", *values)]
        assert all(step.startswith(("SEARCH", "USE TEMP B-TREE")) for step in steps), (sql, steps)
        assert not any(step.startswith("SEARCH batches USING INDEX ix_batches_order") for step in steps), (sql, steps)
    assert rows < 60


OPENING = """
import asyncio, sys
from dataclasses import replace
from overnight.ports import Event
from overnight.stores import open_store
from overnight.testing.examples import JOB, a_job
async def main():
    sys.stdin.read(1)
    store = open_store(sys.argv[1])
    await store.create_job(a_job())
    for _ in range(30):
        await store.ask(JOB, Event(JOB, 1.0, "asked"), lambda job: replace(job, priority=job.priority + 1))
    got = await store.acquire("job", sys.argv[2], 60)
    print("sqlalchemy" in sys.modules, "alembic" in sys.modules, got is not None)
    await store.close()
asyncio.run(main())
"""


def test_processes_that_open_a_new_store_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "home" / "s.db"
    running = [
        subprocess.Popen(
            [sys.executable, "-c", OPENING, path, str(n)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for n in range(3)
    ]
    told = [process.communicate("x")[0].split() for process in running]
    assert [words[:2] for words in told] == [["True", "False"]] * 3
    assert sorted(words[2] for words in told) == ["False", "False", "True"]
    assert _query(path, "SELECT version, priority FROM jobs") == [(90, 93)]
    assert _query(path, "SELECT count(*) FROM events") == [(90,)]


def test_opening_waits_for_a_process_that_is_opening_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = sqlite3.connect(tmp_path / "s.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")  # SQLite waits for such a lock, but not when it is to switch to WAL
    monkeypatch.setattr(time, "sleep", lambda _seconds: other.execute("ROLLBACK"))
    asyncio.run(open_store(tmp_path / "s.db").close())
    other.close()


def test_importing_loads_no_library_and_opening_what_exists_no_alembic(tmp_path: Path) -> None:
    asyncio.run(open_store(tmp_path / "s.db").close())
    script = """
import sys
import overnight.stores
before = sorted({"sqlalchemy", "alembic", "asyncio"} & set(sys.modules))
overnight.stores.open_store(sys.argv[1])
print(before, "alembic" in sys.modules)
"""
    assert _run(script, tmp_path / "s.db") == "[] False\n"


def test_a_full_disk_is_told_and_the_store_goes_on_when_there_is_room(tmp_path: Path) -> None:
    async def play(disk: Path) -> None:
        ballast = disk / "ballast"
        ballast.write_bytes(b"x" * 700_000)
        store = open_store(disk / "s.db")
        await store.create_job(a_job())
        told = replace(Event(JOB, 1.0, "made"), data={"text": "y" * 20_000})
        with pytest.raises(LocalError, match=rf"cannot be used \({disk}/s.db\).* full: free the disk") as caught:
            await _fill(store, told)
        assert "yyy" not in "".join(map(str, (caught.value, caught.value.__cause__)))
        ballast.unlink()
        job = await store.job(JOB)
        assert job is not None
        kept = len(await store.events(JOB))
        assert job.version == kept > 0
        await store.ask(JOB, told, lambda job: job)
        assert len(await store.events(JOB)) == kept + 1
        await store.close()

    with small_disk(tmp_path / "disk", "1536k") as disk:
        asyncio.run(play(disk))


async def _fill(store: SqlStore, told: Event) -> None:
    for _ in range(100):
        await store.ask(JOB, told, lambda job: replace(job, priority=job.priority + 1))


def test_what_cannot_be_opened_is_told(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database " * 100)
    with pytest.raises(LocalError, match=rf"cannot be read \({tmp_path}/text\).*restore it from a copy"):
        open_store(tmp_path / "text")
    with pytest.raises(LocalError, match=r"cannot be opened .*Is a directory"):
        open_store(tmp_path)
    with pytest.raises(LocalError, match=r"cannot be opened .*Not a directory"):
        open_store(tmp_path / "text" / "s.db")
    with pytest.raises(UsageError, match="no store speaks postgresql"):
        open_store("postgresql://user:secret@host/db")
    with small_disk(tmp_path / "disk", "1m") as disk:
        store = open_store(disk / "s.db")
        asyncio.run(store.create_job(a_job()))
        asyncio.run(store.close())
        remount(disk, "ro")
        with pytest.raises(LocalError, match="Read-only file system: make it a writable file"):
            open_store(disk / "s.db")


def test_a_store_that_another_process_keeps_locked_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("overnight.stores.sqlite.BUSY_SECONDS", 0.05)

    async def play() -> None:
        store = open_store(tmp_path / "s.db")
        await store.create_job(a_job())
        blocking = sqlite3.connect(tmp_path / "s.db", isolation_level=None)
        blocking.execute("BEGIN IMMEDIATE")
        assert await store.job(JOB) == a_job()  # readers do not wait for a writer
        with pytest.raises(StoreError, match="another process kept the store locked"):
            await store.acquire("job", "a", 60)
        blocking.execute("ROLLBACK")
        assert await store.acquire("job", "a", 60) is not None
        blocking.close()
        await store.close()

    asyncio.run(play())


def test_an_error_names_no_content(tmp_path: Path) -> None:
    async def play() -> None:
        store = open_store(tmp_path / "s.db")
        await store.create_job(a_job())
        lease = await store.acquire("job", "a", 60)
        assert lease is not None
        secret = replace(a_batch("b", a_shard("unknown")), filename="secret")
        with pytest.raises(StoreError) as caught:
            await store.commit(lease, Changes(new_batches=(secret,)))
        assert "secret" not in f"{caught.value} {caught.value.__cause__}"
        await store.close()

    asyncio.run(play())


def test_its_thread_ends_with_it(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    store = open_store(tmp_path / "s.db")
    asyncio.run(store.close())
    with pytest.raises(LocalError):
        open_store(tmp_path)
    assert set(threading.enumerate()) == before
