"""Every quirk of the Gemini API (contracts: 16, Q-G1 to Q-G9): how each row ends, and what is booked for it."""

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
from overnight.testing.gemini_direct import DirectGemini
from overnight.testing.gemini_fake import RATES, FakeGemini, Quirks
from overnight.testing.plays import Stage, Verdict, play, set_stage
from overnight.testing.virtual_time import VirtualClock
from overnight.types import JobTotals
from tests.engine.acting import acting, totals_of

ROWS = 12
ALL = {"succeeded": ROWS}
SPEC = Spec(
    model="gemini/gemini-2.5-flash",
    prompt=Prompt(user="{{ text }}"),
    batch=BatchSize(rows=6),
    policy=Policy(brake=None, max_paid=20),
)


@dataclass(frozen=True)
class Case:
    """A quirk, and what must come of it."""

    quirk: Quirks
    statuses: dict[str, int] = field(default_factory=lambda: dict(ALL))
    creates: int = 2  # batches asked for
    kinds: dict[str, int] = field(default_factory=dict)  # failures by kind, over all attempts
    unknown: int = 0  # rows whose money is not known
    lost: bool = False  # rows ran and never came back: they are paid for again, and their money is not booked
    twice: bool = False  # a batch was made twice


CASES = {
    "no quirk": Case(Quirks()),
    "Q-G1 answers in the operation, in another order": Case(Quirks(inline=True, shuffled=True)),
    "Q-G1 answers in a file, in another order": Case(Quirks(shuffled=True)),
    "Q-G2 answers in the operation whose key is missing": Case(
        Quirks(inline=True, keyless_every=4), creates=3, kinds={"missing": 3}, unknown=3, lost=True
    ),
    "Q-G2 answers in a file whose key is missing": Case(
        Quirks(keyless_every=4), creates=3, kinds={"missing": 3}, unknown=3, lost=True
    ),
    "Q-G3 long in the queue": Case(Quirks(pending=9_000.0)),
    "Q-G3 stuck in the queue until it expires": Case(
        Quirks(pending=3_000.0, window=2_000.0), {"expired": ROWS}, creates=6, unknown=36
    ),
    "Q-G3 expired with a part done, and without results": Case(
        Quirks(window=30.0), {"expired": ROWS}, creates=6, unknown=36, lost=True
    ),
    "Q-G4 every row refused in a batch that succeeded": Case(
        Quirks(all_fail=True), {"errored": ROWS}, kinds={"permanent": ROWS}
    ),
    "Q-G8 a file that is gone is refused": Case(Quirks(gone=403)),
    "Q-G8 a file that is gone is not found": Case(Quirks(gone=404)),
    "rows without a line": Case(Quirks(missing_every=4), creates=3, kinds={"missing": 3}, unknown=3, lost=True),
    "rows that fail at first": Case(Quirks(error_every=3), creates=3, kinds={"transient": 4}),
    "long finalizing": Case(Quirks(finalizing=600.0)),
    "failed as a whole": Case(Quirks(fails="INTERNAL"), {"errored": ROWS}, creates=6),
    "too much waits already": Case(Quirks(full_creates=frozenset({0, 1})), creates=4),
    "a fresh batch is not seen": Case(Quirks(list_lag=20.0)),
    "downloads only by the path of the documentation": Case(Quirks(docs_path_only=True)),
    "downloads that end half way": Case(Quirks(cut_downloads=frozenset({0}))),
    "busy at times": Case(Quirks(bursts=frozenset({1, 15}))),
    "busy when it is asked to take a batch": Case(Quirks(bursts=frozenset({9})), creates=3),
    "a create accepted, its answer lost": Case(Quirks(lost_creates=frozenset({0}))),
    "a create accepted and answered 500": Case(Quirks(failed_creates=frozenset({0}))),
    "a create accepted twice": Case(
        Quirks(repeated_creates=frozenset({0}), lost_creates=frozenset({0})), unknown=6, twice=True, lost=True
    ),
    "an upload whose answer is lost": Case(Quirks(lost_pieces=frozenset({0}))),
}


def staged(root: Path, quirks: Quirks, spec: Spec = SPEC) -> Stage:
    clock = VirtualClock()
    return set_stage(root, ROWS, FakeGemini(clock.now, quirks, takes=60), clock, spec, DirectGemini)


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
    assert "delete_batch" not in stage.fake.calls


@pytest.mark.parametrize("pending", [0.0, 600.0])
def test_quirk_g5_a_batch_that_was_canceled_and_succeeded_all_the_same_is_taken_and_booked(
    tmp_path: Path, pending: float
) -> None:
    stage = staged(tmp_path, Quirks(revived_after=4.0, pending=pending))
    stage.cancel_after = 30.0
    verdict, _ = judged(stage, play(stage))
    assert verdict.statuses == ALL
    assert verdict.booked == verdict.invoice > 0
    assert stage.fake.calls.count("create") == 2


@pytest.mark.parametrize("code", [13, 1])
def test_a_canceled_job_ends_and_what_had_run_is_not_known(tmp_path: Path, code: int) -> None:
    stage = staged(tmp_path, Quirks(cancel_code=code))
    stage.cancel_after = 30.0
    verdict, _ = judged(stage, play(stage))
    assert verdict.statuses == {"canceled": ROWS}
    assert (verdict.booked, verdict.unknown_rows) == (0, ROWS)
    assert verdict.invoice > 0
    assert stage.fake.calls.count("create") == 2


def test_a_canceled_job_keeps_what_a_canceled_batch_gives(tmp_path: Path) -> None:
    stage = staged(tmp_path, Quirks(cancel_keeps=True))
    stage.cancel_after = 30.0
    verdict, _ = judged(stage, play(stage))
    assert set(verdict.statuses) == {"succeeded", "canceled"}
    assert verdict.booked == verdict.invoice > 0


def test_quirk_g6_a_line_under_another_name_for_its_key_has_no_key_in_the_answer() -> None:
    fake = FakeGemini(lambda: 0.0, takes=0.0)
    (key,) = fake.accounts
    line = b'{"custom_id":"a","request":{"contents":[{"parts":[{"text":"x"}]}]}}'
    upload = fake.begin(key, {"name": "files/f"}, len(line))
    fake.piece(upload, 0, line, True)
    batch = fake.create(
        key, "gemini-2.5-flash", "batchGenerateContent", {"batch": {"input_config": {"file_name": "files/f"}}}
    )
    id = batch["name"].removeprefix("batches/")
    fake.advance()
    data, _ = fake.download(key, f"batch-{id}")
    assert b'"key"' not in data


def test_quirk_g9_a_bad_key_is_answered_400_and_is_the_accounts_failure(tmp_path: Path) -> None:
    stage = staged(tmp_path, Quirks())
    stage.fake.accounts = {"another": "account"}
    end = asyncio.run(_lived(stage))
    assert "the API key was refused" in end
    assert stage.fake.made == {}


async def _lived(stage: Stage) -> str:
    from overnight.errors import OvernightError
    from overnight.testing.crashes import World

    with pytest.raises(OvernightError) as raised:
        await stage.live(World())
    return str(raised.value)


def test_the_records_of_batches_are_deleted_when_asked_with_their_answers(tmp_path: Path) -> None:
    spec = msgspec.structs.replace(SPEC, policy=Policy(brake=None, delete_batches=True))
    stage = staged(tmp_path, Quirks(), spec)
    verdict, _ = judged(stage, play(stage))
    assert verdict.statuses == ALL
    assert (stage.fake.made, stage.fake.results) == ({}, {})


def test_the_vectors_of_embeddings_come_home_and_are_booked_as_unpriced(tmp_path: Path) -> None:
    spec = msgspec.structs.replace(
        SPEC, model="gemini/gemini-embedding-2", endpoint="embeddings", parameters={"dimensions": 4}
    )
    stage = staged(tmp_path, Quirks(inline=True), spec)
    verdict, totals = judged(stage, play(stage))
    assert verdict.statuses == ALL
    assert totals.tokens.input == sum(done.tokens.input for done in stage.fake.executions)
    assert totals.tokens.output == 0


def test_the_batch_prices_of_the_fake_are_those_of_its_model() -> None:
    assert prices("gemini", "gemini-2.5-flash", VirtualClock().now()).batch == RATES


def test_batches_that_we_deleted_say_nothing_of_the_account(tmp_path: Path) -> None:
    spec = msgspec.structs.replace(SPEC, policy=Policy(brake=None, delete_batches=True, max_paid=1, retries=0))
    stage = staged(tmp_path, Quirks(error_every=3), spec)
    judged(stage, play(stage))
    assert stage.job_id is not None
    retried = acting(stage, lambda client, job_id: client.retry(job_id))
    assert retried
    verdict, _ = judged(stage, play(stage))
    assert verdict.statuses == ALL
