"""Two processes on one job: one owner at a time, and a stopped one that wakes up does no harm."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from overnight.engine.runner import EndReason
from overnight.testing.crashes import StoppedWorld, World
from overnight.testing.histories import RATES
from overnight.testing.openai_fake import BEST, FakeOpenAI, Quirks
from overnight.testing.plays import Stage, set_stage
from overnight.testing.virtual_time import VirtualClock
from tests.engine.test_crashes import ROWS, SPEC, judged, word

LEASE = 3_600.0  # of the plays


def two(root: Path, quirks: Quirks = BEST) -> Stage:
    clock = VirtualClock(parties=2)
    fake = FakeOpenAI(clock.now, quirks, rows=word, takes=20, rates=RATES)
    return set_stage(root, ROWS, fake, clock, SPEC)


def test_the_second_watches_while_the_first_works(tmp_path: Path) -> None:
    stage = two(tmp_path)
    second = World()
    ends = asyncio.run(stage.live_both(World(), second, 5.0))
    assert [end.reason for end in ends] == [EndReason.FINISHED] * 2
    assert not any(call.startswith("provider.") for call in second.calls)
    judged(stage)


@pytest.mark.parametrize("late", ["fail", "drop"])
@pytest.mark.parametrize(
    "wakes",
    [
        LEASE / 2,  # before anybody took over
        LEASE + 30,  # while the new owner waits
        LEASE + 190,  # behind the fence
        LEASE + 250,  # after absence was declared
        3 * LEASE,  # after all is done
    ],
)
def test_one_is_stopped_in_the_middle_of_a_create_and_woken(tmp_path: Path, wakes: float, late: str) -> None:
    stage = two(tmp_path, Quirks(late_orphans="fail" if late == "fail" else "drop"))
    stopped = StoppedWorld("provider.create", 2, wakes, stage.clock)
    ends = asyncio.run(stage.live_both(stopped, World(), 5.0))
    assert [end.reason for end in ends] == [EndReason.FINISHED] * 2
    verdict = judged_with_late(stage)
    assert verdict == []


def judged_with_late(stage: Stage) -> list[str]:
    judged(stage)
    unpaid = {batch.id for batch in stage.fake.made.values() if batch.status == "failed"}
    return sorted(unpaid & set(stage.fake.paid_batches()))
