"""Every quirk of Anthropic (contracts: 16, Q-A1 to Q-A8): how each row ends, and what is booked for it."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from overnight.engine.prepare import CACHE_HITS
from overnight.engine.runner import End, EndReason
from overnight.prices import prices
from overnight.spec import BatchSize, Example, Policy, Prompt, Spec
from overnight.testing.anthropic_direct import DirectAnthropic
from overnight.testing.anthropic_fake import RATES, FakeAnthropic, Quirks
from overnight.testing.plays import Stage, Verdict, play, set_stage
from overnight.testing.virtual_time import VirtualClock
from overnight.types import JobTotals
from tests.engine.acting import opened, totals_of

ROWS = 12
MODEL = "anthropic/claude-haiku-4-5"
ALL = {"succeeded": ROWS}


@dataclass(frozen=True)
class Case:
    """A quirk, and what must come of it."""

    quirk: Quirks
    statuses: dict[str, int] = field(default_factory=lambda: dict(ALL))
    creates: int = 2  # batches asked for
    kinds: dict[str, int] = field(default_factory=dict)  # failures by kind, over all attempts
    unknown: int = 0  # rows whose money is not known
    rows: int = 6  # of a batch


CASES = {
    "no quirk": Case(Quirks()),
    "Q-A1 a fresh batch is not seen": Case(Quirks(list_lag=20.0)),
    "Q-A1 results are not found for long": Case(Quirks(results_lag=3_000.0)),
    "Q-A2 every row errored": Case(Quirks(all_fail=True), {"errored": ROWS}, kinds={"permanent": ROWS}),
    "Q-A2 rows without a line": Case(Quirks(missing_every=4), creates=3, kinds={"missing": 3}, unknown=3),
    "rows that fail at first": Case(Quirks(error_every=3), creates=3, kinds={"transient": 4}),
    "Q-A3 results at a host that nobody can reach": Case(Quirks(foreign_url=True)),
    "Q-A4 counters that move": Case(Quirks(counters_move=True)),
    "Q-A5 a create too large is sent in parts": Case(Quirks(most_bytes=900), creates=6),
    "expired with a part done": Case(Quirks(window=30.0), {"succeeded": ROWS - 2, "expired": 2}, creates=4),
    "long finalizing": Case(Quirks(finalizing=300.0)),
    "downloads that end half way": Case(Quirks(cut_downloads=frozenset({0}))),
    "busy at times": Case(Quirks(bursts=frozenset({3, 5}))),
    "busy when it is asked to take a batch": Case(Quirks(bursts=frozenset({1})), creates=3),
    "a create accepted, its answer lost": Case(Quirks(lost_creates=frozenset({0})), rows=12, creates=1),
    "a create accepted and answered 500": Case(Quirks(failed_creates=frozenset({0})), rows=12, creates=1),
}


SPEC = Spec(
    model=MODEL, prompt=Prompt(user="{{ text }}"), batch=BatchSize(rows=6), policy=Policy(brake=None, max_paid=20)
)


def spec_of(**changed: object) -> Spec:
    return msgspec.structs.replace(SPEC, **changed)


def staged(root: Path, case: Case, spec: Spec | None = None) -> Stage:
    clock = VirtualClock()
    fake = FakeAnthropic(clock.now, case.quirk, takes=60, rates=RATES)
    spec = spec or spec_of(batch=BatchSize(rows=case.rows))
    return set_stage(root, ROWS, fake, clock, spec, DirectAnthropic)


def judged(stage: Stage, end: End) -> tuple[Verdict, JobTotals]:
    assert end.reason is EndReason.FINISHED
    verdict = asyncio.run(stage.verdict())
    assert verdict.keys == [f"k{number}" for number in range(ROWS)]
    return verdict, totals_of(stage)


@pytest.mark.parametrize("name", CASES)
def test_quirk(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    stage = staged(tmp_path, case)
    verdict, totals = judged(stage, play(stage))
    assert verdict.statuses == Counter(case.statuses)
    assert stage.fake.calls.count("create") == case.creates
    if case.kinds:
        assert dict(totals.kinds) == case.kinds
    assert verdict.executed_twice == []
    assert verdict.unknown_rows == case.unknown
    if not case.unknown:
        assert verdict.booked == verdict.invoice
    assert "delete" not in stage.fake.calls


def test_the_batch_prices_of_the_fake_are_those_of_its_model() -> None:
    assert prices("anthropic", "claude-haiku-4-5", VirtualClock().now()).batch == RATES


def test_quirk_a2_results_that_are_empty_are_believed_late_and_their_money_is_unknown(tmp_path: Path) -> None:
    stage = staged(tmp_path, Case(Quirks(empty_results=True)), spec_of(policy=Policy(brake=None, retries=0)))
    before = stage.clock.elapsed()
    verdict, totals = judged(stage, play(stage))
    assert verdict.statuses == {"errored": ROWS}
    assert dict(totals.kinds) == {"missing": ROWS}
    assert stage.clock.elapsed() - before > 600
    assert (verdict.booked, verdict.unknown_rows) == (0, ROWS)


def test_quirk_a6_no_key_of_the_users_is_too_long_for_an_id(tmp_path: Path) -> None:
    stage = staged(tmp_path, Case(Quirks()))
    source = Path(str(stage.spec.source))
    source.write_text("id,text\n" + "".join(f"{'key ' * 50}{n},text number {n}\n" for n in range(ROWS)))
    assert play(stage).reason is EndReason.FINISHED
    verdict = asyncio.run(stage.verdict())
    assert verdict.statuses == ALL
    assert verdict.keys == [f"{'key ' * 50}{n}" for n in range(ROWS)]
    assert all(len(done.custom_id) <= 64 for done in stage.fake.executions)


def test_quirk_a8_a_spend_limit_at_create_holds_the_job_and_nothing_is_tried_again(tmp_path: Path) -> None:
    stage = staged(tmp_path, Case(Quirks(spend_limit_after=1)))
    end = play(stage)
    assert end.reason is EndReason.HELD
    assert end.hold is not None
    assert (end.hold.kind, end.hold.exit_code) == ("account", 4)
    assert stage.fake.calls.count("create") == 2
    assert len(stage.fake.executions) <= 6


def test_quirk_a8_a_spend_limit_in_the_middle_of_a_batch_holds_the_job(tmp_path: Path) -> None:
    stage = staged(tmp_path, Case(Quirks(spend_rows_after=4), rows=2))
    stage.spec = msgspec.structs.replace(stage.spec, batch=BatchSize(rows=2, in_flight=1))
    end = play(stage)
    assert end.reason is EndReason.HELD
    assert end.hold is not None
    assert end.hold.exit_code == 4
    assert len(stage.fake.executions) == 6


def test_a_canceled_job_keeps_and_pays_what_was_finished(tmp_path: Path) -> None:
    stage = staged(tmp_path, Case(Quirks()))
    stage.cancel_after = 30.0
    verdict, _ = judged(stage, play(stage))
    assert set(verdict.statuses) == {"succeeded", "canceled"}
    assert verdict.booked == verdict.invoice > 0
    assert stage.fake.calls.count("create") == 2


def test_the_records_of_batches_are_deleted_when_asked(tmp_path: Path) -> None:
    policy = Policy(brake=None, delete_batches=True)
    stage = staged(tmp_path, Case(Quirks()), spec_of(policy=policy))
    verdict, _ = judged(stage, play(stage))
    assert verdict.statuses == ALL
    assert stage.fake.made == {}
    assert stage.fake.calls.count("delete") == 2


@pytest.mark.parametrize("hits", [0.3, 0.64, 0.98])
def test_quirk_a7_what_the_cache_brings_is_in_the_range_that_was_told(tmp_path: Path, hits: float) -> None:
    # As long as our estimate is that of the fake, a quarter of the bytes: examples and system are ASCII prose.
    prompt = Prompt(
        user="{{ text }}",
        system="Be brief. " * 900,
        examples=(Example(user="a" * 400, assistant="b" * 400),),
        cache=True,
    )
    stage = staged(tmp_path, Case(Quirks(cache_hits=hits)), spec_of(prompt=prompt, batch=BatchSize(rows=100)))
    rows = 400
    source = Path(str(stage.spec.source))
    source.write_text("id,text\n" + "".join(f"k{n},text number {n}\n" for n in range(rows)))

    async def told() -> tuple[tuple[str, ...], int]:
        async with opened(stage, DirectAnthropic) as client:
            preview = await client.prepare(stage.spec)
            await client.discard(preview)
            return preview.notes, preview.summary.shared

    notes, shared = asyncio.run(told())
    stage.dead.add(f"process-{stage.lives}")
    assert play(stage).reason is EndReason.FINISHED
    usage = stage.fake.usage
    least, most = (round(shared * share) for share in CACHE_HITS)
    assert f"{least:,} to {most:,} tokens will be read" in notes[-1]
    assert least * 0.9 <= usage.cached <= most * 1.1
    assert usage.cached + usage.written == pytest.approx(shared, rel=0.1)
    verdict = asyncio.run(stage.verdict())
    assert verdict.booked == verdict.invoice
    assert totals_of(stage).tokens == usage
