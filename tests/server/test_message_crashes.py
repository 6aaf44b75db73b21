"""A message batch whose server is killed before and after every call it makes, the create call's among them."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import pytest
from starlette.requests import Request

from overnight.ports import Blobs, ObjectStore
from overnight.server.lives import Lives
from overnight.server.opening import Opening
from overnight.server.records import MESSAGE_BATCH, BatchRecord, decode_batch, file_blob
from overnight.server.sweep import Sweep
from overnight.testing.crashes import When, World
from overnight.types import Counts, Endpoint
from overnight.wire import anthropic
from tests.server.test_crashes import CONCURRENCY, ROWS, Home, forget_garbage, killed


def line(number: int) -> bytes:
    messages = [{"role": "user", "content": f"text-{number}"}]
    params = {"model": "m", "max_tokens": 9, "messages": messages, **({"stream": True} if number == 1 else {})}
    return anthropic.request_line(f"id-{number}", Endpoint.MESSAGES, json.dumps(params).encode())


CALL = Request(
    {
        "type": "http",
        "method": "POST",
        "path": "/v1/messages/batches",
        "query_string": b"",
        "headers": [(b"host", b"here"), (b"idempotency-key", b"k")],
        "tenant": "",
    }
)


class MessageHome(Home):
    """Every life makes the same create call, with the same key. `names`: what the lives so far called their batches."""

    def __init__(self, root: Path, names: list[str]) -> None:
        super().__init__(root)
        self.names = names
        self.told: str | None = None

    async def begin(self, sweep: Sweep, lives: Lives, objects: ObjectStore, blobs: Blobs) -> None:
        await super().begin(sweep, lives, objects, blobs)
        name = f"msgbatch_{len(self.names):024d}"
        self.names.append(name)
        with await asyncio.to_thread(blobs.create, file_blob(name)) as writer:
            writer.write(b"".join(map(line, range(ROWS))))
            await asyncio.to_thread(writer.commit)
        now = int(self.clock.now())
        record = BatchRecord(
            id=name,
            endpoint=Endpoint.MESSAGES,
            input_file=name,
            status="in_progress",
            created_at=now,
            expires_at=now + 86_400,
            model="",
            counts=Counts(total=ROWS),
            family="anthropic",
        )
        opening = Opening(objects, blobs, lives, self.clock)
        self.told = (await opening.begin(CALL, record, "digest", own_rows=True)).id

    async def over(self, status: str) -> BatchRecord | None:
        """The only batch there is, once it is over, its rows are gone and the create call was answered."""
        page = await self.objects.list(MESSAGE_BATCH, None, None, 9)
        assert len(page) <= 1
        if not self.told or page[0].state != status:
            return None
        record = decode_batch(page[0].doc)
        return record if self.blobs.size(file_blob(record.input_file)) is None else None

    def reads(self, lives: Lives) -> bool:
        return any(map(lives.reads, self.names))


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_every_call(tmp_path: Path, when: When) -> None:
    forget_garbage()
    for at in range(1, 200):
        names: list[str] = []
        home = MessageHome(tmp_path / f"{at}", names)
        world = World(at, when)
        killed(world, home, "completed")
        again = MessageHome(tmp_path / f"{at}", names)
        again.upstream = home.upstream
        asyncio.run(restarted(again, world))
        shutil.rmtree(tmp_path / f"{at}")
        if not world.dead:
            break
    assert 20 < at < 100


async def restarted(home: MessageHome, world: World) -> None:
    async with asyncio.timeout(20):
        record = await home.live(World(), "completed")
    assert record is not None
    assert home.told == record.id
    assert (record.counts.total, record.counts.succeeded, record.counts.errored) == (ROWS, ROWS - 1, 1)
    with home.blobs.open(record.results) as file:
        found = [json.loads(each) for each in file]
    assert [each["custom_id"] for each in found] == [f"id-{number}" for number in range(ROWS)], world.calls[-1]
    assert home.upstream.ran.total() <= ROWS - 1 + CONCURRENCY, world.calls[-1]
    left = {str(path.relative_to(home.root / "blobs")) for path in (home.root / "blobs").rglob("*") if path.is_file()}
    assert left == {record.results}, world.calls[-1]
    await home.objects.close()
