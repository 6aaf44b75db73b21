"""Plays: the whole pipeline against the fake provider in virtual time, one process after another or two at once, each
in a world of its own that may die at any call to the outside."""

from __future__ import annotations

import asyncio
import csv
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from overnight.api.client import Client
from overnight.app import Workspace
from overnight.blobs.files import FileBlobs
from overnight.config import Config, read_config
from overnight.engine.runner import End, EndReason
from overnight.errors import LocalError, ProviderError, StoreError
from overnight.ports import Provider
from overnight.spec import Spec
from overnight.stores import open_store
from overnight.testing.books import Books
from overnight.testing.crashes import Crash, World
from overnight.testing.openai_direct import DirectProvider
from overnight.testing.virtual_time import VirtualClock
from overnight.types import JobId, PicoUSD

MOST_LIVES = 40


@dataclass(frozen=True, slots=True)
class PlayedHome(Workspace):
    """A workspace whose ports are seen from a world, and whose provider is the fake."""

    played: Provider

    def provider(self, name: str, job_id: JobId, spec: Spec) -> Provider:
        """The fake, whatever is asked."""
        return self.played


@dataclass(slots=True)
class Stage:
    """Where a play takes place: a home on disk, a source, a spec, the provider and the clock."""

    home: Path
    spec: Spec
    fake: Books
    clock: VirtualClock
    direct: Callable[..., Provider] = DirectProvider  # the port over such a fake
    dead: set[str] = field(default_factory=set)
    job_id: JobId | None = None
    lives: int = 0
    lease: float = 3600.0  # seconds
    cancel_after: float | None = None  # seconds after its start at which somebody cancels the job, once

    @property
    def output(self) -> Path:
        """The table of answers."""
        return self.home / "answers.csv"

    async def live(self, world: World, stop: Callable[[], bool] = lambda: False) -> End:
        """One process: plan, approve, run, write the table. Raises `Crash` where its world died."""
        home = self.opened(world)
        try:
            async with Client(home.config, opener=lambda _: home) as client:
                preview = await client.prepare(self.spec)
                self.job_id = preview.job.id
                await client.approve(preview)
                canceling = self._canceling(client, preview.job.id)
                end = await client.run(preview.job.id, stop=stop)
                if not canceling.done():  # the job was faster
                    canceling.cancel()
                    self.clock.leave()
                if end.reason is EndReason.FINISHED:
                    await client.export(preview.job.id, self.output)
                return end
        finally:
            self.dead.add(home.owner)
            world.bury()

    def opened(self, world: World, direct: Callable[..., Provider] | None = None) -> PlayedHome:
        """The home, as the next process sees it from its world."""
        self.lives += 1
        return PlayedHome(
            config=_config(self.home, self.lease),
            store=world.wrap("store", open_store(self.home / "overnight.db", self.clock.now)),
            blobs=world.wrap("blobs", FileBlobs(self.home / "blobs")),
            clock=self.clock,
            owner=f"process-{self.lives}",
            is_dead=lambda other: other in self.dead,
            release=lambda: None,
            nap=600.0,
            played=world.wrap("provider", (direct or self.direct)(self.fake, sleep=self.clock.sleep)),
        )

    def _canceling(self, client: Client, job_id: JobId) -> asyncio.Task[None]:
        """Somebody who cancels when it is time: a party of the clock until then."""
        after, self.cancel_after = self.cancel_after, None
        if after is not None:
            self.clock.parties += 1

        async def act() -> None:
            if after is not None:
                await self.clock.sleep(after)
                await client.cancel(job_id)
                self.clock.leave()

        return asyncio.create_task(act())

    async def live_both(self, first: World, second: World, later: float) -> tuple[End, End]:
        """Two processes at once, the second starting `later` seconds after the first. The clock has two parties."""

        async def life(world: World, start: float) -> End:
            try:
                await self.clock.sleep(start)
                return await self.live(world)
            finally:
                self.clock.leave()

        one, other = await asyncio.gather(life(first, 0.0), life(second, later))
        return one, other

    async def live_on(self, worlds: Sequence[World] = ()) -> End:
        """Process after process, the first ones in these worlds, until the job is finished or held."""
        for number in range(MOST_LIVES):
            world = worlds[number] if number < len(worlds) else World()
            try:
                end = await self.live(world)
            except Crash:
                continue
            except (StoreError, LocalError, ProviderError):
                self.clock.advance(30.0)  # the command ended with an error; somebody starts it again
                continue
            if end.reason in {EndReason.FINISHED, EndReason.HELD}:
                return end
        raise AssertionError(f"no end after {MOST_LIVES} processes")

    async def verdict(self) -> Verdict:
        """What the books of both sides say."""
        assert self.job_id is not None
        store = open_store(self.home / "overnight.db", self.clock.now)
        try:
            totals = await store.totals(self.job_id)
        finally:
            await store.close()
        with self.output.open(newline="") as file:
            rows = list(csv.DictReader(file))
        return Verdict(
            keys=[row["id"] for row in rows],
            ends=[row["status"] for row in rows],
            statuses=Counter(row["status"] for row in rows),
            executed_twice=self.fake.executed_twice(),
            answered_twice=[str(row) for row in self.fake.answered_twice()],
            booked=totals.cost,
            unknown_rows=totals.unknown_rows,
            invoice=self.fake.invoice(),
            files_left=sorted(self.fake.stored),
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement of a play."""

    keys: list[str]
    ends: list[str]  # status by row
    statuses: Counter[str]
    executed_twice: list[str]
    answered_twice: list[str]
    booked: PicoUSD
    unknown_rows: int
    invoice: PicoUSD
    files_left: list[str]


def set_stage(
    root: Path,
    rows: int,
    fake: Books,
    clock: VirtualClock,
    spec: Spec,
    direct: Callable[..., Provider] = DirectProvider,
) -> Stage:
    """A stage in an empty folder, with a CSV of so many rows as source (columns id, text)."""
    root.mkdir(parents=True, exist_ok=True)
    source = root / "rows.csv"
    with source.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text"])
        writer.writerows([f"k{number}", f"text number {number}"] for number in range(rows))
    return Stage(root, _spec(spec, source), fake, clock, direct)


def _spec(spec: Spec, source: Path) -> Spec:
    return msgspec.structs.replace(spec, source=str(source), key="id")


def _config(home: Path, lease: float) -> Config:
    return replace(read_config({"home": str(home), "lease": lease}, environ={}), log_file=Path("/dev/null"))


def play(stage: Stage, worlds: Sequence[World] = ()) -> End:
    """`Stage.live_on`, from outside a loop."""
    return asyncio.run(stage.live_on(worlds))
