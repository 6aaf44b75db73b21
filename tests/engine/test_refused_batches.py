"""A batch that is refused as a whole because of one line of it, or because it is too much at once: nothing was paid, so
the rest goes out again."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from overnight.engine.runner import EndReason
from overnight.spec import BatchSize, Policy, Prompt, Spec
from overnight.testing.histories import MODEL
from overnight.testing.openai_batches import FakeBatch
from overnight.testing.openai_fake import FakeOpenAI, Quirks
from overnight.testing.plays import Stage, play
from overnight.wire.custom_ids import split_custom_id
from tests.engine.acting import acting, staged, totals_of

ROWS = 12
SPEC = Spec(model=MODEL, prompt=Prompt(user="{{ text }}"), batch=BatchSize(rows=6), policy=Policy(brake=None))
Reason = dict[str, str | None]
TOO_MUCH: Reason = {"code": None, "message": "Too many batches for this account.", "param": None, "line": None}
BACKOFF = (60.0, 120.0, 240.0, 480.0, 960.0, 1800.0, 1800.0, 1800.0, 1800.0)  # seconds
NO_FILE: Reason = {"code": "invalid_request", "message": "Cannot find file.", "param": "file_id", "line": None}


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


class Moody(FakeOpenAI):
    """Fails the first batches for these reasons, one after the other."""

    reasons: tuple[Reason, ...] = ()

    def _validate(self, batch: FakeBatch, at: float) -> None:
        super()._validate(batch, at)
        number = len(self.made) - 1
        if number < len(self.reasons):
            batch.fail(at, self.reasons[number])


def moody(root: Path, *reasons: Reason) -> Stage:
    """One batch, refused for these reasons before it is taken."""
    stage = staged(root, msgspec.structs.replace(SPEC, batch=BatchSize(rows=ROWS)), ROWS, Quirks(), Moody)
    stage.fake.reasons = reasons  # type: ignore[attr-defined]
    return stage


@pytest.mark.parametrize("others", [2, 9])
def test_refusals_for_quota_do_not_count_against_a_file_that_is_not_seen(tmp_path: Path, others: int) -> None:
    stage = moody(tmp_path, NO_FILE, *(TOO_MUCH for _ in range(others)), NO_FILE)
    assert play(stage).reason is EndReason.FINISHED
    assert asyncio.run(stage.verdict()).statuses == {"succeeded": ROWS}


def test_a_file_that_is_never_seen_is_believed(tmp_path: Path) -> None:
    stage = moody(tmp_path, *(NO_FILE for _ in range(10)))
    assert play(stage).reason is EndReason.FINISHED
    assert asyncio.run(stage.verdict()).statuses == {"errored": ROWS}
    assert stage.fake.calls.count("create") == 4


def test_a_batch_put_back_for_quota_waits_as_long_as_its_backoff_says(tmp_path: Path) -> None:
    stage = moody(tmp_path, *(TOO_MUCH for _ in range(7)))
    assert play(stage).reason is EndReason.FINISHED
    assert asyncio.run(stage.verdict()).statuses == {"succeeded": ROWS}
    created = [batch.created_at for batch in stage.fake.made.values()]
    waits = [later - earlier for earlier, later in pairwise(created)]
    for wait, least in zip(waits, BACKOFF, strict=False):
        assert least <= wait <= 1.2 * least + 70  # jitter, and a look that comes later


class Crowded(FakeOpenAI):
    """Notes when each shard was asked for, by its first line."""

    asked: defaultdict[str, list[float]]

    def create(self, key: str, body: Mapping[str, Any]) -> dict[str, Any]:
        lines = self.stored[body["input_file_id"]].data.splitlines()
        self.asked[msgspec.json.decode(lines[0])["custom_id"]].append(self.now())
        return super().create(key, body)


@pytest.mark.parametrize("at_create", [True, False])
def test_none_of_many_batches_in_a_full_queue_is_asked_for_before_its_time(tmp_path: Path, at_create: bool) -> None:
    spec = msgspec.structs.replace(SPEC, batch=BatchSize(rows=2))
    stage = staged(tmp_path, spec, ROWS, Quirks(token_limit=20, token_limit_at_create=at_create), Crowded)
    stage.fake.takes = 2_000.0
    asked = stage.fake.asked = defaultdict(list)  # type: ignore[attr-defined]
    assert play(stage).reason is EndReason.FINISHED
    assert asyncio.run(stage.verdict()).statuses == {"succeeded": ROWS}
    waits = [[later - earlier for earlier, later in pairwise(times)] for times in asked.values()]
    assert max(map(len, waits)) > 4  # the last shard's turn comes after hours
    for each in waits:
        assert all(wait >= least for wait, least in zip(each, BACKOFF, strict=False)), each


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
    stage.cancel_after = 12_000.0  # each row has been refused by itself for some times by then
    assert play(stage).reason is EndReason.FINISHED
    assert asyncio.run(stage.verdict()).statuses == {"canceled": ROWS}
    assert totals_of(stage).batches["failed"] < 10 * ROWS  # type: ignore[index]
