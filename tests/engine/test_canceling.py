"""A cancel is carried out to the end: nothing more is sent, every row has an outcome, and what is out is paid for."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec

from overnight.engine.operate import Chosen
from overnight.engine.runner import EndReason
from overnight.spec import BatchSize, Brake, Policy, Prompt, Spec
from overnight.testing.crashes import World
from overnight.testing.histories import MODEL
from overnight.testing.openai_fake import FakeOpenAI, Quirks, Refusal
from overnight.testing.plays import play
from tests.engine.acting import acting, staged, totals_of

ROWS = 6
SPEC = Spec(model=MODEL, prompt=Prompt(user="{{ text }}"), batch=BatchSize(rows=3), policy=Policy(poll=15, brake=None))


def test_what_waits_for_its_quota_is_canceled_as_well(tmp_path: Path) -> None:
    stage = staged(tmp_path, SPEC, ROWS, Quirks(token_limit=1))  # nothing ever fits
    stage.cancel_after = 100.0
    assert play(stage).reason is EndReason.FINISHED
    verdict = asyncio.run(stage.verdict())
    assert verdict.statuses == {"canceled": ROWS}
    assert stage.clock.elapsed() < 700


def test_a_held_job_can_be_canceled(tmp_path: Path) -> None:
    spec = msgspec.structs.replace(
        SPEC, batch=BatchSize(rows=3, in_flight=1), policy=Policy(poll=15, brake=Brake(after=1))
    )
    stage = staged(tmp_path, spec, ROWS, Quirks(all_fail=True))
    assert play(stage).reason is EndReason.HELD
    acting(stage, lambda client, job: client.cancel(job))
    assert play(stage).reason is EndReason.FINISHED
    assert asyncio.run(stage.verdict()).statuses == {"errored": 3, "canceled": 3}


class Uncancelable(FakeOpenAI):
    """An API like OpenAI's that cannot cancel."""

    status = 405

    def cancel(self, key: str, id: str) -> dict[str, Any]:
        self._enter(key, "cancel")
        raise Refusal("Method Not Allowed", status=self.status)


class Failing(Uncancelable):
    """The same, as a server that breaks."""

    status = 500


def test_where_a_batch_cannot_be_canceled_its_end_is_waited_for(tmp_path: Path) -> None:
    for kind in (Uncancelable, Failing):
        stage = staged(tmp_path / kind.__name__, SPEC, ROWS, Quirks(), kind)
        stage.cancel_after = 30.0
        assert asyncio.run(asyncio.wait_for(stage.live(World()), 20)).reason is EndReason.FINISHED
        verdict = asyncio.run(stage.verdict())
        assert verdict.statuses == {"succeeded": ROWS}
        assert verdict.booked == verdict.invoice


def test_after_a_cancel_only_the_rows_that_are_chosen_go_out_again(tmp_path: Path) -> None:
    spec = msgspec.structs.replace(SPEC, batch=BatchSize(rows=3, in_flight=1))
    stage = staged(tmp_path, spec, ROWS, Quirks())
    stage.fake.rows = lambda ordinal, turn: "500" if turn == 0 and ordinal < 2 else "ok"
    stage.cancel_after = 61.0  # the first batch is over, its failed rows wait for others
    assert play(stage).reason is EndReason.FINISHED
    assert asyncio.run(stage.verdict()).statuses == {"errored": 2, "succeeded": 1, "canceled": 3}
    assert totals_of(stage).backlog == 2
    again = acting(stage, lambda client, job: client.retry(job, Chosen(keys=frozenset({"k1", "k4"}))))
    assert again == 2
    assert play(stage).reason is EndReason.FINISHED
    verdict = asyncio.run(stage.verdict())
    assert verdict.ends == ["errored", "succeeded", "succeeded", "canceled", "succeeded", "canceled"]
    assert verdict.booked == verdict.invoice


def test_a_retry_carries_out_a_cancel_that_nobody_has_carried_out(tmp_path: Path) -> None:
    spec = msgspec.structs.replace(SPEC, batch=BatchSize(rows=2, in_flight=1))
    stage = staged(tmp_path, spec, ROWS, Quirks())
    asyncio.run(stage.live(World(), stop=lambda: bool(stage.fake.made)))  # interrupted: the rest is planned
    acting(stage, lambda client, job: client.cancel(job))
    assert acting(stage, lambda client, job: client.retry(job, Chosen(keys=frozenset({"k5"})))) == 1
    assert play(stage).reason is EndReason.FINISHED
    assert asyncio.run(stage.verdict()).ends == ["succeeded", "succeeded", *["canceled"] * 3, "succeeded"]


class Amnesiac(FakeOpenAI):
    """Forgets every batch an hour after it was made."""

    def batches(self, key: str, after: str | None, limit: int) -> dict[str, Any]:
        page = super().batches(key, after, limit)
        page["data"] = [document for document in page["data"] if self.now() < document["created_at"] + 3600]
        return page

    def cancel(self, key: str, id: str) -> dict[str, Any]:
        self._enter(key, "cancel")
        raise Refusal(f"No batch found with id '{id}'.", status=404)


def test_a_batch_that_nobody_knows_any_more_can_be_given_up_when_its_window_is_over(tmp_path: Path) -> None:
    spec = msgspec.structs.replace(SPEC, policy=Policy(poll=3_000))
    stage = staged(tmp_path, spec, ROWS, Quirks(), Amnesiac)
    stage.fake.takes = 80_000.0
    stage.cancel_after = 7_200.0
    assert play(stage).reason is EndReason.FINISHED
    assert 86_400 < stage.clock.elapsed() < 100_000  # until then it may be running
    verdict = asyncio.run(stage.verdict())
    assert verdict.statuses == {"canceled": ROWS}
    assert verdict.unknown_rows == ROWS
