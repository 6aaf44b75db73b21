"""Who owns a job."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from overnight.api.running import JobBusy
from overnight.engine.runner import EndReason, take
from overnight.spec import BatchSize, Policy, Prompt, Spec
from overnight.stores import open_store
from overnight.testing.histories import MODEL
from overnight.testing.openai_fake import Quirks
from overnight.types import JobView
from tests.engine.acting import opened, staged

SPEC = Spec(model=MODEL, prompt=Prompt(user="{{ text }}"), batch=BatchSize(rows=3), policy=Policy(poll=15))


def test_of_two_that_find_the_owner_dead_the_slower_does_not_rob_the_faster(tmp_path: Path) -> None:
    class Slow:
        """A store whose answers to `holder` come late: meanwhile somebody else takes the lease."""

        def __init__(self, store: Any) -> None:
            self.acquire = store.acquire
            self._store = store

        async def holder(self, name: str) -> Any:
            seen = await self._store.holder(name)
            assert await take(self._store, name, "faster", 60, lambda owner: owner == "dead") is not None
            return seen

    async def act() -> None:
        store: Any = open_store(tmp_path / "overnight.db", lambda: 1000.0)
        await store.acquire("job/x", "dead", 60)
        slow: Any = Slow(store)
        assert await take(slow, "job/x", "slower", 60, lambda owner: owner == "dead") is None
        holder = await store.holder("job/x")
        assert holder.owner == "faster"
        await store.close()

    asyncio.run(act())


def test_one_client_asked_twice_works_once(tmp_path: Path) -> None:
    stage = staged(tmp_path, SPEC, 6, Quirks())
    stage.clock.parties = 2
    watched: list[JobView] = []

    async def act() -> None:
        async with opened(stage) as client:
            preview = await client.prepare(stage.spec)
            job = await client.approve(preview)
            first = asyncio.create_task(client.run(job.id))
            second = asyncio.create_task(client.run(job.id, on_watch=watched.append))
            await asyncio.sleep(0)
            with pytest.raises(JobBusy):
                await client.retry(job.id)
            await asyncio.wait({first, second}, return_when=asyncio.FIRST_COMPLETED)
            stage.clock.leave()
            ends = await asyncio.gather(first, second)
            assert [end.reason for end in ends] == [EndReason.FINISHED] * 2

    asyncio.run(asyncio.wait_for(act(), 20))
    assert watched
    assert stage.fake.executed_twice() == []
