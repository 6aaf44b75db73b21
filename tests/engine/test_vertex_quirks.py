"""Every quirk of Vertex AI (contracts: 16, Q-V1 to Q-V5): how each row ends, and what is booked for it."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from overnight.engine.runner import End, EndReason
from overnight.prices import prices
from overnight.spec import BatchSize, Policy, Prompt, Spec
from overnight.testing.crashes import World
from overnight.testing.plays import Stage, Verdict, play, set_stage
from overnight.testing.vertex_direct import DirectVertex
from overnight.testing.vertex_fake import RATES, FakeVertex, Quirks, Refused
from overnight.testing.virtual_time import VirtualClock
from overnight.types import JobTotals
from tests.engine.acting import totals_of

ROWS = 12
ALL = {"succeeded": ROWS}
SPEC = Spec(model="vertex/gemini-2.5-flash", prompt=Prompt(user="{{ text }}"), batch=BatchSize(rows=6))


@dataclass(frozen=True)
class Case:
    """A quirk, and what must come of it."""

    quirk: Quirks
    statuses: dict[str, int] = field(default_factory=lambda: dict(ALL))
    creates: int = 2  # jobs asked for
    kinds: dict[str, int] = field(default_factory=dict)  # failures by kind, over all attempts
    unknown: int = 0  # rows whose money is not known
    lost: bool = False  # rows ran and never came back: they are paid for again, and their money is not booked
    twice: bool = False  # a job was made twice


CASES = {
    "Q-V1 answers in another order, keys coerced": Case(Quirks(shuffled=True, coerces_keys=True)),
    "Q-V2 partially succeeded": Case(Quirks(partial_every=4), creates=3, kinds={"missing": 3}, unknown=3, lost=True),
    "Q-V3 jobs of the same instant": Case(Quirks(folders_collide=True)),
    "Q-V4 the importer's limits": Case(Quirks(imports_strictly=True)),
    "Q-V5 no sum of tokens": Case(Quirks(no_total=True)),
    "answers in several files": Case(Quirks(files=3)),
    "rows that are in no file": Case(Quirks(missing_every=4), creates=3, kinds={"missing": 3}, unknown=3, lost=True),
    "rows that fail at first": Case(Quirks(error_every=3), creates=3, kinds={"transient": 4}),
    "long in the queue": Case(Quirks(queue=7_200.0)),
    "long finalizing": Case(Quirks(finalizing=600.0)),
    "a fresh job is not seen": Case(Quirks(list_lag=20.0)),
    "expired in the queue": Case(Quirks(queue=900.0, window=600.0), {"expired": ROWS}, creates=6, unknown=36),
    "busy at times": Case(Quirks(bursts=frozenset({1, 5}))),
    "answers that cannot be written": Case(
        Quirks(export_fails=True), {"errored": ROWS}, creates=6, kinds={"missing": 36}, unknown=36, lost=True
    ),
    "a create accepted twice": Case(
        Quirks(repeated_creates=frozenset({0}), lost_creates=frozenset({0})), unknown=4, twice=True
    ),
    "a create accepted, its answer lost": Case(Quirks(lost_creates=frozenset({0}))),
    "a create accepted and answered 500": Case(Quirks(failed_creates=frozenset({0}))),
    "a read that ends half way": Case(Quirks(cut_downloads=frozenset({0}))),
}


def staged(root: Path, quirks: Quirks) -> Stage:
    clock = VirtualClock()
    fake = FakeVertex(clock.now, quirks, takes=60)
    spec = msgspec.structs.replace(SPEC, policy=Policy(brake=None, max_paid=20))
    return set_stage(root, ROWS, fake, clock, spec, DirectVertex)


def judged(stage: Stage, end: End) -> tuple[Verdict, JobTotals]:
    assert end.reason is EndReason.FINISHED
    verdict = asyncio.run(stage.verdict())
    assert verdict.keys == [f"k{number}" for number in range(ROWS)]
    assert verdict.files_left == []
    return verdict, totals_of(stage)


@pytest.mark.parametrize("name", CASES)
def test_quirk(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    stage = staged(tmp_path, case.quirk)
    verdict, totals = judged(stage, play(stage))
    assert verdict.statuses == Counter(case.statuses)
    assert stage.fake.calls.count("create") == case.creates
    if case.kinds:
        assert dict(totals.kinds) == case.kinds
    assert verdict.unknown_rows == case.unknown
    assert (verdict.executed_twice == []) == (not case.twice)
    assert (verdict.booked == verdict.invoice) == (not case.lost)


def test_a_canceled_job_keeps_what_had_ended(tmp_path: Path) -> None:
    stage = staged(tmp_path, Quirks(cancel_takes=600.0))
    stage.cancel_after = 30.0
    verdict, _ = judged(stage, play(stage))
    assert set(verdict.statuses) == {"succeeded", "canceled"}
    assert stage.clock.elapsed() > 600
    assert stage.fake.calls.count("create") == 2


def test_a_cancel_that_is_too_much_for_now_is_asked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = staged(tmp_path, Quirks())
    stage.cancel_after = 30.0
    cancel, refused = stage.fake.cancel, iter([True, True])

    def busy(*asked: str) -> dict[str, object]:
        if next(refused, False):
            raise Refused(429, "RESOURCE_EXHAUSTED", "Quota exceeded.")
        return cancel(*asked)

    monkeypatch.setattr(stage.fake, "cancel", busy)
    verdict, _ = judged(stage, play(stage))
    assert verdict.statuses["canceled"] > 0
    assert verdict.booked == verdict.invoice


def test_a_service_that_may_not_write_to_the_bucket_holds_the_job(tmp_path: Path) -> None:
    stage = staged(tmp_path, Quirks(no_bucket_access=True))
    end = asyncio.run(stage.live(World()))
    assert end.reason is EndReason.HELD
    assert end.hold is not None
    assert "storage.objects.create" in end.hold.message
    assert stage.fake.executions == []


def test_the_batch_prices_of_the_fake_are_those_of_its_model() -> None:
    assert prices("vertex", "gemini-2.5-flash", VirtualClock().now()).batch == RATES
