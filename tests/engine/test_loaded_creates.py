"""Requests that go with their create share one line: only so many batches leave at a time."""

from __future__ import annotations

import asyncio
from pathlib import Path

from overnight.engine.runner import EndReason
from overnight.engine.work import LOADED
from overnight.ports import Submission
from overnight.spec import BatchSize, Policy, Prompt, Spec
from overnight.testing.anthropic_direct import DirectAnthropic
from overnight.testing.anthropic_fake import RATES, FakeAnthropic
from overnight.testing.plays import play, set_stage
from overnight.testing.virtual_time import VirtualClock
from overnight.types import RemoteBatch


class Slow(DirectAnthropic):
    """Creates that let others go first for a while."""

    under_way = most = 0

    async def create(self, submission: Submission) -> RemoteBatch:
        Slow.under_way += 1
        Slow.most = max(Slow.most, Slow.under_way)
        for _ in range(100):
            await asyncio.to_thread(int)
        Slow.under_way -= 1
        return await super().create(submission)


def test_batches_that_carry_their_requests_leave_a_few_at_a_time(tmp_path: Path) -> None:
    clock = VirtualClock()
    fake = FakeAnthropic(clock.now, takes=60, rates=RATES)
    batch = BatchSize(rows=200, in_flight=3 * LOADED)  # shards of one job differ in their number of rows
    prompt, policy = Prompt(user="{{ text }}"), Policy(brake=None)
    spec = Spec(model="anthropic/claude-haiku-4-5", prompt=prompt, batch=batch, policy=policy)
    stage = set_stage(tmp_path, 500 * LOADED, fake, clock, spec, Slow)
    assert play(stage).reason is EndReason.FINISHED
    assert fake.calls.count("create") > 2 * LOADED
    assert Slow.most == LOADED
