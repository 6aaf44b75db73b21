"""Histories: one seed gives a job, the provider's moods, faults of store and disk, and the moments at which processes
die. A history is right when the books of both sides agree in the end, whatever happened on the way."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from overnight.core.cost import Rates
from overnight.engine.runner import End, EndReason
from overnight.errors import LocalError, StoreError
from overnight.spec import BatchSize, Policy, Prompt, Spec
from overnight.testing.crashes import When, World
from overnight.testing.openai_fake import FakeOpenAI, Quirks
from overnight.testing.plays import Stage, Verdict, set_stage
from overnight.testing.virtual_time import VirtualClock

RATES = Rates(375_000, 37_500, 2_250_000)
"""Batch prices of gpt-5.4-mini, so that the job's books and the fake's invoice can be compared to the last digit."""
MODEL = "openai/gpt-5.4-mini"
ENDINGS = ("ok",) * 12 + (
    "500",
    "429",
    "400",
    "truncated",
    "refused",
    "empty",
    "missing",
    "zero",
    "duplicate",
    "foreign",
)
AT_LEAST_ONCE = ("500", "429", "missing", "zero", "empty")
"""Endings after which a row goes out again by itself."""


class FaultyWorld(World):
    """A world in which calls to store and blobs sometimes fail before they do anything, and nobody dies of it."""

    def __init__(self, at: int | None, when: When, chance: float, draw: Callable[[], float]) -> None:
        super().__init__(at, when)
        self._chance = chance
        self._draw = draw

    def before(self, name: str) -> bool:
        """As in a sound world, but for the faults."""
        dies = super().before(name)
        if not dies and name in _MAY_FAIL and self._draw() < self._chance:
            raise _MAY_FAIL[name]("made to fail")
        return dies


_MAY_FAIL: dict[str, type[StoreError | LocalError]] = {
    "store.commit": StoreError,
    "store.view": StoreError,
    "blobs.create": LocalError,
    "blobs.create.write": LocalError,
    "blobs.create.commit": LocalError,
}


@dataclass(frozen=True, slots=True)
class History:
    """What came of a seed."""

    seed: int
    end: End
    verdict: Verdict
    stage: Stage
    rows: int
    repeats: bool  # the provider itself may have made two batches of one create: it runs those rows twice

    def problems(self) -> list[str]:
        """What is wrong; empty where the books are right."""
        verdict, found = self.verdict, []
        if self.end.reason is not EndReason.FINISHED:
            found.append(f"ended as {self.end.reason}: {self.end.hold or self.end.failure}")
        if verdict.keys != [f"k{number}" for number in range(self.rows)]:
            found.append(f"rows are not the source's: {len(verdict.keys)} of {self.rows}")
        if verdict.executed_twice and not self.repeats:
            found.append(f"requests paid twice: {verdict.executed_twice}")
        if verdict.answered_twice and not self.repeats:
            found.append(f"rows bought again after a good answer: {verdict.answered_twice}")
        if verdict.unknown_rows == 0 and verdict.booked != verdict.invoice:
            found.append(f"booked {verdict.booked}, invoice {verdict.invoice}")
        if verdict.booked > verdict.invoice:
            found.append(f"booked {verdict.booked}, more than the invoice {verdict.invoice}")
        if verdict.files_left:
            found.append(f"files left at the provider: {verdict.files_left}")
        return found


def history(seed: int, root: Path) -> History:
    """Play a seed in an empty folder."""
    dice = random.Random(seed)
    rows = dice.choice((1, 3, 12, 12, 25))
    clock = VirtualClock()
    endings = {(row, turn): dice.choice(ENDINGS) for row in range(rows) for turn in range(10)}
    quirks = _quirks(dice)
    fake = FakeOpenAI(
        clock.now,
        quirks,
        rows=lambda ordinal, turn: endings.get((ordinal, turn), "ok"),
        takes=dice.choice((5.0, 60.0, 4000.0)),
        rates=RATES,
    )
    spec = Spec(
        model=MODEL,
        prompt=Prompt(user="{{ text }}"),
        batch=BatchSize(rows=dice.choice((1, 4, 10)), in_flight=dice.choice((1, 2, 8))),
        policy=Policy(brake=None, poll=dice.choice((None, 30.0)), retries=dice.choice((0, 1, 2)), max_paid=10),
    )
    stage = set_stage(root, rows, fake, clock, spec)
    worlds = [_world(dice) for _ in range(dice.choice((0, 1, 1, 2, 3)))]
    end = asyncio.run(stage.live_on(worlds))
    return History(seed, end, asyncio.run(stage.verdict()), stage, rows, bool(quirks.repeated_creates))


def _world(dice: random.Random) -> World:
    at = dice.randint(1, 300)
    when: When = "before" if dice.random() < 0.5 else "after"
    if dice.random() < 0.3:
        return FaultyWorld(at, when, 0.01, random.Random(dice.random()).random)
    return World(at, when)


def _quirks(dice: random.Random) -> Quirks:
    def some(most: int, chance: float) -> frozenset[int]:
        return frozenset(number for number in range(most) if dice.random() < chance)

    lost = some(20, 0.15)
    repeated = some(20, 0.3) & lost if dice.random() < 0.2 else frozenset()
    return Quirks(
        validating=dice.choice((0.0, 0.0, 30.0)),
        finalizing=dice.choice((0.0, 5.0)),
        window=dice.choice((86_400.0, 86_400.0, 50.0)),
        file_lag=dice.choice((0.0, 0.0, 3.0)),
        list_lag=dice.choice((0.0, 0.0, 20.0)),
        empty_ids=dice.random() < 0.3,
        lost_uploads=some(20, 0.1),
        lost_creates=lost,
        failed_creates=some(20, 0.05),
        repeated_creates=repeated,
        late_creates={number: dice.choice((5.0, 50.0, 500.0)) for number in some(20, 0.1)},
        late_orphans=dice.choice(("fail", "drop")),
        cut_downloads=some(30, 0.1),
        bursts=some(300, 0.03),
        token_limit=dice.choice((None, None, 60)),
        token_limit_at_create=dice.random() < 0.5,
    )
