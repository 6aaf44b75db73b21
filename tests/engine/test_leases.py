"""Who owns a job."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from overnight.api.running import JobBusy
from overnight.core.machine import SubmitAbsent, evolve
from overnight.engine.runner import EndReason, take
from overnight.engine.work import planned_batch
from overnight.ports import Changes, Submission
from overnight.spec import BatchSize, Policy, Prompt, Spec
from overnight.stores import open_store
from overnight.testing.histories import MODEL
from overnight.testing.openai_direct import DirectProvider
from overnight.testing.openai_fake import Quirks
from overnight.testing.plays import Stage, play
from overnight.testing.virtual_time import VirtualClock
from overnight.types import JobView, RemoteBatch
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


class Heir:
    """Takes the job over while the first batch is being created, and five sleeps later, each of which lasts a moment
    for real, declares that submission absent."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.sleeps = -1

    async def takes_over(self) -> None:
        self.store = open_store(self.stage.home / "overnight.db", self.stage.clock.now)
        (job,) = await self.store.jobs()
        lease = await self.store.acquire(f"job/{job.id}", "heir", 1e9, dead="process-1")
        assert lease is not None
        self.job_id, self.lease, self.sleeps = job.id, lease, 0

    async def slept(self) -> None:
        if not 0 <= self.sleeps < 5:
            return
        self.sleeps += 1
        await asyncio.sleep(0.1)  # the lease is kept in real time
        if self.sleeps == 5:
            (batch,) = (await self.store.view(self.job_id, 0.0, 0)).open
            absent = evolve(batch, SubmitAbsent(self.stage.clock.now()))
            anew = planned_batch(batch.shard, "openai", "openai", lambda: uuid4().hex, now=0.0, rank=0)
            await self.store.commit(self.lease, Changes(batches=(absent,), new_batches=(anew,)))
            await self.store.release(self.lease)
            await self.store.close()


def test_what_was_created_is_taken_back_even_where_that_lasts_longer_than_the_lease(tmp_path: Path) -> None:
    stage = staged(tmp_path, SPEC, 3, Quirks())
    stage.lease = 1.0
    stage.fake.takes = 120.0  # type: ignore[attr-defined]
    heir = Heir(stage)

    class Creating(DirectProvider):
        async def create(self, submission: Submission) -> RemoteBatch:
            made = await super().create(submission)
            if heir.sleeps < 0:
                await heir.takes_over()
            return made

    class Sleeping(VirtualClock):
        async def sleep(self, seconds: float) -> None:
            await super().sleep(seconds)
            await heir.slept()

    stage.clock = Sleeping()
    stage.fake.now = stage.clock.now  # type: ignore[attr-defined]
    stage.direct = Creating
    assert play(stage).reason is EndReason.FINISHED
    assert heir.sleeps == 5
    assert [batch.status for batch in stage.fake.made.values()] == ["cancelled", "completed"]


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
