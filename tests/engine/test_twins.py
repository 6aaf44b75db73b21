"""A create that the provider accepted twice: the second batch is stopped at once, its money counts, and its rows are
nobody's to send again."""

from __future__ import annotations

import asyncio
from pathlib import Path

from overnight.engine.runner import EndReason
from overnight.spec import BatchSize, Policy, Prompt, Spec
from overnight.testing.crashes import World
from overnight.testing.histories import MODEL
from overnight.testing.openai_fake import Quirks
from overnight.testing.plays import play
from tests.engine.acting import staged

ROWS = 3
SPEC = Spec(model=MODEL, prompt=Prompt(user="{{ text }}"), policy=Policy(brake=None), batch=BatchSize(rows=3))
TWICE = frozenset({0})


def test_a_twin_that_is_refused_later_is_not_sent_again(tmp_path: Path) -> None:
    # One batch fits into the account's queue; both are adopted before the second is refused for it.
    quirks = Quirks(repeated_creates=TWICE, lost_creates=TWICE, validating=900.0, token_limit=20)
    stage = staged(tmp_path, SPEC, ROWS, quirks)
    stage.fake.cancel = stage.fake.batch  # type: ignore[method-assign]  # cancels have no effect
    assert play(stage).reason is EndReason.FINISHED
    verdict = asyncio.run(stage.verdict())
    assert verdict.statuses == {"succeeded": ROWS}
    assert stage.fake.calls.count("create") == 1
    assert verdict.booked == verdict.invoice


def test_of_two_that_were_refused_one_goes_out_again(tmp_path: Path) -> None:
    quirks = Quirks(repeated_creates=TWICE, lost_creates=TWICE, token_limit=1)
    stage = staged(tmp_path, SPEC, ROWS, quirks)
    asyncio.run(stage.live(World(), stop=lambda: len(stage.fake.made) > 3))
    stage.fake.quirks = Quirks()
    assert play(stage).reason is EndReason.FINISHED
    verdict = asyncio.run(stage.verdict())
    assert verdict.statuses == {"succeeded": ROWS}
    assert len(stage.fake.executions) == ROWS
    assert verdict.booked == verdict.invoice


def test_a_twin_is_stopped_as_soon_as_it_is_found(tmp_path: Path) -> None:
    spec = Spec(model=MODEL, prompt=SPEC.prompt, batch=SPEC.batch, policy=Policy(poll=3_000, visibility=3))
    stage = staged(tmp_path, spec, ROWS, Quirks(repeated_creates=TWICE, lost_creates=TWICE))
    stage.fake.takes = 3_000.0
    assert play(stage).reason is EndReason.FINISHED
    verdict = asyncio.run(stage.verdict())
    assert verdict.statuses == {"succeeded": ROWS}
    assert len(stage.fake.executions) == ROWS  # the twin had no time to run anything
    assert verdict.booked == verdict.invoice
