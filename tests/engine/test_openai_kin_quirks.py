"""What Azure, Mistral, Groq and Together do otherwise (contracts: 6, 8, 9, 10; 16, Q-M and Q-T): how each row ends, and
what is booked for it. The real adapters, in virtual time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from overnight.engine.runner import End, EndReason
from overnight.ports import Provider
from overnight.providers.azure import AzureProvider, DatedAzureProvider
from overnight.providers.groq import GroqProvider
from overnight.providers.mistral import MistralProvider
from overnight.providers.openai import OpenAIProvider
from overnight.providers.together import TogetherProvider
from overnight.spec import BatchSize, Policy, Prompt, Spec
from overnight.stores import open_store
from overnight.testing.crashes import World
from overnight.testing.histories import MODEL, RATES
from overnight.testing.openai_face import InProcess
from overnight.testing.openai_fake import KEY, FakeOpenAI, Quirks
from overnight.testing.openai_flavours import FLAVOURS
from overnight.testing.plays import Stage, Verdict, play, set_stage
from overnight.testing.virtual_time import VirtualClock
from overnight.types import JobTotals

ROWS = 12
SPEC = Spec(model=MODEL, prompt=Prompt(user="{{ text }}"), batch=BatchSize(rows=6))
ALL = {"succeeded": ROWS}
BEST = Quirks()
LOST = Quirks(lost_creates=frozenset({0}))
TWICE = Quirks(repeated_creates=frozenset({0}), lost_creates=frozenset({0}))

ADAPTERS: Mapping[str, type[OpenAIProvider]] = {
    "azure": AzureProvider,
    "azure, dated": DatedAzureProvider,
    "azure, value": DatedAzureProvider,
    "mistral": MistralProvider,
    "groq": GroqProvider,
    "together": TogetherProvider,
}


@dataclass(frozen=True)
class Case:
    """What an API does, and what must come of it."""

    flavour: str
    statuses: dict[str, int]
    creates: int  # batches asked for
    quirk: Quirks = BEST
    kinds: dict[str, int] = field(default_factory=dict)  # failures by kind, over all attempts
    unknown: int = 0  # rows whose money is not known


CASES = {
    "Azure: an error file without a line": Case("azure", ALL, 2),
    "Azure: endpoints without a version at the dated API": Case("azure, dated", ALL, 2),
    "Azure: lists as `value`, batches without counts": Case("azure, value", ALL, 2),
    "Azure: a file is processed after a while": Case("azure", ALL, 2, Quirks(pending=90.0)),
    "Azure: a token limit after acceptance": Case("azure", ALL, 3, Quirks(token_limit=40)),
    "Azure: it runs on after its window": Case("azure", ALL, 2, Quirks(window=30.0)),
    "Azure: a lost create in a list without cursors": Case("azure, value", ALL, 2, LOST),
    "Q-M1 Mistral: refused rows with a text as body": Case(
        "mistral", ALL, 3, Quirks(error_every=3), kinds={"transient": 4}
    ),
    "Mistral: a timeout leaves unfinished rows in no file": Case(
        "mistral", {"succeeded": ROWS - 2, "expired": 2}, 4, Quirks(window=30.0), unknown=11
    ),
    "Mistral: a lost create is found by its mark": Case("mistral", ALL, 2, LOST),
    "Mistral: a create accepted twice": Case("mistral", ALL, 2, TWICE, unknown=4),
    "Groq: a lost create in a list that comes whole": Case("groq", ALL, 2, LOST),
    "Groq: results in two files": Case("groq", ALL, 3, Quirks(error_every=3), kinds={"transient": 4}),
    "Q-T1 Together: no counters, absent fields": Case("together", ALL, 2),
    "Together: refused rows without an answer": Case("together", ALL, 3, Quirks(error_every=3), kinds={"transient": 4}),
    "Together: a lost create is found by its file": Case("together", ALL, 2, LOST),
    "Together: a create accepted twice": Case("together", ALL, 2, TWICE, unknown=4),
    "Together: an expired batch": Case(
        "together", {"succeeded": ROWS - 2, "expired": 2}, 4, Quirks(window=30.0), unknown=11
    ),
}


def staged(root: Path, case: Case) -> Stage:
    clock = VirtualClock()
    fake = FakeOpenAI(clock.now, case.quirk, takes=60, rates=RATES, flavour=FLAVOURS[case.flavour])

    def opened(fake: FakeOpenAI, sleep: Any) -> Provider:
        return ADAPTERS[case.flavour](
            KEY,
            "https://api.example",
            name="openai",  # for the prices
            version="2025-03-01-preview",
            sleep=sleep,
            jitter=lambda: 0.0,
            transport=partial(InProcess, fake),
        )

    spec = msgspec.structs.replace(SPEC, policy=Policy(brake=None, retries=2, max_paid=20))
    return set_stage(root, ROWS, fake, clock, spec, opened)


def judged(stage: Stage, end: End) -> tuple[Verdict, JobTotals]:
    assert end.reason is EndReason.FINISHED
    verdict = asyncio.run(stage.verdict())
    assert verdict.keys == [f"k{number}" for number in range(ROWS)]
    assert verdict.files_left == []

    async def totals() -> JobTotals:
        assert stage.job_id is not None
        store = open_store(stage.home / "overnight.db", stage.clock.now)
        try:
            return await store.totals(stage.job_id)
        finally:
            await store.close()

    return verdict, asyncio.run(totals())


@pytest.mark.parametrize("name", CASES)
def test_quirk(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    stage = staged(tmp_path, case)
    verdict, totals = judged(stage, play(stage))
    assert verdict.statuses == Counter(case.statuses)
    assert stage.fake.calls.count("create") == case.creates
    if case.kinds:
        assert dict(totals.kinds) == case.kinds
    assert verdict.answered_twice == [] or "twice" in name
    assert verdict.unknown_rows == case.unknown
    assert verdict.booked == verdict.invoice


@pytest.mark.parametrize("flavour", ["azure", "mistral", "groq"])
def test_a_billing_limit_in_the_middle_holds_the_job(tmp_path: Path, flavour: str) -> None:
    stage = staged(tmp_path, Case(flavour, {}, 1, Quirks(quota_after=4)))
    end = asyncio.run(stage.live(World()))
    assert end.reason is EndReason.HELD
    assert end.hold is not None
    assert end.hold.exit_code == 4


@pytest.mark.parametrize("flavour", ADAPTERS)
def test_a_cancel_takes_its_time_and_nothing_is_sent_meanwhile(tmp_path: Path, flavour: str) -> None:
    stage = staged(tmp_path, Case(flavour, {}, 2, Quirks(cancel_takes=600.0)))
    stage.cancel_after = 30.0
    verdict, _ = judged(stage, play(stage))
    assert set(verdict.statuses) == {"succeeded", "canceled"}
    assert stage.fake.calls.count("create") == 2
    assert verdict.booked == verdict.invoice
