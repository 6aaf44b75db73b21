"""Histories in a workspace that others use as well, at a provider that tells batches apart by their number of requests
only; with an operator who decides what nothing else can."""

from __future__ import annotations

import random
from collections.abc import Mapping
from contextlib import suppress

from overnight.api.client import Client
from overnight.data.spans import ordinals
from overnight.errors import ProviderError
from overnight.testing.anthropic_fake import RATES, Quirks
from overnight.testing.anthropic_shared import SharedAnthropic
from overnight.testing.crashes import World
from overnight.testing.plays import Stage
from overnight.testing.virtual_time import VirtualClock
from overnight.types import Batch, RemoteId

SHARED_MODEL = "anthropic/claude-haiku-4-5"
SHARE = 0.35
"""Of all histories."""
COUNTS = (1, 1, 1, 2, 3, 4, 5, 7, 8)
"""Requests of the neighbours' batches: those that ours have, too."""
UNKNOWN_HERE = {"zero": "500"}
"""Words of rows at other providers."""


def workspace(
    dice: random.Random, clock: VirtualClock, endings: Mapping[tuple[int, int], str], takes: float
) -> SharedAnthropic | None:
    """The provider of such a history, for some throws of the dice."""
    if dice.random() >= SHARE:
        return None

    def word(ordinal: int, turn: int) -> str:
        found = endings.get((ordinal, turn), "ok")
        return UNKNOWN_HERE.get(found, found)

    fake = SharedAnthropic(clock.now, _quirks(dice, takes), rows=word, takes=takes, rates=RATES)
    for _ in range(dice.choice((0, 1, 3, 6))):
        made = clock.now() + dice.uniform(-2_000.0, 3_000.0)
        fake.neighbor(dice.choice(COUNTS), lasts=dice.choice((100.0, 1_000.0, 8_000.0)), at=made)
    return fake


def _quirks(dice: random.Random, takes: float) -> Quirks:
    def some(most: int, chance: float) -> frozenset[int]:
        return frozenset(number for number in range(most) if dice.random() < chance)

    # What arrives later than the delays that are waited for cannot be told from what never does: there is no fence.
    return Quirks(
        list_lag=dice.choice((0.0, 0.0, 20.0)),
        results_lag=dice.choice((0.0, 0.0, 30.0)),
        counters_move=dice.random() < 0.5,
        window=dice.choice((86_400.0, 86_400.0, max(40.0, takes * 0.7))),
        lost_creates=some(20, 0.3),
        failed_creates=some(20, 0.1),
        late_creates={number: dice.choice((5.0, 50.0)) for number in some(20, 0.1)},
        cut_downloads=some(30, 0.1),
        bursts=some(300, 0.03),
    )


async def reconcile(stage: Stage) -> None:
    """The operator, who knows the truth, decides about what is held."""
    assert stage.job_id is not None
    assert isinstance(stage.fake, SharedAnthropic)
    home = stage.opened(World())
    async with Client(home.config, opener=lambda _: home) as client:
        with suppress(ProviderError):  # he comes again
            for batch, remotes in await client.held(stage.job_id):
                ours = [remote.id for remote in remotes if _is(stage.fake, remote.id, batch)]
                if ours:
                    await client.adopt(stage.job_id, batch.id, ours[0])
                else:
                    await client.declare_absent(stage.job_id, batch.id)
    stage.dead.add(home.owner)


def _is(fake: SharedAnthropic, remote_id: RemoteId, batch: Batch) -> bool:
    shard = batch.shard
    return fake.rows_of(remote_id) == {(ordinal, shard.generation) for ordinal in ordinals(shard.spans)}
