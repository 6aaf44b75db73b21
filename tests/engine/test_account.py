"""Trouble of the account: the job stands still, says why, and goes on where it was when it is resumed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from overnight.engine.runner import EndReason
from overnight.spec import BatchSize, Policy, Prompt, Spec
from overnight.testing.crashes import World
from overnight.testing.histories import MODEL, RATES
from overnight.testing.openai_fake import FakeOpenAI, Quirks, Refusal
from overnight.testing.plays import Stage, play, set_stage
from overnight.testing.virtual_time import VirtualClock
from tests.engine.acting import acting

ROWS = 6
SPEC = Spec(model=MODEL, prompt=Prompt(user="{{ text }}"), batch=BatchSize(rows=3), policy=Policy(poll=15, brake=None))


class Revoking(FakeOpenAI):
    """Refuses the key once the first row has run, as long as `revoked` says so."""

    revoked = False

    def _enter(self, key: str, call: str) -> tuple[str, int]:
        if self.revoked and self.executions:
            self.calls.append(call)
            raise Refusal("Incorrect API key provided.", status=401, code="invalid_api_key")
        return super()._enter(key, call)


class Keeping(FakeOpenAI):
    """Lets nobody delete a file."""

    def delete_file(self, key: str, id: str) -> dict[str, Any]:
        raise Refusal("You have insufficient permissions for this operation.", status=403)


def stage(root: Path, kind: type[FakeOpenAI]) -> Stage:
    clock = VirtualClock()
    fake = kind(clock.now, takes=60.0, rates=RATES)
    return set_stage(root, ROWS, fake, clock, SPEC)


def test_a_key_that_is_revoked_while_batches_are_out_holds_the_job_and_nobody_is_asked_again(tmp_path: Path) -> None:
    played = stage(tmp_path, Revoking)
    played.fake.revoked = True  # type: ignore[attr-defined]
    end = asyncio.run(asyncio.wait_for(played.live(World()), 20))
    assert end.reason is EndReason.HELD
    assert end.hold is not None
    assert (end.hold.kind, end.hold.exit_code) == ("account", 4)
    assert len(played.fake.calls) < 40
    played.fake.revoked = False  # type: ignore[attr-defined]
    acting(played, lambda client, job: client.resume(job))
    assert play(played).reason is EndReason.FINISHED
    verdict = asyncio.run(played.verdict())
    assert verdict.statuses == {"succeeded": ROWS}
    assert verdict.executed_twice == []
    assert verdict.booked == verdict.invoice


def test_files_that_may_not_be_deleted_hold_no_job(tmp_path: Path) -> None:
    played = stage(tmp_path, Keeping)
    end = asyncio.run(played.live(World()))
    assert end.reason is EndReason.FINISHED
    assert end.view.job.hold is None


def test_a_provider_that_names_no_account_and_forgets_the_oldest_batch_knows_the_job_by_the_newest(
    tmp_path: Path,
) -> None:
    clock = VirtualClock()
    fake = FakeOpenAI(
        clock.now,
        Quirks(names_account=False),
        takes=60.0,
        rates=RATES,
        rows=lambda row, turn: "400" if row == 5 else "ok",
    )
    played = set_stage(tmp_path, ROWS, fake, clock, SPEC)
    assert play(played).reason is EndReason.FINISHED
    del fake.made[next(iter(fake.made))]
    assert acting(played, lambda client, job: client.retry(job)) == 1
    assert play(played).reason is EndReason.FINISHED
    assert len(fake.made) == 2
