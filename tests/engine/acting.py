"""What a person does to a played job between two processes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from overnight.api.client import Client
from overnight.ports import Provider
from overnight.spec import Spec
from overnight.testing.crashes import World
from overnight.testing.openai_fake import FakeOpenAI, Quirks
from overnight.testing.plays import Stage, set_stage
from overnight.testing.virtual_time import VirtualClock
from overnight.types import JobTotals

T = TypeVar("T")


def staged(root: Path, spec: Spec, rows: int, quirks: Quirks, kind: type[FakeOpenAI] = FakeOpenAI) -> Stage:
    """A stage whose batches take a minute, with the prices of the model that plays use."""
    from overnight.testing.histories import RATES

    clock = VirtualClock()
    return set_stage(root, rows, kind(clock.now, quirks, takes=60.0, rates=RATES), clock, spec)


def opened(stage: Stage, provider: Callable[..., Provider] | None = None) -> Client:
    """A client over the stage's home, whose provider is the fake: a process of its own."""
    home = stage.opened(World(), provider)
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
