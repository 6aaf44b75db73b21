"""A process that dies at any call to the outside, before or after it, loses no row and pays for none twice."""

from __future__ import annotations

import asyncio
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from overnight.engine.runner import EndReason
from overnight.spec import BatchSize, Policy, Prompt, Spec
from overnight.testing.crashes import When, World
from overnight.testing.histories import MODEL, RATES
from overnight.testing.openai_fake import BEST, FakeOpenAI, Quirks
from overnight.testing.plays import Stage, Verdict, play, set_stage
from overnight.testing.virtual_time import VirtualClock

# A process that is killed closes no file; here that shows as a warning when the garbage is collected.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

ROWS = 8
CREATES = 3  # two batches and one follow-up
SPEC = Spec(model=MODEL, prompt=Prompt(user="{{ text }}"), batch=BatchSize(rows=4), policy=Policy(poll=15))


def word(ordinal: int, turn: int) -> str:
    """Rows 0 and 5 fail once, row 3 for good."""
    if ordinal == 3:
        return "400"
    return "500" if ordinal % 5 == 0 and turn == 0 else "ok"


def stage(root: Path, quirks: Quirks = BEST) -> Stage:
    clock = VirtualClock()
    fake = FakeOpenAI(clock.now, quirks, rows=word, takes=20, rates=RATES)
    return set_stage(root, ROWS, fake, clock, SPEC)


def judged(played: Stage) -> Verdict:
    verdict = asyncio.run(played.verdict())
    assert verdict.keys == [f"k{number}" for number in range(ROWS)]
    assert verdict.statuses == {"succeeded": ROWS - 1, "errored": 1}
    assert verdict.executed_twice == []
    assert verdict.answered_twice == []
    assert verdict.booked == verdict.invoice
    assert verdict.unknown_rows == 0
    assert verdict.files_left == []
    return verdict


@cache
def calls_of_one_life() -> list[str]:
    world = World()
    with TemporaryDirectory() as folder:
        whole = stage(Path(folder))
        assert play(whole, [world]).reason is EndReason.FINISHED
        judged(whole)
    assert whole.fake.calls.count("create") == CREATES
    return world.calls


PARTS = 12
READING = frozenset(
    {
        *("blobs.free", "blobs.list", "blobs.open", "blobs.open.read", "blobs.open.readline", "blobs.open.seek"),
        *("blobs.reader", "provider.identify", "provider.status", "store.backlog", "store.contributing"),
        *("store.holder", "store.job", "store.jobs", "store.segments", "store.shards", "store.to_clean"),
        *("store.totals", "store.view"),
    }
)
"""Calls that change nothing: right after one the world is as it is right before the next."""


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("when", ["before", "after"])
def test_death_at_every_call(tmp_path: Path, when: When, part: int) -> None:
    calls = calls_of_one_life()
    assert len(calls) > 150
    deaths = [at for at, call in enumerate(calls, 1) if when == "before" or call not in READING]
    for at in deaths[part::PARTS]:
        world = World(at, when)
        survivor = stage(tmp_path / f"{at}")
        end = play(survivor, [world])
        assert world.dead, f"call {at} was never made"
        assert end.reason is EndReason.FINISHED, f"death {when} call {at}: {world.calls[-1]}"
        try:
            judged(survivor)
        except AssertionError as error:
            raise AssertionError(f"death {when} call {at}, {world.calls[-1]}") from error


@pytest.mark.parametrize(
    "quirks",
    [
        Quirks(lost_creates=frozenset(range(4))),
        Quirks(failed_creates=frozenset(range(4))),
        Quirks(lost_uploads=frozenset(range(4))),
        Quirks(repeated_creates=frozenset({1}), lost_creates=frozenset({1})),
        Quirks(late_creates={0: 30.0, 2: 30.0}),
        Quirks(late_creates={0: 500.0, 2: 5_000.0}),
        Quirks(late_creates={1: 500.0}, late_orphans="drop"),
        Quirks(list_lag=30.0, lost_creates=frozenset({0, 3})),
        Quirks(bursts=frozenset(range(5, 60, 3))),
        Quirks(cut_downloads=frozenset({0, 1, 2})),
        Quirks(file_lag=5.0),
    ],
)
def test_answers_lost_delayed_and_repeated(tmp_path: Path, quirks: Quirks) -> None:
    played = stage(tmp_path, quirks)
    assert play(played).reason is EndReason.FINISHED
    verdict = asyncio.run(played.verdict())
    assert verdict.keys == [f"k{number}" for number in range(ROWS)]
    assert verdict.statuses == {"succeeded": ROWS - 1, "errored": 1}
    repeated = bool(quirks.repeated_creates)  # the provider itself made two batches of one create
    assert verdict.executed_twice == [] or repeated
    assert verdict.booked == verdict.invoice
    assert verdict.unknown_rows == 0
