"""A process that is stopped and woken, where nothing but its own care protects: no fence, and every file stays."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from overnight.engine.runner import EndReason
from overnight.spec import Policy
from overnight.testing.crashes import StoppedWorld, World
from overnight.testing.histories import RATES
from overnight.testing.openai_fake import BEST, FakeOpenAI, Quirks
from overnight.testing.plays import Stage, Verdict, set_stage
from overnight.testing.virtual_time import VirtualClock
from tests.engine.test_crashes import CREATES, ROWS, SPEC, word

LEASE = 60.0
CARE = msgspec.structs.replace(SPEC, policy=Policy(poll=15, fence=False, keep_remote=True))


def unfenced(root: Path, quirks: Quirks = BEST) -> Stage:
    clock = VirtualClock(parties=2)
    fake = FakeOpenAI(clock.now, quirks, rows=word, takes=20, rates=RATES)
    stage = set_stage(root, ROWS, fake, clock, CARE)
    stage.lease = LEASE
    return stage


def played(stage: Stage, stopped: World) -> Verdict:
    ends = asyncio.run(stage.live_both(stopped, World(), 5.0))
    assert [end.reason for end in ends] == [EndReason.FINISHED] * 2
    verdict = asyncio.run(stage.verdict())
    assert verdict.keys == [f"k{number}" for number in range(ROWS)]
    assert verdict.statuses == {"succeeded": ROWS - 1, "errored": 1}
    assert verdict.executed_twice == []
    assert verdict.answered_twice == []
    assert verdict.booked == verdict.invoice
    return verdict


def test_what_it_creates_too_late_it_cancels(tmp_path: Path) -> None:
    """It wakes long after its submission was declared absent, and its create goes through."""
    stage = unfenced(tmp_path)
    played(stage, StoppedWorld("provider.create", 2, 5_000.0, stage.clock))
    assert [batch.status for batch in stage.fake.made.values()].count("cancelled") == 1


@pytest.mark.parametrize("commit", range(1, 12))
def test_where_it_slept_over_the_deadline_it_creates_nothing(tmp_path: Path, commit: int) -> None:
    """Stopped when a commit is done, so also between the one that allows the create and the create."""
    stage = unfenced(tmp_path)
    played(stage, StoppedWorld("store.commit", commit, 5_000.0, stage.clock, "after"))
    assert stage.fake.calls.count("create") == CREATES


def test_a_stranger_waits_for_what_may_still_be_on_its_way(tmp_path: Path) -> None:
    """Its create left and reaches the provider minutes later; until the deadline of the create, a listing without it
    proves nothing to the new owner."""
    stage = unfenced(tmp_path, Quirks(late_creates={1: 250.0}))
    played(stage, StoppedWorld("provider.create", 2, 5_000.0, stage.clock, "after"))
    assert stage.fake.calls.count("create") == CREATES
