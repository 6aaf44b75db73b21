"""A provider that has an answer no more, has a part of it, has it later, or says failed and has it all the same: no job
waits for ever, and no row that was answered is paid for again."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from overnight.engine.runner import End, EndReason
from overnight.spec import BatchSize, Policy, Prompt, Spec
from overnight.testing.crashes import World
from overnight.testing.histories import MODEL
from overnight.testing.openai_fake import FakeOpenAI, Quirks, Refusal
from overnight.testing.plays import Stage, play
from tests.engine.acting import acting, staged, totals_of

ROWS = 6
SPEC = Spec(
    model=MODEL,
    prompt=Prompt(user="{{ text }}"),
    batch=BatchSize(rows=3),
    policy=Policy(poll=15, brake=None, retries=0),
)
ALWAYS = frozenset(range(1000))


class Forgetful(FakeOpenAI):
    """The first result file is gone."""

    gone: str | None = None

    def content(self, key: str, id: str) -> tuple[bytes, bool]:
        self._enter(key, "content")
        self.gone = self.gone or id
        if id == self.gone:
            raise Refusal(f"No such File object: {id}", status=404, param="id")
        return super().content(key, id)


def collected_by_cron(stage: Stage) -> End:
    """A process every ten minutes."""
    asyncio.run(stage.live(World(), stop=lambda: len(stage.fake.made) == 2))
    for _ in range(6):
        stage.clock.advance(600)
        end: End = acting(stage, lambda client, job: client.run(job, once=True))
        if end.reason is EndReason.FINISHED:
            return end
    raise AssertionError(f"no end: {end.reason} {end.failure}")


@pytest.mark.parametrize("runs", [collected_by_cron, play])
def test_a_result_file_that_is_gone_is_given_up_after_a_while(tmp_path: Path, runs: Any) -> None:
    stage = staged(tmp_path, SPEC, ROWS, Quirks(), Forgetful)
    began = stage.clock.elapsed()
    assert runs(stage).reason is EndReason.FINISHED
    totals = totals_of(stage)
    assert (totals.succeeded, totals.kinds) == (3, {"missing": 3})
    assert totals.cost == stage.fake.invoice()  # the batch's own usage tells
    assert stage.clock.elapsed() - began > 600  # not at once: it may come back


def test_a_result_file_that_is_short_for_good_counts_for_what_it_holds(tmp_path: Path) -> None:
    stage = staged(tmp_path, SPEC, ROWS, Quirks(cut_downloads=ALWAYS, cut_cleanly=True))
    assert play(stage).reason is EndReason.FINISHED
    totals = totals_of(stage)
    assert totals.succeeded == 2  # half of each file: one whole line of three
    assert totals.kinds == {"missing": 4}
    assert totals.cost == stage.fake.invoice()  # the batch's own usage tells


def test_a_connection_that_always_breaks_is_no_short_file(tmp_path: Path) -> None:
    stage = staged(tmp_path, SPEC, ROWS, Quirks(cut_downloads=ALWAYS))
    assert asyncio.run(stage.live(World())).reason is EndReason.TROUBLE
    assert totals_of(stage).ended == 0


class Late(FakeOpenAI):
    """Says completed a minute before it names the files."""

    delay = 60.0

    def batches(self, key: str, after: str | None, limit: int) -> dict[str, Any]:
        page = super().batches(key, after, limit)
        for document in page["data"]:
            if self.now() < (document["completed_at"] or 0) + self.delay:
                document["output_file_id"] = document["error_file_id"] = None
        return page


class Never(Late):
    """Never names them."""

    delay = 1e9


@pytest.mark.parametrize(("kind", "succeeded"), [(Late, ROWS), (Never, 0)])
def test_a_batch_that_counts_answers_and_names_no_file_is_looked_at_again(
    tmp_path: Path, kind: type[FakeOpenAI], succeeded: int
) -> None:
    stage = staged(tmp_path, SPEC, ROWS, Quirks(), kind)
    assert play(stage).reason is EndReason.FINISHED
    totals = totals_of(stage)
    assert totals.succeeded == succeeded
    assert totals.cost == stage.fake.invoice()


class Breaking(FakeOpenAI):
    """Calls a batch failed that has answers."""

    def batches(self, key: str, after: str | None, limit: int) -> dict[str, Any]:
        page = super().batches(key, after, limit)
        for document in page["data"]:
            if document["status"] == "completed":
                error = {"code": "token_limit_exceeded", "message": "broke", "param": None, "line": None}
                document |= {"status": "failed", "errors": {"object": "list", "data": [error]}}
        return page


def test_a_failed_batch_that_has_answers_is_collected_and_not_put_back(tmp_path: Path) -> None:
    stage = staged(tmp_path, SPEC, ROWS, Quirks(), Breaking)
    assert play(stage).reason is EndReason.FINISHED
    verdict = asyncio.run(stage.verdict())
    assert verdict.statuses == {"succeeded": ROWS}
    assert len(stage.fake.executions) == ROWS
    assert verdict.booked == verdict.invoice


class Broken(FakeOpenAI):
    """Takes no batch, and says only that something went wrong, as often as this says."""

    left = 8

    def create(self, key: str, body: dict[str, Any]) -> dict[str, Any]:
        self._enter(key, "create")
        if self.left:
            self.left -= 1
            raise Refusal("The server had an error.", status=500)
        return super().create(key, body)


def test_a_provider_that_always_fails_is_asked_more_and_more_seldom(tmp_path: Path) -> None:
    stage = staged(tmp_path, msgspec.structs.replace(SPEC, batch=BatchSize(rows=ROWS)), ROWS, Quirks(), Broken)
    began = stage.clock.elapsed()
    assert play(stage).reason is EndReason.FINISHED
    assert stage.fake.calls.count("create") >= 9
    assert totals_of(stage).succeeded == ROWS
    # Eight proofs of some minutes each, and between them pauses of 60, 120, 240 ... seconds, at most half an hour.
    assert stage.clock.elapsed() - began > sum((60, 120, 240, 480, 960, 1_800, 1_800))
