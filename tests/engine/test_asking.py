"""What is asked and not approved changes nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path

from overnight.engine.runner import EndReason
from overnight.spec import BatchSize, Policy, Prompt, Spec
from overnight.testing.crashes import World
from overnight.testing.histories import MODEL
from overnight.testing.openai_fake import Quirks
from overnight.testing.plays import play
from overnight.types import Job, Selection
from tests.engine.acting import opened, staged

SPEC = Spec(
    model=MODEL,
    prompt=Prompt(user="{{ text }}"),
    batch=BatchSize(rows=3),
    policy=Policy(poll=15, brake=None, retries=1),
)


def test_a_raised_limit_that_is_not_approved_sends_nothing(tmp_path: Path) -> None:
    stage = staged(tmp_path, SPEC, 6, Quirks(all_fail=False))
    stage.fake.rows = lambda ordinal, turn: "500" if turn == 0 else "ok"

    async def ask(limit: int, *, yes: bool) -> Job:
        async with opened(stage) as client:
            preview = await client.prepare(stage.spec, max_requests=limit)
            stage.job_id = preview.job.id
            await (client.approve(preview) if yes else client.discard(preview))
            return await client.job(preview.job.id)

    asyncio.run(ask(6, yes=True))
    assert asyncio.run(stage.live(World())).reason is EndReason.HELD  # the rows that failed would be over the limit
    held = asyncio.run(ask(100, yes=False))
    assert held.max_requests == 6
    assert held.hold is not None
    assert play(stage).reason is EndReason.HELD
    assert asyncio.run(ask(100, yes=True)).hold is None
    assert play(stage).reason is EndReason.FINISHED
    assert asyncio.run(stage.verdict()).statuses == {"succeeded": 6}


def test_a_plan_that_is_not_approved_leaves_the_approved_one_as_it_is(tmp_path: Path) -> None:
    stage = staged(tmp_path, SPEC, 6, Quirks())
    source = Path(str(stage.spec.source))

    async def ask(rows: int | None, *, yes: bool) -> None:
        async with opened(stage) as client:
            preview = await client.prepare(stage.spec, Selection(limit=rows))
            stage.job_id = preview.job.id
            await (client.approve(preview) if yes else client.discard(preview))

    asyncio.run(ask(3, yes=True))
    before = source.read_text()
    source.write_text(before.replace("\nk0,", "\nk9,one more\nk0,"))
    asyncio.run(ask(None, yes=False))  # nothing was sent, so all is read anew
    source.write_text(before)

    async def rows() -> list[tuple[str, str]]:
        async with opened(stage) as client:
            assert stage.job_id is not None
            await client.run(stage.job_id)
            return [(row["id"], row["answer"]) async for row in client.rows(stage.job_id)]

    assert asyncio.run(rows()) == [(f"k{number}", f"text number {number}") for number in range(3)]
