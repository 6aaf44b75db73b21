"""Whose a batch is: its first answer that can be read tells."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from overnight.ports import Provider
from overnight.providers.anthropic import AnthropicProvider
from overnight.testing.anthropic_direct import DirectAnthropic
from overnight.testing.anthropic_fake import KEY, FakeAnthropic, Quirks
from overnight.testing.anthropic_rows import Row
from overnight.testing.anthropic_server import serving
from overnight.types import RemoteId
from tests.providers.worlds import no_sleep

PARAMS = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x" * 200_000}]}


@contextmanager
def over_http(fake: FakeAnthropic) -> Iterator[Provider]:
    with serving(fake) as url:
        yield AnthropicProvider(KEY, url, sleep=no_sleep)


@contextmanager
def direct(fake: FakeAnthropic) -> Iterator[Provider]:
    yield DirectAnthropic(fake)


@pytest.mark.parametrize("way", [over_http, direct])
@pytest.mark.parametrize(
    ("words", "quirks", "told"),
    [
        (["ok", "ok"], Quirks(), "row-1"),  # the fake's last row comes first
        (["ok", "malformed"], Quirks(), "row-0"),
        (["400", "missing"], Quirks(), "row-0"),
        (["malformed", "malformed"], Quirks(), None),
        (["ok", "ok"], Quirks(empty_results=True), None),
    ],
)
def test_the_first_answer_that_can_be_read_tells(way, words: list[str], quirks: Quirks, told: str | None) -> None:
    fake = FakeAnthropic(time.time, quirks)
    left = iter(words)
    fake.rows = lambda ordinal, turn: next(left)
    (workspace,) = fake.accounts.values()
    made = fake.accept(workspace, [Row(f"row-{number}", PARAMS) for number in range(2)], time.time() - 1_000)

    async def act(provider: Provider) -> str | None:
        try:
            (remote,) = (await provider.status([RemoteId(made.id)])).values()
            return await provider.first_id(remote)
        finally:
            await provider.close()

    with way(fake) as provider:
        assert asyncio.run(act(provider)) == told
