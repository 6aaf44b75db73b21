"""A batch that is refused as a whole because of one line of it, or because it is too much at once: nothing was paid, so
the rest goes out again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from overnight.engine.runner import EndReason
from overnight.spec import BatchSize, Policy, Prompt, Spec
from overnight.testing.histories import MODEL
from overnight.testing.openai_batches import FakeBatch
from overnight.testing.openai_fake import FakeOpenAI, Quirks
from overnight.testing.plays import play
from overnight.wire.openai import split_custom_id
from tests.engine.acting import acting, staged, totals_of

ROWS = 12
SPEC = Spec(model=MODEL, prompt=Prompt(user="{{ text }}"), batch=BatchSize(rows=6), policy=Policy(brake=None))


class Strict(FakeOpenAI):
    """Fails a batch that holds one of these rows, and names the line of the first."""

    bad: frozenset[int] = frozenset({2, 4, 11})

    def _validate(self, batch: FakeBatch, at: float) -> None:
        super()._validate(batch, at)
        for number, row in enumerate(batch.rows, 1):
            parts = split_custom_id(row.custom_id)
            assert parts is not None
            if parts[1] in self.bad:
                batch.fail(at, {"code": "invalid_url", "message": "no", "param": "url", "line": number})
                return


def test_a_line_that_is_refused_costs_the_other_rows_nothing(tmp_path: Path) -> None:
    stage = staged(tmp_path, SPEC, ROWS, Quirks(), Strict)
    assert play(stage).reason is EndReason.FINISHED
    verdict = asyncio.run(stage.verdict())
    assert [number for number, end in enumerate(verdict.ends) if end == "errored"] == [2, 4, 11]
    assert verdict.statuses == {"succeeded": ROWS - 3, "errored": 3}
    assert stage.fake.calls.count("create") == 2 + 3
    assert verdict.executed_twice == []
    assert verdict.booked == verdict.invoice
    assert verdict.files_left == []
    totals = totals_of(stage)
    assert (totals.rows, totals.ended, totals.failed, totals.kinds) == (ROWS, ROWS, 3, {"permanent": 3})
    shown = acting(stage, lambda client, job: client.show(job, "k4"))
    assert [attempt.line.message for attempt in shown.attempts if attempt.line is not None] == [
        "invalid_url: no (line 4 of the batch file)"
    ]


def test_where_every_line_is_refused_it_ends(tmp_path: Path) -> None:
    stage = staged(tmp_path, SPEC, 100, Quirks(), Strict)
    stage.fake.bad = frozenset(range(100))  # type: ignore[attr-defined]
    stage.spec = msgspec.structs.replace(stage.spec, batch=BatchSize(rows=100))
    assert play(stage).reason is EndReason.FINISHED
    assert asyncio.run(stage.verdict()).statuses == {"errored": 100}
    assert stage.fake.calls.count("create") < 30


def test_a_batch_that_alone_is_over_the_token_limit_goes_out_in_parts(tmp_path: Path) -> None:
    stage = staged(tmp_path, SPEC, ROWS, Quirks(token_limit=16))  # three or four rows
    assert play(stage).reason is EndReason.FINISHED
    verdict = asyncio.run(stage.verdict())
    assert verdict.statuses == {"succeeded": ROWS}
    assert verdict.executed_twice == []
    assert verdict.booked == verdict.invoice
    assert totals_of(stage).rows == ROWS
    assert verdict.files_left == []


def test_a_single_row_over_the_limit_waits_and_is_no_endless_row_of_parts(tmp_path: Path) -> None:
    stage = staged(tmp_path, SPEC, ROWS, Quirks(token_limit=1))
    stage.cancel_after = 100_000.0
    assert play(stage).reason is EndReason.FINISHED
    assert asyncio.run(stage.verdict()).statuses == {"canceled": ROWS}
    assert totals_of(stage).batches["failed"] < 1_000  # type: ignore[index]
