"""Submissions that are known only by their number of requests, in a workspace that others use as well: no row is paid
for twice, nobody else's batch is stopped or taken, and what nothing tells is held until an answer tells it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from overnight.api.client import Client
from overnight.engine.runner import End, EndReason
from overnight.errors import UsageError
from overnight.spec import BatchSize, Policy, Prompt, Spec
from overnight.stores import open_store
from overnight.testing.anthropic_direct import DirectAnthropic
from overnight.testing.anthropic_fake import RATES, Quirks, Refusal
from overnight.testing.anthropic_shared import RUN, SharedAnthropic
from overnight.testing.crashes import StoppedWorld, When, World
from overnight.testing.plays import Stage, Verdict, play, set_stage
from overnight.testing.virtual_time import VirtualClock
from overnight.types import Batch, BatchState
from tests.engine.acting import acting

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

ROWS = 4
HOUR = 3600.0
SPEC = Spec(
    model="anthropic/claude-haiku-4-5",
    prompt=Prompt(user="{{ text }}"),
    batch=BatchSize(rows=ROWS),
    policy=Policy(brake=None, poll=60),
)
LOST = Quirks(lost_creates=frozenset({0}))
FIRST = frozenset({0})


def shared(
    root: Path,
    quirks: Quirks = LOST,
    spec: Spec = SPEC,
    rows: int = ROWS,
    takes: float = HOUR,
    kind: type[SharedAnthropic] = SharedAnthropic,
) -> Stage:
    clock = VirtualClock()
    fake = kind(clock.now, quirks, takes=takes, rates=RATES)
    stage = set_stage(root, rows, fake, clock, spec)
    stage.direct = DirectAnthropic
    return stage


def at(stage: Stage) -> SharedAnthropic:
    assert isinstance(stage.fake, SharedAnthropic)
    return stage.fake


def judged(stage: Stage, rows: int = ROWS, creates: int | None = None) -> Verdict:
    verdict = asyncio.run(stage.verdict())
    assert verdict.statuses == {"succeeded": rows}
    assert verdict.executed_twice == []
    assert len(stage.fake.executions) == rows
    assert verdict.booked == verdict.invoice
    assert at(stage).wronged() == []
    if creates is not None:
        assert stage.fake.calls.count("create") == creates
    return verdict


def batches(stage: Stage) -> list[Batch]:
    async def act(client: Client, job_id: str) -> list[Batch]:
        return [batch async for batch in client.batches(job_id)]

    return acting(stage, act)


def events(stage: Stage) -> list[str]:
    async def act() -> list[str]:
        store = open_store(stage.home / "overnight.db", stage.clock.now)
        assert stage.job_id is not None
        told = [event.name for event in await store.events(stage.job_id)]
        await store.close()
        return told

    return asyncio.run(act())


@pytest.mark.parametrize("quirks", [LOST, Quirks(failed_creates=FIRST), Quirks(late_creates={0: 50.0}, list_lag=50.0)])
@pytest.mark.parametrize("foreign", [0, 1, 2])
def test_an_accepted_create_whose_answer_is_lost_is_found(tmp_path: Path, quirks: Quirks, foreign: int) -> None:
    stage = shared(tmp_path, quirks)
    for number in range(foreign):
        at(stage).neighbor(ROWS, lasts=(number + 1) * 2 * HOUR)
    assert play(stage).reason is EndReason.FINISHED
    judged(stage, creates=1)
    assert ("SubmitUndecidable" in events(stage) or "undecidable" in events(stage)) is (foreign > 0)


@pytest.mark.parametrize("foreign", [0, 1, 2])
def test_a_create_that_never_arrived_goes_out_again_when_all_others_have_proved_to_be_others(
    tmp_path: Path, foreign: int
) -> None:
    stage = shared(tmp_path, Quirks(late_creates={0: 1e9}))
    for number in range(foreign):
        at(stage).neighbor(ROWS, lasts=(number + 1) * HOUR, form=RUN + "-{:09d}-00")
    began = stage.clock.elapsed()
    assert play(stage).reason is EndReason.FINISHED
    judged(stage, creates=2)
    told = events(stage)
    assert told.count("absent") == 1
    assert told.count("disproved") == min(foreign, 1)  # the last one is taken for ours until its answers tell
    assert stage.fake.calls.count("results") <= 2 * foreign + 1  # and remembered
    assert (stage.clock.elapsed() - began > HOUR * (foreign + 1)) or not foreign


def test_batches_of_others_that_ended_before_are_no_matter(tmp_path: Path) -> None:
    stage = shared(tmp_path)
    for number in range(150):
        at(stage).neighbor(ROWS, lasts=HOUR, at=stage.clock.now() - (2 + number / 60) * HOUR)
    at(stage).neighbor(ROWS + 1, lasts=9 * HOUR)
    assert play(stage).reason is EndReason.FINISHED
    judged(stage, creates=1)
    assert 150 < stage.fake.calls.count("results") < 160  # each is asked once


def two_jobs(root: Path, made: set[int]) -> tuple[Stage, Stage]:
    """Two jobs of one home, the creates of both lost; those that were accepted are in `made`."""
    lost = frozenset({0, 1})
    one = shared(root, Quirks(lost_creates=lost & made, late_creates=dict.fromkeys(lost - made, 1e9)))
    other = Stage(
        one.home,
        msgspec.structs.replace(SPEC, prompt=Prompt(user="No. {{ text }}"), name="other"),
        one.fake,
        one.clock,
        DirectAnthropic,
    )
    other.spec = msgspec.structs.replace(other.spec, source=one.spec.source, key="id")
    for number, stage in enumerate((one, other), 1):
        asyncio.run(stage.live(World(), stop=lambda n=number: one.fake.calls.count("create") == n))
    return one, other


@pytest.mark.parametrize(("accepted", "made"), [("both", {0, 1}), ("first", {0}), ("second", {1}), ("none", set())])
def test_two_jobs_that_lose_creates_of_the_same_count_at_once(tmp_path: Path, accepted: str, made: set[int]) -> None:
    one, other = two_jobs(tmp_path, made)
    assert [batch.state for batch in batches(one) + batches(other)] == [BatchState.SUBMITTING] * 2
    assert one.clock.elapsed() > SPEC.policy.create_timeout  # the second waited as long as it may help
    one.clock.parties = 2

    async def both() -> list[End]:
        async def life(stage: Stage, delay: float) -> End:
            try:
                await stage.clock.sleep(delay)
                return await stage.live(World())
            finally:
                stage.clock.leave()

        return list(await asyncio.gather(life(one, 0.0), life(other, 5.0)))

    assert [end.reason for end in asyncio.run(both())] == [EndReason.FINISHED] * 2
    for stage in (one, other):
        assert [batch.state for batch in batches(stage) if batch.state is not BatchState.ABSENT] == [
            BatchState.COLLECTED
        ]
    assert len(one.fake.executions) == 2 * ROWS
    assert one.fake.executed_twice() == []
    assert one.fake.calls.count("create") == 4 - len(made)


def test_the_proof_of_one_submission_takes_the_batch_from_another_that_had_none(tmp_path: Path) -> None:
    one, other = two_jobs(tmp_path, {1})
    (theirs,) = one.fake.made  # of the second job
    asyncio.run(one.live(World(), stop=lambda: one.clock.elapsed() > 1_000))
    (held,) = batches(one)
    assert held.state is BatchState.HELD
    acting(one, lambda client, job: client.adopt(job, held.id, theirs))
    assert play(other).reason is EndReason.FINISHED  # while nobody runs the first
    (lost,) = batches(one)
    assert (lost.state, lost.foreign) == (BatchState.SUBMITTING, (theirs,))
    assert play(one).reason is EndReason.FINISHED
    assert len(one.fake.executions) == 2 * ROWS
    assert one.fake.executed_twice() == []
    assert one.fake.calls.count("create") == 3


def test_an_end_without_an_answer_tells_nothing_and_the_operator_decides(tmp_path: Path) -> None:
    stage = shared(tmp_path, Quirks(lost_creates=FIRST, empty_results=True))
    end = play(stage)
    assert end.reason is EndReason.HELD
    assert end.hold is not None
    assert end.hold.kind == "undecidable"
    (held,) = batches(stage)
    (remote,) = stage.fake.made
    assert f"{remote} (ended, no answer tells)" in end.hold.message
    assert f"batch {held.id}" in end.hold.message

    async def listed(client: Client, job_id: str) -> None:
        ((batch, remotes),) = await client.held(job_id)
        assert (batch.id, [each.id for each in remotes]) == (held.id, [remote])
        await client.adopt(job_id, held.id, remote)

    acting(stage, listed)
    at(stage).quirks = Quirks()
    assert play(stage).reason is EndReason.FINISHED
    judged(stage, creates=1)


def two_candidates(root: Path, quirks: Quirks = LOST, neighbors: int = 1) -> Stage:
    """A job whose submission is held: it may be either of two that run."""
    stage = shared(root, quirks)
    for _ in range(neighbors):
        at(stage).neighbor(ROWS, lasts=3 * HOUR)
    asyncio.run(stage.live(World(), stop=lambda: stage.clock.elapsed() > 600))
    assert [batch.state for batch in batches(stage)] == [BatchState.HELD]
    return stage


def failing(stage: Stage, act: Callable[[Client, str], Awaitable[Any]]) -> str:
    with pytest.raises(UsageError) as caught:
        acting(stage, act)
    return str(caught.value)


def test_the_operator_may_be_right_before_any_answer(tmp_path: Path) -> None:
    stage = two_candidates(tmp_path)
    (held,) = batches(stage)
    (ours,) = set(stage.fake.made) - at(stage).neighbors
    acting(stage, lambda client, job: client.adopt(job, held.id, ours))
    assert not batches(stage)[0].proved
    assert play(stage).reason is EndReason.FINISHED
    judged(stage, creates=1)
    assert stage.clock.elapsed() < 2 * HOUR


def test_the_operator_may_be_wrong_before_any_answer(tmp_path: Path) -> None:
    stage = two_candidates(tmp_path)
    (held,) = batches(stage)
    (theirs,) = at(stage).neighbors
    acting(stage, lambda client, job: client.adopt(job, held.id, theirs))
    stage.cancel_after = 60.0
    assert play(stage).reason is EndReason.FINISHED  # and stops nobody's batch
    judged(stage, creates=1)


def test_the_operator_is_told_where_answers_say_otherwise(tmp_path: Path) -> None:
    stage = two_candidates(tmp_path)
    (held,) = batches(stage)
    (theirs,) = at(stage).neighbors
    (ours,) = set(stage.fake.made) - at(stage).neighbors
    stage.clock.advance(4 * HOUR)
    assert "are not those of batch" in failing(stage, lambda client, job: client.adopt(job, held.id, theirs))
    assert f"{ours} is batch {held.id}" in failing(stage, lambda client, job: client.declare_absent(job, held.id))
    assert "has no batch none" in failing(stage, lambda client, job: client.adopt(job, held.id, "none"))
    assert play(stage).reason is EndReason.FINISHED
    judged(stage, creates=1)


def test_what_the_operator_declares_absent_goes_out_again(tmp_path: Path) -> None:
    stage = two_candidates(tmp_path, Quirks(late_creates={0: 1e9}), neighbors=2)
    (held,) = batches(stage)
    acting(stage, lambda client, job: client.declare_absent(job, held.id))
    assert play(stage).reason is EndReason.FINISHED
    judged(stage, creates=2)


def test_another_key_decides_nothing(tmp_path: Path) -> None:
    stage = two_candidates(tmp_path)
    (held,) = batches(stage)
    at(stage).accounts = {"sk-ant-fake": "another workspace"}
    for act in (
        lambda client, job: client.held(job),
        lambda client, job: client.declare_absent(job, held.id),
    ):
        assert "belongs to the account" in failing(stage, act)


@pytest.mark.parametrize("exclusive", [False, True])
def test_a_cancel_waits_for_the_proof(tmp_path: Path, exclusive: bool) -> None:
    policy = Policy(brake=None, poll=60, exclusive=exclusive)
    stage = shared(tmp_path, spec=msgspec.structs.replace(SPEC, policy=policy))
    stage.cancel_after = 600.0
    assert play(stage).reason is EndReason.FINISHED
    verdict = asyncio.run(stage.verdict())
    assert verdict.statuses == ({"canceled": ROWS} if exclusive else {"succeeded": ROWS})
    assert verdict.booked == verdict.invoice
    assert ("cancel_waits" in events(stage)) is not exclusive
    assert stage.fake.calls.count("cancel") == exclusive


def test_in_a_workspace_of_ours_alone_one_candidate_is_adopted_at_once(tmp_path: Path) -> None:
    policy = Policy(brake=None, poll=60, exclusive=True)
    stage = shared(tmp_path, spec=msgspec.structs.replace(SPEC, policy=policy))
    asyncio.run(stage.live(World(), stop=lambda: stage.clock.elapsed() > 30))
    assert [batch.state for batch in batches(stage)] == [BatchState.IN_PROGRESS]
    assert play(stage).reason is EndReason.FINISHED
    judged(stage, creates=1)


def test_a_candidate_that_its_owner_deletes_is_given_up_when_its_window_is_over(tmp_path: Path) -> None:
    slow = msgspec.structs.replace(SPEC, policy=Policy(brake=None, poll=900))
    stage = shared(tmp_path, Quirks(late_creates={0: 1e9}), slow)
    theirs = at(stage).neighbor(ROWS, lasts=HOUR)
    asyncio.run(stage.live(World(), stop=lambda: stage.clock.elapsed() > 600))
    assert [batch.state for batch in batches(stage)] == [BatchState.IN_PROGRESS]
    del stage.fake.made[theirs.id]
    at(stage).neighbors = frozenset()
    assert play(stage).reason is EndReason.FINISHED
    judged(stage, creates=2)
    assert 24 * HOUR < stage.clock.elapsed() < 27 * HOUR


class Deleting(SharedAnthropic):
    """The neighbours delete what has ended before anybody else reads it."""

    def results(self, key: str, id: str) -> tuple[bytes, bool]:
        if id in self.neighbors:
            self.made.pop(id, None)
        return super().results(key, id)


class Broken(SharedAnthropic):
    """The results of the neighbours cannot be had."""

    def results(self, key: str, id: str) -> tuple[bytes, bool]:
        if id in self.neighbors:
            raise Refusal("api_error", "Internal server error")
        return super().results(key, id)


@pytest.mark.parametrize("foreign", [1, 2])
def test_a_candidate_that_is_deleted_between_two_looks_is_none_any_more(tmp_path: Path, foreign: int) -> None:
    stage = shared(tmp_path, Quirks(late_creates={0: 1e9}), kind=Deleting)
    for number in range(foreign):
        at(stage).neighbor(ROWS, lasts=(number + 1) * HOUR)
    assert play(stage).reason is EndReason.FINISHED
    at(stage).neighbors = frozenset()
    judged(stage, creates=2)
    assert stage.clock.elapsed() < 4 * HOUR


@pytest.mark.parametrize("arrives", [True, False])
def test_candidates_whose_answers_cannot_be_had_stop_nobody(tmp_path: Path, arrives: bool) -> None:
    spec = msgspec.structs.replace(SPEC, batch=BatchSize(rows=2))
    stage = shared(tmp_path, LOST if arrives else Quirks(late_creates={0: 1e9}), spec, kind=Broken)
    at(stage).neighbor(2, lasts=30)
    end = play(stage)
    if not arrives:
        assert end.reason is EndReason.HELD
        held = next(batch for batch in batches(stage) if batch.state is BatchState.HELD)
        acting(stage, lambda client, job: client.declare_absent(job, held.id))
        end = play(stage)
    assert end.reason is EndReason.FINISHED
    judged(stage, creates=2 if arrives else 3)


SMALL = msgspec.structs.replace(SPEC, batch=BatchSize(rows=2), policy=Policy(brake=None, poll=300))
DEADLY = ("provider.create", "provider.find", "provider.first_id", "store.commit")


def sparse(root: Path) -> Stage:
    """Three batches, the second create lost; of the neighbours' batches one ends before it, one after."""
    stage = shared(root, Quirks(lost_creates=frozenset({1})), SMALL, 6, takes=600.0)
    at(stage).neighbor(2, lasts=700.0)
    at(stage).neighbor(2, lasts=1_000.0)
    return stage


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("name", DEADLY)
def test_death_around_a_lost_create(tmp_path: Path, name: str, when: When) -> None:
    for number in (1, 3):
        stage = sparse(tmp_path / str(number))
        worlds = [World(number, when, name), World(number, when, name)]
        assert play(stage, worlds).reason is EndReason.FINISHED
        judged(stage, rows=6)
        if not worlds[0].dead:
            return


LEASE = 3_600.0


@pytest.mark.parametrize("wakes", [LEASE / 2, LEASE + 30, LEASE + 190, LEASE + 250, LEASE + 400, 3 * LEASE])
@pytest.mark.parametrize("foreign", [0, 1])
def test_one_is_stopped_in_the_middle_of_a_create_and_woken(tmp_path: Path, wakes: float, foreign: int) -> None:
    stage = shared(tmp_path, Quirks(), SMALL, 6, takes=600.0)
    stage.clock.parties = 2
    for _ in range(foreign):
        at(stage).neighbor(2, lasts=2 * LEASE)
    stopped = StoppedWorld("provider.create", 2, wakes, stage.clock, "after")
    ends = asyncio.run(stage.live_both(stopped, World(), 5.0))
    assert [end.reason for end in ends] == [EndReason.FINISHED] * 2
    judged(stage, rows=6)


STEP = 23


@pytest.mark.slow
@pytest.mark.parametrize(("when", "first"), [("before", 1), ("after", 12)])
def test_death_at_calls_all_over_a_life(tmp_path: Path, when: When, first: int) -> None:
    whole, calls = sparse(tmp_path / "whole"), World()
    assert play(whole, [calls]).reason is EndReason.FINISHED
    for number in range(first, len(calls.calls) + 1, STEP):
        world = World(number, when)
        stage = sparse(tmp_path / str(number))
        assert play(stage, [world]).reason is EndReason.FINISHED, f"death {when} call {number}: {world.calls[-1]}"
        judged(stage, rows=6)
