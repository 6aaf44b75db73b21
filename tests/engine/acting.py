"""What a person does to a played job between two processes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from overnight.api.client import Client
from overnight.blobs.files import FileBlobs
from overnight.config import read_config
from overnight.spec import Spec
from overnight.stores import open_store
from overnight.testing.openai_direct import DirectProvider
from overnight.testing.openai_fake import FakeOpenAI, Quirks
from overnight.testing.plays import PlayedHome, Stage, set_stage
from overnight.testing.virtual_time import VirtualClock
from overnight.types import JobTotals

T = TypeVar("T")


def staged(root: Path, spec: Spec, rows: int, quirks: Quirks, kind: type[FakeOpenAI] = FakeOpenAI) -> Stage:
    """A stage whose batches take a minute, with the prices of the model that plays use."""
    from overnight.testing.histories import RATES

    clock = VirtualClock()
    return set_stage(root, rows, kind(clock.now, quirks, takes=60.0, rates=RATES), clock, spec)


def opened(stage: Stage, provider: type[DirectProvider] = DirectProvider) -> Client:
    """A client over the stage's home, whose provider is the fake: a process of its own."""
    stage.lives += 1
    home = PlayedHome(
        config=replace(read_config({"home": str(stage.home), "lease": 3600.0}, environ={}), log_file=Path("/dev/null")),
        store=open_store(stage.home / "overnight.db", stage.clock.now),
        blobs=FileBlobs(stage.home / "blobs"),
        clock=stage.clock,
        owner=f"process-{stage.lives}",
        is_dead=lambda other: other in stage.dead,
        release=lambda: None,
        nap=600.0,
        played=provider(stage.fake, sleep=stage.clock.sleep),
    )
    return Client(home.config, opener=lambda _: home)


def acting(stage: Stage, act: Callable[[Client, str], Awaitable[T]]) -> T:
    """What `act` returns, given a client and the job's id."""

    async def life() -> T:
        assert stage.job_id is not None
        async with opened(stage) as client:
            try:
                return await act(client, stage.job_id)
            finally:
                stage.dead.add(f"process-{stage.lives}")

    return asyncio.run(life())


def totals_of(stage: Stage) -> JobTotals:
    """The store's sums."""

    async def act(client: Client, job_id: str) -> JobTotals:
        return (await client.status(job_id)).totals

    return acting(stage, act)
