import asyncio
import re
import shutil
import sqlite3
from pathlib import Path

import pytest

from overnight.errors import Conflict, LocalError
from overnight.ports import Changes, Lease
from overnight.stores import open_store
from overnight.stores.schema import HEAD
from overnight.testing.examples import JOB, a_batch, a_job, a_shard, planned
from overnight.types import BatchState


def _schema(path: Path) -> dict[tuple[str, str], list[str]]:
    """Every table and index; of a table its columns in order and its constraints in any."""
    connection = sqlite3.connect(path)
    found = connection.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    connection.close()
    schema = {}
    for kind, name, sql in found:
        parts = [" ".join(part.split()) for part in re.split(r",\s*\n", sql)]
        schema[kind, name] = parts if kind == "index" else [parts[0], *sorted(part.rstrip(") ") for part in parts[1:])]
    return schema


def _stamped(path: Path, revision: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
    connection.execute("INSERT INTO alembic_version VALUES (?)", (revision,))
    connection.commit()
    connection.close()


def test_the_schema_made_at_once_is_the_one_that_migrations_lead_to(tmp_path: Path) -> None:
    from sqlalchemy import create_engine

    from overnight.stores.migrations import known, upgrade

    asyncio.run(open_store(tmp_path / "made.db").close())
    engine = create_engine(f"sqlite:///{tmp_path}/migrated.db")
    with engine.begin() as connection:
        upgrade(connection)
    engine.dispose()
    made = _schema(tmp_path / "made.db")
    assert len(made) > 20
    assert made == _schema(tmp_path / "migrated.db")
    assert HEAD in known()


SECOND = """
from alembic import op
revision, down_revision = "0002", "0001"
def upgrade():
    with op.batch_alter_table("batches") as batches:  # copied, dropped and renamed, while `tallies` refers to it
        batches.create_check_constraint("version", "version >= 0")
"""


def test_an_older_store_is_migrated_when_it_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from overnight.stores import migrations

    batch = a_batch("b", a_shard("s"), BatchState.COLLECTED)
    assert batch.totals is not None

    async def write() -> None:
        store = open_store(tmp_path / "s.db", lambda: 1000.0)
        await store.create_job(a_job())
        lease = await store.acquire("job", "a", 60)
        assert lease is not None
        await store.commit(lease, planned([batch]))
        await store.close()

    async def read() -> None:
        store = open_store(tmp_path / "s.db")
        assert await store.job(JOB) == a_job()
        assert await store.batch(batch.id) == batch
        assert (await store.totals(JOB)).kinds == batch.totals.kinds
        with pytest.raises(Conflict):  # what a table refers to is looked after again
            await store.commit(Lease("job", "a", 1, 0.0), Changes(new_batches=(a_batch("new", a_shard("none")),)))
        await store.close()

    asyncio.run(write())
    before = _schema(tmp_path / "s.db")
    later = tmp_path / "later"
    shutil.copytree(migrations.HERE, later, ignore=shutil.ignore_patterns("__pycache__"))
    (later / "versions" / "v0002.py").write_text(SECOND)
    monkeypatch.setattr(migrations, "HERE", later)
    monkeypatch.setattr("overnight.stores.database.HEAD", "0002")
    asyncio.run(read())
    after = _schema(tmp_path / "s.db")
    assert after.pop(("table", "batches")) != before.pop(("table", "batches"))
    assert after == before
    asyncio.run(read())
    monkeypatch.undo()
    with pytest.raises(LocalError, match="schema 0002"):
        open_store(tmp_path / "s.db")


def test_a_store_of_a_newer_overnight_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    _stamped(path, "9999")
    before = _schema(path)
    with pytest.raises(LocalError, match=rf"a newer overnight wrote the store \({path}, schema 9999\): install"):
        open_store(path)
    assert _schema(path) == before


def test_another_programs_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE jobs (id)")
    connection.close()
    before = _schema(path)
    with pytest.raises(LocalError, match="belongs to another program"):
        open_store(path)
    assert _schema(path) == before
