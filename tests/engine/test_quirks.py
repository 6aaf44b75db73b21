"""Every quirk of OpenAI (contracts: 16, Q-O1 to Q-O15): how each row ends, and what is booked for it."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from overnight.engine.runner import End, EndReason
from overnight.spec import BatchSize, Policy, Prompt, Spec
from overnight.stores import open_store
from overnight.testing.crashes import World
from overnight.testing.histories import MODEL, RATES
from overnight.testing.openai_fake import FakeOpenAI, Quirks
from overnight.testing.plays import Stage, Verdict, play, set_stage
from overnight.testing.virtual_time import VirtualClock
from overnight.types import JobTotals

ROWS = 12
PAID = 10_500_000  # pico-dollars of one row that ran: 8 input and 4 output tokens, roughly; asserted below
SPEC = Spec(model=MODEL, prompt=Prompt(user="{{ text }}"), batch=BatchSize(rows=6), policy=Policy(brake=None))


@dataclass(frozen=True)
class Case:
    """A quirk, and what must come of it."""

    quirk: Quirks
    statuses: dict[str, int]
    creates: int  # batches asked for
    kinds: dict[str, int] = field(default_factory=dict)  # failures by kind, over all attempts
    unknown: int = 0  # rows whose money is not known
    retries: int = 2
    batch: int = 6
    poll: float | None = None


ALL = {"succeeded": ROWS}
CASES = {
    "Q-O1 completed without an output file": Case(
        Quirks(all_fail=True), {"errored": ROWS}, creates=2, kinds={"permanent": ROWS}
    ),
    "Q-O2 rows in no file": Case(Quirks(missing_every=4), ALL, creates=3, kinds={"missing": 3}),
    "Q-O2 rows with status 0": Case(Quirks(zero_every=4), ALL, creates=3, kinds={"missing": 3}),
    "Q-O3 results in two files": Case(Quirks(error_every=3), ALL, creates=3, kinds={"transient": 4}),
    "Q-O3 rows in both files": Case(Quirks(overlap_every=3), ALL, creates=2),
    "Q-O4 a fresh file is not seen": Case(Quirks(file_lag=8.0), ALL, creates=2),
    "Q-O5 token limit after acceptance": Case(Quirks(token_limit=40), ALL, creates=3),
    "Q-O5 token limit at create": Case(Quirks(token_limit=40, token_limit_at_create=True), ALL, creates=3),
    "Q-O6 expired with a part done": Case(
        # Half of a batch is done in its window: 6 rows, 3, 1, and the last 2 have had their tries.
        Quirks(window=30.0),
        {"succeeded": ROWS - 2, "expired": 2},
        creates=4,
        retries=2,
    ),
    "Q-O9 empty file ids": Case(Quirks(empty_ids=True), ALL, creates=2),
    "Q-O10 model not found in every row": Case(
        Quirks(model_missing=True), {"errored": ROWS}, creates=2, kinds={"permanent": ROWS}
    ),
    "Q-O13 a create accepted twice": Case(
        Quirks(repeated_creates=frozenset({0}), lost_creates=frozenset({0})), ALL, creates=2
    ),
    "Q-O14 long validating, finalizing unseen": Case(Quirks(validating=600.0), ALL, creates=2),
    "Q-O14 finalizing seen": Case(Quirks(finalizing=120.0), ALL, creates=2),
    "Q-O15 file too large at upload": Case(Quirks(too_large="upload", most_bytes=500), ALL, creates=8),
    "Q-O15 a row too large at upload": Case(
        Quirks(too_large="upload", most_bytes=100), {"errored": ROWS}, creates=0, kinds={"permanent": ROWS}
    ),
    "Q-O15 file too large at create": Case(
        Quirks(too_large="create", most_bytes=300), {"errored": ROWS}, creates=2, kinds={"permanent": ROWS}
    ),
    "Q-O15 too many rows": Case(Quirks(most_rows=5), {"errored": ROWS}, creates=2, kinds={"permanent": ROWS}),
}


def staged(root: Path, case: Case) -> Stage:
    clock = VirtualClock()
    fake = FakeOpenAI(clock.now, case.quirk, takes=60, rates=RATES)
    policy = Policy(brake=None, retries=case.retries, max_paid=20, poll=case.poll)
    spec = msgspec.structs.replace(SPEC, batch=BatchSize(rows=case.batch), policy=policy)
    return set_stage(root, ROWS, fake, clock, spec)


async def totals_of(stage: Stage) -> JobTotals:
    assert stage.job_id is not None
    store = open_store(stage.home / "overnight.db", stage.clock.now)
    try:
        return await store.totals(stage.job_id)
    finally:
        await store.close()


def judged(stage: Stage, end: End) -> tuple[Verdict, JobTotals]:
    assert end.reason is EndReason.FINISHED
    verdict = asyncio.run(stage.verdict())
    assert verdict.keys == [f"k{number}" for number in range(ROWS)]
    assert verdict.files_left == []
    return verdict, asyncio.run(totals_of(stage))


@pytest.mark.parametrize("name", CASES)
def test_quirk(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    stage = staged(tmp_path, case)
    verdict, totals = judged(stage, play(stage))
    assert verdict.statuses == Counter(case.statuses)
    assert stage.fake.calls.count("create") == case.creates
    if case.kinds:
        assert dict(totals.kinds) == case.kinds
    assert verdict.answered_twice == [] or "Q-O13" in name
    assert verdict.unknown_rows == case.unknown
    assert verdict.booked == verdict.invoice


def test_quirk_o7_a_cancel_that_loses_finished_rows_leaves_their_money_unknown(tmp_path: Path) -> None:
    case = Case(Quirks(cancel_loses=True), {}, 2)
    stage = staged(tmp_path, case)
    stage.cancel_after = 30.0
    verdict, totals = judged(stage, play(stage))
    assert verdict.statuses == {"canceled": ROWS}
    ran = sum(done.tokens is not None for done in stage.fake.executions)
    assert ran > 0
    assert verdict.booked + PAID * totals.unknown_rows >= verdict.invoice


def test_quirk_o8_a_cancel_takes_its_time_and_nothing_is_sent_meanwhile(tmp_path: Path) -> None:
    stage = staged(tmp_path, Case(Quirks(cancel_takes=600.0), {}, 2))
    stage.cancel_after = 30.0
    verdict, _ = judged(stage, play(stage))
    assert set(verdict.statuses) == {"succeeded", "canceled"}
    assert stage.clock.elapsed() > 600
    assert stage.fake.calls.count("create") == 2
    assert verdict.booked == verdict.invoice


def test_quirk_o11_a_billing_limit_in_the_middle_holds_the_job(tmp_path: Path) -> None:
    stage = staged(tmp_path, Case(Quirks(quota_after=4), {}, 1, batch=2))
    end = asyncio.run(stage.live(World()))
    assert end.reason is EndReason.HELD
    assert end.hold is not None
    assert end.hold.exit_code == 4
    # Nothing is sent in a loop: what was out came back, the rest waits for somebody to act.
    assert len(stage.fake.executions) <= ROWS


def test_quirk_o12_the_cancel_of_a_batch_that_is_over(tmp_path: Path) -> None:
    stage = staged(tmp_path, Case(Quirks(), {}, 2, poll=100.0))
    stage.cancel_after = 70.0  # both are over, and nobody has looked yet
    verdict, _ = judged(stage, play(stage))
    assert verdict.statuses == ALL
    assert verdict.booked == verdict.invoice
