"""The Gemini API: a process that dies at any call to the outside, and answers that are lost, late or repeated."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from overnight.engine.runner import EndReason
from overnight.spec import BatchSize, Policy, Prompt, Spec
from overnight.testing.crashes import When, World
from overnight.testing.gemini_direct import DirectGemini
from overnight.testing.gemini_fake import BEST, FakeGemini, Quirks
from overnight.testing.plays import Stage, play, set_stage
from overnight.testing.virtual_time import VirtualClock

# A process that is killed closes no file; here that shows as a warning when the garbage is collected.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

ROWS = 12
SPEC = Spec(
    model="gemini/gemini-2.5-flash",
    prompt=Prompt(user="{{ text }}"),
    batch=BatchSize(rows=4),
    policy=Policy(poll=15),
)
STEP = 23


def word(ordinal: int, turn: int) -> str:
    """Rows 0, 5 and 10 fail once, row 3 for good."""
    if ordinal == 3:
        return "400"
    return "500" if ordinal % 5 == 0 and turn == 0 else "ok"


def stage(root: Path, quirks: Quirks = BEST) -> Stage:
    clock = VirtualClock()
    return set_stage(root, ROWS, FakeGemini(clock.now, quirks, rows=word, takes=20), clock, SPEC, DirectGemini)


def judge(played: Stage) -> None:
    verdict = asyncio.run(played.verdict())
    assert verdict.keys == [f"k{number}" for number in range(ROWS)]
    assert verdict.statuses == {"succeeded": ROWS - 1, "errored": 1}
    assert verdict.executed_twice == []
    assert verdict.answered_twice == []
    assert verdict.booked == verdict.invoice
    assert verdict.unknown_rows == 0
    assert verdict.files_left == []


@pytest.mark.parametrize("when", ["before", "after"])
def test_death_at_calls_all_over_a_life(tmp_path: Path, when: When) -> None:
    world = World()
    whole = stage(tmp_path / "whole")
    assert play(whole, [world]).reason is EndReason.FINISHED
    judge(whole)
    assert len(world.calls) > 150
    for at in range(1, len(world.calls) + 1, STEP):
        deadly = World(at, when)
        survivor = stage(tmp_path / f"{at}")
        assert play(survivor, [deadly]).reason is EndReason.FINISHED, f"death {when} call {at}: {deadly.calls[-1]}"
        assert deadly.dead
        try:
            judge(survivor)
        except AssertionError as error:
            raise AssertionError(f"death {when} call {at}, {deadly.calls[-1]}") from error


@pytest.mark.parametrize(
    "quirks",
    [
        Quirks(lost_creates=frozenset(range(4))),
        Quirks(failed_creates=frozenset(range(4)), list_lag=30.0),
        Quirks(late_creates={0: 30.0, 2: 500.0}),
        Quirks(late_creates={1: 5_000.0}),
        Quirks(lost_pieces=frozenset({0, 2}), file_lag=20.0),
        Quirks(bursts=frozenset(range(5, 60, 4))),
        Quirks(cut_downloads=frozenset({0, 1, 2})),
        Quirks(inline=True, shuffled=True, lost_creates=frozenset({1})),
    ],
)
def test_answers_lost_and_delayed(tmp_path: Path, quirks: Quirks) -> None:
    played = stage(tmp_path, quirks)
    assert play(played).reason is EndReason.FINISHED
    judge(played)
