"""A wall clock that is wrong, or is set right, costs neither a second payment nor a job that never goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from overnight.engine.runner import EndReason
from overnight.ports import Search
from overnight.spec import BatchSize, Policy, Prompt, Spec
from overnight.testing.histories import MODEL, RATES
from overnight.testing.openai_direct import DirectProvider
from overnight.testing.openai_fake import FakeOpenAI, Quirks
from overnight.testing.plays import Stage, set_stage
from overnight.testing.virtual_time import VirtualClock
from overnight.types import RemoteBatch
from tests.engine.acting import opened

HOUR = 3600.0
ROWS = 6
SPEC = Spec(model=MODEL, prompt=Prompt(user="{{ text }}"), batch=BatchSize(rows=3), policy=Policy(brake=None))


class WrongClock(VirtualClock):
    """`off`: seconds by which the wall clock is ahead of the provider's."""

    off = 0.0

    def now(self) -> float:
        """What this machine believes."""
        return super().now() + self.off

    def truth(self) -> float:
        """What the provider knows."""
        return super().now()


class Windowed(DirectProvider):
    """Finds nothing older than it is asked for, as the real adapter where there are many batches."""

    async def find(self, search: Search) -> Sequence[RemoteBatch]:
        """Those not older."""
        found = await super().find(search)
        return [batch for batch in found if (batch.created_at or 0) >= search.since - 300]


def stage(root: Path, quirks: Quirks, clock: WrongClock) -> Stage:
    fake = FakeOpenAI(clock.truth, quirks, takes=60.0, rates=RATES)
    return set_stage(root, ROWS, fake, clock, SPEC)


def life(played: Stage, until: int | None = None) -> EndReason:
    """A process, which stops once so many batches are made."""

    def stop() -> bool:
        return until is not None and len(played.fake.made) >= until

    async def act() -> EndReason:
        async with opened(played, Windowed) as client:
            preview = await client.prepare(played.spec)
            played.job_id = (await client.approve(preview)).id
            end = await client.run(played.job_id, stop=stop)
            if end.reason is EndReason.FINISHED:
                await client.export(played.job_id, played.output)
            played.dead.add(f"process-{played.lives}")
            return end.reason

    return asyncio.run(asyncio.wait_for(act(), 20))


def judged(played: Stage) -> None:
    verdict = asyncio.run(played.verdict())
    assert verdict.statuses == {"succeeded": ROWS}
    assert verdict.executed_twice == []
    assert len(played.fake.executions) == ROWS
    assert verdict.booked == verdict.invoice


def test_a_batch_that_was_sent_by_a_clock_that_is_hours_ahead_is_found(tmp_path: Path) -> None:
    clock = WrongClock()
    clock.off = 9 * HOUR
    played = stage(tmp_path, Quirks(lost_creates=frozenset({0, 1})), clock)
    assert life(played, until=2) is EndReason.STOPPED
    assert life(played) is EndReason.FINISHED
    judged(played)


def test_a_clock_that_is_set_right_after_sending_hides_nothing(tmp_path: Path) -> None:
    clock = WrongClock()
    clock.off = 400 * 24 * HOUR
    played = stage(tmp_path, Quirks(lost_creates=frozenset({0, 1})), clock)
    assert life(played, until=2) is EndReason.STOPPED
    clock.off = 0.0
    assert life(played) is EndReason.FINISHED
    judged(played)


def test_what_waits_for_its_quota_does_not_wait_for_a_clock_that_was_set_back(tmp_path: Path) -> None:
    clock = WrongClock()
    clock.off = 400 * 24 * HOUR
    played = stage(tmp_path, Quirks(token_limit=1), clock)
    assert life(played, until=2) is EndReason.STOPPED
    assert life(played, until=3) is EndReason.STOPPED  # both were put back
    clock.off = 0.0
    played.fake.quirks = Quirks()
    began = clock.elapsed()
    assert life(played) is EndReason.FINISHED
    assert clock.elapsed() - began < 3 * HOUR
    judged(played)
