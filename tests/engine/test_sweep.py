"""No file stays that nothing names: neither of a plan whose place another one took, nor of a process that died."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from overnight.blobs.files import FileBlobs
from overnight.engine.runner import EndReason
from overnight.errors import UsageError
from overnight.spec import BatchSize, Policy, Prompt, Spec
from overnight.stores import open_store
from overnight.testing.crashes import Crash, World
from overnight.testing.histories import MODEL
from overnight.testing.openai_fake import Quirks
from overnight.testing.plays import Stage, play
from overnight.types import Selection
from tests.engine.acting import opened, staged

SPEC = Spec(model=MODEL, prompt=Prompt(user="{{ text }}"), batch=BatchSize(rows=2), policy=Policy(poll=15))


def left_over(stage: Stage) -> list[str]:
    """Files of plans and shards that no record names."""

    async def named() -> set[str]:
        assert stage.job_id is not None
        store = open_store(stage.home / "overnight.db", stage.clock.now)
        try:
            shards = await store.shards(stage.job_id)
            blobs = {blob for shard in shards for blob in (shard.blob, shard.tries_blob)}
            for segment in await store.segments(stage.job_id):
                blobs |= {segment.rows_blob, segment.rows_blob.replace(".rows.jsonl", ".keys")}
            return {blob for blob in blobs if blob is not None}
        finally:
            await store.close()

    there = FileBlobs(stage.home / "blobs").list(f"jobs/{stage.job_id}/s")  # segments and shards
    return sorted(set(there) - asyncio.run(named()))


async def ask(stage: Stage, selection: Selection, *, yes: bool = True) -> None:
    """Plan so many rows and approve them; or leave the plan, as a process does that is killed at its question."""
    async with opened(stage) as client:
        preview = await client.prepare(stage.spec, selection)
        stage.job_id = preview.job.id
        if yes:
            await client.approve(preview)


def test_a_plan_takes_the_place_of_another_and_its_files_go(tmp_path: Path) -> None:
    stage = staged(tmp_path, SPEC, 6, Quirks())
    asyncio.run(ask(stage, Selection(limit=4)))
    asyncio.run(ask(stage, Selection(), yes=False))
    assert len(left_over(stage)) == 2 + 3
    asyncio.run(ask(stage, Selection()))
    assert left_over(stage) == []
    assert play(stage).reason is EndReason.FINISHED
    assert asyncio.run(stage.verdict()).statuses == {"succeeded": 6}


@pytest.mark.parametrize("at", [1, 2])
def test_what_a_dead_process_left_goes_when_the_job_ends(tmp_path: Path, at: int) -> None:
    stage = staged(tmp_path, SPEC, 6, Quirks())
    asyncio.run(ask(stage, Selection(limit=4)))
    with pytest.raises(Crash):
        asyncio.run(stage.live(World(at, "before", "blobs.delete")))
    assert len(left_over(stage)) == 2 + 2 - (at - 1)
    assert play(stage).reason is EndReason.FINISHED
    assert left_over(stage) == []
    assert asyncio.run(stage.verdict()).statuses == {"succeeded": 6}


def test_a_plan_whose_files_were_swept_cannot_be_approved(tmp_path: Path) -> None:
    stage = staged(tmp_path, SPEC, 6, Quirks())

    async def act() -> None:
        await ask(stage, Selection(limit=4))
        async with opened(stage) as client:
            slow = await client.prepare(stage.spec, Selection())
            stage.dead.add(f"process-{stage.lives}")
            await ask(stage, Selection(sample=2))
            await ask(stage, Selection(limit=4))  # what `slow` was made after, once more
            with pytest.raises(UsageError, match="run it again"):
                await client.approve(slow)

    asyncio.run(act())
    assert left_over(stage) == []
