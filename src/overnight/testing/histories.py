"""Histories: one seed gives a job, the provider's moods, faults of provider, store and disk, and the moments at which
processes die. A history is right when the books of both sides agree in the end, whatever happened on the way."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from traceback import format_exception_only, format_tb

from overnight.core.cost import Rates
from overnight.engine.runner import End, EndReason
from overnight.errors import LocalError, OvernightError, ProviderError, StoreError
from overnight.ports import Clock
from overnight.spec import BatchSize, Policy, Prompt, Spec
from overnight.testing.anthropic_direct import DirectAnthropic
from overnight.testing.anthropic_shared import SharedAnthropic
from overnight.testing.books import Books
from overnight.testing.crashes import OPENING, When, World
from overnight.testing.openai_direct import DirectProvider
from overnight.testing.openai_fake import FakeOpenAI, Quirks
from overnight.testing.plays import Stage, Verdict, set_stage
from overnight.testing.shared_workspaces import SHARED_MODEL, reconcile, workspace
from overnight.testing.virtual_time import VirtualClock
from overnight.types import Failure, FailureKind
from overnight.wire.custom_ids import split_custom_id

RATES = Rates(375_000, 37_500, 2_250_000)
"""Batch prices of gpt-5.4-mini, so that the job's books and the fake's invoice can be compared to the last digit."""
MODEL = "openai/gpt-5.4-mini"
MEMORY = Path("/dev/shm")  # noqa: S108 - TemporaryDirectory makes a folder of its own there
"""Where a durable write costs nothing."""
LONGEST = 120.0
"""Real seconds after which a history is one that does not end; they take less than one."""
GOOD = ("ok", "duplicate", "foreign")
"""Words of a row that succeeds."""
FOR_GOOD = ("400", "truncated", "refused")
"""Words of a row that fails and is not sent again."""
ENDINGS = ("ok",) * 12 + (*GOOD[1:], *FOR_GOOD, "500", "429", "empty", "missing", "zero")


class FaultyWorld(World):
    """A world in which calls sometimes fail and nobody dies of it: before they do anything, or after they did all of
    it and only the caller hears of an error; and in which the provider is sometimes slow."""

    def __init__(self, at: int, when: When, name: str | None, dice: random.Random, clock: Clock) -> None:
        super().__init__(at, when, name)
        self._dice = dice
        self._clock = clock

    async def arrive(self, name: str) -> None:
        """Wait for a slow provider."""
        if name.startswith("provider.") and self._dice.random() < SLOW:
            await self._clock.sleep(self._dice.uniform(1.0, 100.0))

    def before(self, name: str) -> bool:
        """As in a sound world, but for the faults."""
        dies = super().before(name)
        if not dies:
            self._fail(name)
        return dies

    def after(self, name: str, dies: bool) -> None:
        """As in a sound world, but for the faults."""
        super().after(name, dies)
        if name not in OPENING:
            self._fail(name, done=True)

    def _fail(self, name: str, *, done: bool = False) -> None:
        port = name.partition(".")[0]
        if self._dice.random() < FAULTS[port]:
            raise _fault(port, refuses=not done and self._dice.random() < 0.3)


SLOW = 0.05
FAULTS: Mapping[str, float] = {"store": 0.003, "blobs": 0.003, "provider": 0.03}
"""How often a call fails, each before and after it."""


def _fault(port: str, *, refuses: bool) -> OvernightError:
    if port == "store":
        return StoreError("made to fail")
    if port == "blobs":
        return LocalError("made to fail")
    return ProviderError(Failure(FailureKind.TRANSIENT, "made to fail", proves_refusal=refuses))


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
        if not self.repeats:
            found += [f"request paid twice: {custom_id}" for custom_id in verdict.executed_twice]
            for ordinal, status in enumerate(verdict.ends):
                found += self._wrong(ordinal, status)
        if isinstance(self.stage.fake, SharedAnthropic):
            found += [f"a neighbour's batch was stopped or deleted: {id}" for id in self.stage.fake.wronged()]
        return found + self._money() + [f"file left at the provider: {file}" for file in verdict.files_left]

    def _money(self) -> list[str]:
        """What is booked is what ran, but for rows whose money is said to be unknown."""
        verdict = self.verdict
        costs = sorted((done.cost for done in self.stage.fake.executions), reverse=True)
        unbooked = verdict.invoice - verdict.booked
        if 0 <= unbooked <= sum(costs[: verdict.unknown_rows]):
            return []
        return [f"booked {verdict.booked} and {verdict.unknown_rows} rows unknown, invoice {verdict.invoice}"]

    def _wrong(self, ordinal: int, status: str) -> list[str]:
        """A row ends well exactly when a good answer came; else it was sent as often as may be, and no more."""
        ran = [done.word for done in self.stage.fake.executions if done.row[1] == ordinal]
        sent = self._sent(ordinal)
        tries = self.stage.spec.policy.retries + 1
        name = f"row {ordinal} ({status}) ran as {ran}, was sent in {sent} batches of {tries}"
        last = ran[-1] if ran else ""
        final = {*GOOD, *FOR_GOOD}
        if (status == "succeeded") is not (last in GOOD):
            return [f"{name}: not what came back"]
        if final.intersection(ran[:-1]) or sent > tries:
            return [f"{name}: too often"]
        return [] if last in final or sent == tries else [f"{name}: given up too early"]

    def _sent(self, ordinal: int) -> int:
        """In how many batches that were not refused as a whole."""
        batches = self.stage.fake.made.values()
        ids = (split_custom_id(row.custom_id) for batch in batches for row in batch.rows)
        return sum(parts is not None and parts[1] == ordinal for parts in ids)


def history(seed: int, root: Path) -> History:
    """Play a seed in an empty folder."""
    random.seed(seed)  # jitter
    dice = random.Random(seed)
    rows = dice.choice((1, 3, 8, 8, 15))
    clock = VirtualClock()
    endings = {(row, turn): dice.choice(ENDINGS) for row in range(rows) for turn in range(10)}
    takes = dice.choice((5.0, 60.0, 150.0))
    quirks = _quirks(dice, takes)
    fake: Books = FakeOpenAI(
        clock.now,
        quirks,
        rows=lambda ordinal, turn: endings.get((ordinal, turn), "ok"),
        takes=takes,
        rates=RATES,
    )
    # Dice of its own: the other histories stay what they were.
    shared = workspace(random.Random(f"{seed} shared"), clock, endings, takes)
    spec = Spec(
        model=MODEL if shared is None else SHARED_MODEL,
        prompt=Prompt(user="{{ text }}"),
        batch=BatchSize(rows=dice.choice((1, 4, 10)), in_flight=dice.choice((1, 2, 8))),
        policy=Policy(
            brake=None,
            poll=dice.choice((None, 60.0)),
            retries=dice.choice((0, 1, 2)),
            max_paid=10,
            follow_up_after=dice.choice((0, 300, 3600)),
        ),
    )
    stage = set_stage(root, rows, shared or fake, clock, spec)
    stage.direct = DirectProvider if shared is None else DirectAnthropic
    worlds = [_world(dice, clock) for _ in range(dice.choice((0, 1, 2, 4, 12)))]
    end = asyncio.run(_until_the_end(stage, worlds))
    repeats = shared is None and bool(quirks.repeated_creates)
    return History(seed, end, asyncio.run(stage.verdict()), stage, rows, repeats)


async def _until_the_end(stage: Stage, worlds: Sequence[World]) -> End:
    async with asyncio.timeout(LONGEST):
        end = await stage.live_on(worlds)
        while end.hold is not None and end.hold.kind == "undecidable":
            await reconcile(stage)
            end = await stage.live_on()
        return end


def problems_of(seed: int, root: Path | None = None) -> list[str]:
    """What is wrong with a seed's history, whatever it raises included; empty where nothing is. It is played in `root`,
    which stays, or in a folder of memory that goes."""
    with ExitStack() as stack:
        folder = root or Path(stack.enter_context(TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None)))
        try:
            return history(seed, folder).problems()
        except Exception as error:  # noqa: BLE001 - a bug is what is looked for
            return [*format_exception_only(error), *format_tb(error.__traceback__)[-3:]]


def replay(seed: int) -> str:
    """The command that plays a seed again."""
    return f"python -m overnight.testing.prove --seed {seed}"


def _world(dice: random.Random, clock: Clock) -> World:
    name = dice.choice((None, "store.commit", "store.commit", *_DEADLY))
    at = dice.randint(1, dice.choice((30, 150, 400)) if name is None else dice.choice((4, 4, 30)))
    when: When = "before" if dice.random() < 0.5 else "after"
    if dice.random() < 0.5:
        return FaultyWorld(at, when, name, random.Random(dice.random()), clock)
    return World(at, when, name)


_DEADLY = ("provider.create", "provider.upload", "provider.delete_file", "blobs.create.commit")
"""Calls at which a death is most telling, beside any."""


def _quirks(dice: random.Random, takes: float) -> Quirks:
    def some(most: int, chance: float) -> frozenset[int]:
        return frozenset(number for number in range(most) if dice.random() < chance)

    lost = some(20, 0.15)
    repeated = some(20, 0.3) & lost if dice.random() < 0.2 else frozenset()
    return Quirks(
        validating=dice.choice((0.0, 0.0, 30.0)),
        finalizing=dice.choice((0.0, 5.0)),
        window=dice.choice((86_400.0, 86_400.0, max(40.0, takes * 0.7))),
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
        token_limit=dice.choice((None, None, 45)),
        token_limit_at_create=dice.random() < 0.5,
    )
