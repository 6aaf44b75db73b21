"""The server is killed before and after every call it makes to store, blobs and journal, and started again."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import shutil
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from overnight.blobs.files import FileBlobs
from overnight.blobs.journal import FileJournal
from overnight.clock import SystemClock
from overnight.engine.executor import Executor
from overnight.ports import Blobs, ObjectStore, Stored, UpstreamReply
from overnight.server.files import Files
from overnight.server.gemini_files import GeminiFiles
from overnight.server.lives import Lives
from overnight.server.models import Models
from overnight.server.records import BATCH, FILE, BatchRecord, FileRecord, decode_batch, decode_file, encode, file_blob
from overnight.server.sweep import Sweep
from overnight.stores.database import Database
from overnight.stores.objects import SqlObjects
from overnight.testing.crashes import When, World
from overnight.upstreams.fake import FakeUpstream
from tests.server.running import chat_line, jsonl

ROWS = 3
CONCURRENCY = 2
BATCH_ID = "batch_" + "a" * 32


class Counting(FakeUpstream):
    """The fake, which notes what it ran."""

    def __init__(self) -> None:
        super().__init__(concurrency=CONCURRENCY)
        self.ran: Counter[str] = Counter()

    async def answer(self, endpoint: str, body: bytes) -> UpstreamReply:
        self.ran[json.loads(body)["messages"][0]["content"]] += 1
        return await super().answer(endpoint, body)


class Home:
    """A home, and servers without HTTP that live in it one after the other."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.blobs = FileBlobs(root / "blobs")
        self.upstream = Counting()
        self.clock = SystemClock()
        self.objects = SqlObjects(Database(root / "server.db"))

    async def live(self, world: World, status: str = "completed") -> BatchRecord | None:
        """One life: until the batch is over, or the world is dead (then None)."""
        journals: list[FileJournal] = []

        def journal(name: str) -> Any:
            journals.append(FileJournal(self.root / "blobs" / name))
            return world.wrap("journal", journals[-1])

        objects, blobs = world.wrap("objects", self.objects), world.wrap("blobs", self.blobs)
        executor = Executor(self.upstream, blobs, journal, self.clock)
        models = Models(self.upstream, self.clock, any_name=True)
        lives = Lives(objects, blobs, executor, models, self.clock)
        google = GeminiFiles(objects, blobs, self.clock, lives.reads)
        sweep = Sweep(objects, blobs, self.clock, Files(objects, blobs, self.clock, lives.reads), google)
        try:
            begun = asyncio.create_task(self.begin(sweep, lives, objects, blobs))
            while not world.dead:
                if (over := await self.over(status)) is not None and not self.reads(lives):
                    return over
                await asyncio.sleep(0.001)
            return None
        finally:
            await asyncio.gather(begun, return_exceptions=True)
            async with asyncio.timeout(20):
                while self.reads(lives):
                    await asyncio.sleep(0)
            await lives.close()
            for opened in journals:
                await opened.close()

    async def begin(self, sweep: Sweep, lives: Lives, objects: ObjectStore, blobs: Blobs) -> None:
        """What a process does first."""
        await sweep.orphans()
        await lives.start()

    async def over(self, status: str) -> BatchRecord | None:
        """The batch, if it has come to this end."""
        stored = await self.objects.get(BATCH, "", BATCH_ID)
        assert stored is not None
        return decode_batch(stored.doc) if stored.state == status else None

    def reads(self, lives: Lives) -> bool:
        """Something is still being done."""
        return lives.reads("file-in")

    async def seed(self, status: str) -> None:
        """An uploaded file and a batch of it."""
        content = jsonl([chat_line(f"id-{i}", f"text-{i}", n=2 if i == 1 else 1) for i in range(ROWS)])
        with self.blobs.create(file_blob("file-in")) as writer:
            writer.write(content)
            writer.commit()
        now = int(self.clock.now())
        file = FileRecord(
            id="file-in", size=len(content), created_at=now, filename="in.jsonl", purpose="batch", expires_at=None
        )
        batch = BatchRecord(
            id=BATCH_ID,
            endpoint="/v1/chat/completions",
            input_file="file-in",
            status=status,
            created_at=now,
            expires_at=now + 86_400,
        )
        await self.objects.insert(FILE, "", file.id, file.purpose, now, encode(file))
        await self.objects.insert(BATCH, "", batch.id, batch.status, now, encode(batch))
        await self.objects.close()

    async def files(self) -> list[str]:
        """Blobs of the files that the store knows."""
        page = await self.objects.list(FILE, None, None, 100)
        return sorted(decode_file(stored.doc).blob for stored in page)

    def lines(self, file_id: str | None) -> list[dict[str, Any]]:
        if file_id is None:
            return []
        with self.blobs.open(file_blob(file_id)) as file:
            return [json.loads(line) for line in file]


def forget_garbage() -> None:
    """The searches for garbage to come, one a death, look only at what is made from now on."""
    gc.collect()
    gc.freeze()


def killed(world: World, home: Home, status: str) -> None:
    """A life that ends at the world's call. What a killed process leaves to the system is closed here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        logging.disable()  # records of the crash would keep its files open
        asyncio.run(home.live(world, status))
        world.bury()
        gc.collect()
        logging.disable(logging.NOTSET)


@pytest.mark.parametrize(
    ("begins", "ends", "when"),
    [
        ("validating", "completed", "before"),
        ("validating", "completed", "after"),
        ("cancelling", "cancelled", "after"),
    ],
)
def test_killed_at_every_call(tmp_path: Path, begins: str, ends: str, when: When) -> None:
    forget_garbage()
    asyncio.run(Home(tmp_path / "seed").seed(begins))
    for at in range(1, 200):
        shutil.copytree(tmp_path / "seed", tmp_path / f"{at}")
        home = Home(tmp_path / f"{at}")
        world = World(at, when)
        killed(world, home, ends)
        home.blobs = FileBlobs(home.root / "blobs")
        asyncio.run(restarted(home, ends, world))
        if not world.dead:
            break
    assert 20 < at < 100


async def restarted(home: Home, ends: str, world: World) -> None:
    record = await home.live(World(), ends)
    assert record is not None
    good, bad = home.lines(record.output_file), home.lines(record.error_file)
    ids = [line["custom_id"] for line in (*good, *bad)]
    assert sorted(ids) == [f"id-{i}" for i in range(ROWS)], world.calls[-1]
    assert record.counts.total == ROWS
    if ends == "completed":
        assert (len(good), len(bad)) == (record.counts.succeeded, record.counts.errored) == (ROWS - 1, 1)
        assert set(home.upstream.ran) == {f"text-{i}" for i in range(ROWS)}
    else:
        assert (len(good), record.counts.canceled) == (0, ROWS)
        assert not home.upstream.ran
    assert home.upstream.ran.total() <= ROWS + CONCURRENCY, world.calls[-1]
    root = home.root / "blobs"
    left = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    assert left == await home.files(), world.calls[-1]
    await home.objects.close()


class Late(SqlObjects):
    """A store whose answer to the start of a batch comes late."""

    def __init__(self, path: Path) -> None:
        super().__init__(Database(path))
        self.started = asyncio.Event()
        self.told = asyncio.Event()

    async def update(self, old: Stored, state: str, doc: bytes) -> Stored:
        new = await super().update(old, state, doc)
        if state == "in_progress":
            self.started.set()
            await self.told.wait()
        return new


def test_a_cancel_between_start_and_intake_is_not_lost(tmp_path: Path) -> None:
    home = Home(tmp_path)
    asyncio.run(home.seed("validating"))

    async def play() -> None:
        objects = Late(tmp_path / "server.db")
        executor = Executor(home.upstream, home.blobs, lambda name: FileJournal(tmp_path / "blobs" / name), home.clock)
        lives = Lives(objects, home.blobs, executor, Models(home.upstream, home.clock, any_name=True), home.clock)
        await lives.start()
        await asyncio.wait_for(objects.started.wait(), 20)
        await lives.cancel("", BATCH_ID, lambda old: msgspec.structs.replace(old, status="cancelling"))
        objects.told.set()
        async with asyncio.timeout(20):
            while lives.reads("file-in"):
                await asyncio.sleep(0)
        stored = await objects.get(BATCH, "", BATCH_ID)
        assert stored is not None
        assert stored.state == "cancelled"
        await lives.close()
        await objects.close()

    asyncio.run(play())
    assert not home.upstream.ran
