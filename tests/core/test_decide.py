"""Decisions: never a second submission, never a sleep with work left, limits before money."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.core.cost import Rates
from overnight.core.decide import (
    Cancel,
    CancelUnsent,
    Collect,
    Decision,
    FollowUp,
    HoldJob,
    Poll,
    PostponeCancel,
    Prove,
    Settle,
    Submit,
    Terms,
    Wait,
    decide,
)
from overnight.spec import Brake, Expect, Policy, Rows, Spec
from overnight.types import (
    OPEN_STATES,
    Batch,
    BatchId,
    BatchState,
    FileId,
    Hold,
    Job,
    JobId,
    JobTotals,
    JobView,
    PicoUSD,
    RemoteBatch,
    RemoteId,
    RemoteState,
    Selection,
    Tokens,
)
from tests.core.test_machine import batch

SPEC = Spec(model="openai/m")
TERMS = Terms(
    SPEC, in_flight=3, follow_up_rows=100, visibility=60, settle_every=20, poll=None, creates_per_hour=None, rates=None
)
ALL = Selection()
JOB = Job(JobId("j"), "i", "n", b"{}", 0.0, planned=ALL, approved=ALL)
NOW = 1_000_000.0


def view(**changes: object) -> JobView:
    parts: dict[str, object] = {
        "job": JOB, "open": (), "ready": (), "next_ready": None, "totals": JobTotals(), "oldest_backlog": None,
        "creates_last_hour": 0,
    }  # fmt: skip
    return JobView(**{**parts, **changes})  # type: ignore[arg-type]


def planned(number: int) -> Batch:
    return replace(batch(), id=BatchId(f"p{number}"))


def out(state: BatchState, number: int = 0, **changes: object) -> Batch:
    sent = replace(
        batch(state),
        id=BatchId(f"o{number}"),
        remote=RemoteBatch(RemoteId(f"r{number}"), RemoteState.IN_PROGRESS, "x"),
        accepted_at=NOW - 1000,
        polled_at=NOW - 1000,
    )
    return replace(sent, **changes)


SENT = out(BatchState.SUBMITTING, file_id=FileId("f"), create_deadline=NOW)


def actions(given_view: JobView, terms: Terms = TERMS, waits: dict[BatchId, Wait] | None = None, elapsed: float = 0.0):
    return decide(given_view, NOW, elapsed, waits or {}, terms).actions


batches = st.builds(
    lambda state, number, file, polled, cancel: out(
        state, number, create_deadline=NOW if file else None, polled_at=NOW - polled, cancel_requested=cancel
    ),
    st.sampled_from(sorted(OPEN_STATES)),
    st.integers(0, 1000),
    st.booleans(),
    st.floats(0, 5000),
    st.booleans(),
)
waits = st.one_of(
    st.none(),
    st.builds(Wait, st.floats(0, 500), st.integers(0, 9), st.floats(0, 500), st.booleans(), st.booleans()),
)
holds = st.sampled_from([None, Hold("brake", "m", 5)])


@given(
    st.lists(batches, max_size=5, unique_by=lambda b: b.id),
    st.integers(0, 4),
    st.one_of(st.none(), st.floats(1, 100)),
    st.integers(0, 200),
    holds,
    st.booleans(),
    waits,
)
def test_decide_never_submits_what_is_out_and_never_sleeps_with_work_left(
    open_batches: list[Batch],
    ready: int,
    next_ready: float | None,
    backlog: int,
    hold: Hold | None,
    cancel: bool,
    wait: Wait | None,
) -> None:
    job = replace(JOB, hold=hold, cancel_requested=cancel)
    given_view = view(
        job=job,
        open=tuple(open_batches),
        ready=tuple(planned(n) for n in range(ready)),
        next_ready=None if next_ready is None else NOW + next_ready,
        totals=JobTotals(backlog=backlog),
        oldest_backlog=NOW - 10 if backlog else None,
    )
    known = {b.id: wait for b in open_batches} if wait is not None else {}
    decision = decide(given_view, NOW, 500.0, known, TERMS)
    submitted = [action.batch for action in decision.actions if isinstance(action, Submit)]
    assert len({b.id for b in submitted}) == len(submitted)
    for b in submitted:
        # Only what never left: planned, or a submission whose create certainly did not go out.
        unsent = b.create_deadline is None or (b.id in known and known[b.id].unsent)
        assert b.state is BatchState.PLANNED or (b.state is BatchState.SUBMITTING and unsent)
    if hold or cancel:
        assert not submitted
    fresh = [b for b in submitted if b.state is BatchState.PLANNED]
    assert len(open_batches) + len(fresh) <= max(TERMS.in_flight, len(open_batches))
    touched = {b.id for action in decision.actions for b in _touched(action)}
    for b in open_batches:
        if b.state is BatchState.ENDED:
            assert b.id in touched
    if not decision.actions and not decision.finished:
        # Nothing to do now: there is a time to wake at, or only a person can go on.
        stuck = hold is not None or any(b.state is BatchState.HELD for b in open_batches)
        assert decision.wake_at is not None or stuck
    if decision.finished:
        assert not open_batches
        assert cancel or not (ready or next_ready or backlog)


def _touched(action: object) -> tuple[Batch, ...]:
    return getattr(action, "batches", None) or ((action.batch,) if hasattr(action, "batch") else ())


def test_nothing_is_sent_before_the_plan_is_whole_and_approved() -> None:
    for job in (replace(JOB, planned=None, approved=None), replace(JOB, approved=Selection(limit=5))):
        decision = decide(view(job=job, ready=(planned(1),)), NOW, 0, {}, TERMS)
        assert decision.actions == ()
        assert not decision.finished


@pytest.mark.parametrize(
    ("wait", "elapsed", "expected"),
    [
        (None, 0, Settle(SENT, prove=False)),
        (Wait(0, 2, 40, owner_dead=True), 59, None),
        (Wait(0, 2, 40, owner_dead=True), 60, Settle(SENT, prove=True)),
        (Wait(0, 1, 20, owner_dead=True), 60, Settle(SENT, prove=False)),
        (Wait(0, 5, 100, owner_dead=True, fenced=80), 119, None),
        (
            Wait(0, 5, 100, owner_dead=True, fenced=60),
            120,
            Settle(SENT, True),
        ),
        (Wait(0, 8, 170, owner_dead=False), 179, None),
        (Wait(0, 8, 170, owner_dead=False), 180, Settle(SENT, prove=True)),
        (Wait(0, 8, 170, owner_dead=False, unsent=True), 900, Submit(SENT)),
    ],
)
def test_absence_is_claimed_after_the_delay_and_of_a_living_sender_after_the_create_deadline_too(
    wait: Wait | None, elapsed: float, expected: Settle | None
) -> None:
    done = actions(view(open=(SENT,)), waits={SENT.id: wait} if wait else {}, elapsed=elapsed)
    assert done == (() if expected is None else (expected,))


@pytest.mark.parametrize(
    ("owner_dead", "elapsed", "proves"),
    [(True, 119, False), (True, 120, True), (False, 239, False), (False, 240, True)],
)
def test_where_no_file_is_to_fence_with_the_delay_is_waited_for_twice(
    owner_dead: bool, elapsed: float, proves: bool
) -> None:
    sent = replace(SENT, file_id=None)
    done = actions(view(open=(sent,)), waits={sent.id: Wait(0, 9, elapsed - 1, owner_dead)}, elapsed=elapsed)
    assert done == ((Settle(sent, prove=True),) if proves else ())


def test_a_held_submission_is_looked_at_again_until_no_answer_is_to_come() -> None:
    held = out(BatchState.HELD, create_deadline=NOW)

    def decided(wait: Wait | None, elapsed: float) -> Decision:
        return decide(view(open=(held,)), NOW, elapsed, {} if wait is None else {held.id: wait}, TERMS)

    assert decided(None, 0).actions == (Settle(held, prove=True),)
    assert decided(Wait(0, 3, 60, owner_dead=True), 179) == Decision((), NOW + 1)
    assert decided(Wait(0, 3, 60, owner_dead=True), 180).actions == (Settle(held, prove=True),)
    assert decided(Wait(0, 3, 60, owner_dead=True, in_vain=True), 9999) == Decision((), None)


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("job", [JOB, replace(JOB, cancel_requested=True)])
def test_a_batch_that_may_be_somebody_elses_is_neither_canceled_nor_collected(job: Job, exclusive: bool) -> None:
    spec = Spec(model="openai/m", policy=Policy(exclusive=exclusive))
    asked = out(BatchState.IN_PROGRESS, 1, proved=False, cancel_requested=True)
    running = out(BatchState.IN_PROGRESS, 2, proved=False)
    ended = out(BatchState.ENDED, 3, proved=False)
    done = actions(view(job=job, open=(asked, running, ended)), replace(TERMS, spec=spec))
    assert Prove(ended) in done
    assert not any(isinstance(action, Collect) for action in done)
    canceled = {action.batch.id for action in done if isinstance(action, Cancel)}
    assert canceled == (({asked.id, running.id} if job.cancel_requested else {asked.id}) if exclusive else set())
    postponed = [action.batch for action in done if isinstance(action, PostponeCancel)]
    assert postponed == ([running] if job.cancel_requested and not exclusive else [])


def rows(count: int, batch: Batch) -> Batch:
    return replace(batch, shard=replace(batch.shard, rows=count))


@pytest.mark.parametrize(
    ("unresolved", "sent"),
    [
        (None, [1, 2, 3]),
        ((), [1, 3]),  # the second 10 waits for the first
        ((rows(10, replace(SENT, create_deadline=NOW + 1)),), [3]),
        ((rows(10, replace(SENT, create_deadline=NOW - 1)),), [3]),
        ((rows(10, out(BatchState.HELD)), rows(7, out(BatchState.HELD))), [1, 3]),  # no other is left
        ((rows(8, out(BatchState.HELD)),), [1, 3]),
    ],
)
def test_no_two_submissions_that_only_their_count_tells_apart_are_on_their_way(
    unresolved: tuple[Batch, ...] | None, sent: list[int]
) -> None:
    ready = (rows(10, planned(1)), rows(10, planned(2)), rows(7, planned(3)))
    terms = replace(TERMS, in_flight=9)
    decision = decide(view(ready=ready, unresolved=unresolved), NOW, 0, {}, terms)
    assert [action.batch.id for action in decision.actions if isinstance(action, Submit)] == [f"p{n}" for n in sent]
    only = decide(view(ready=ready[:2], unresolved=unresolved), NOW, 0, {}, terms)
    assert only.actions or only.wake_at is not None


def test_a_number_in_use_wakes_nobody_where_there_is_no_room() -> None:
    held = out(BatchState.HELD, create_deadline=NOW)
    ready = (rows(10, planned(1)), rows(10, planned(2)))
    waits = {held.id: Wait(0, 9, 0, owner_dead=True, in_vain=True)}
    terms = replace(TERMS, in_flight=1)
    assert decide(view(open=(held,), ready=ready, unresolved=(held,)), NOW, 0, waits, terms) == Decision((), None)


def test_many_batches_are_polled_with_one_action_and_the_ended_collected() -> None:
    due = tuple(out(BatchState.IN_PROGRESS, n) for n in range(3))
    done = actions(view(open=(*due, out(BatchState.ENDED, 9))))
    assert done == (Collect(out(BatchState.ENDED, 9)), Poll(due))


def test_a_canceled_job_cancels_what_is_out_and_what_never_left() -> None:
    job = replace(JOB, cancel_requested=True)
    running = out(BatchState.IN_PROGRESS)
    done = actions(view(job=job, open=(running,), ready=(planned(1),), totals=JobTotals(backlog=5)))
    assert done == (Cancel(running), CancelUnsent((planned(1),)))


@pytest.mark.parametrize(
    ("backlog", "open_batches", "waited", "goes"),
    [(5, (), 0, True), (5, (1,), 0, False), (100, (1,), 0, True), (5, (1,), 3600, True)],
)
def test_follow_ups_go_out_full_or_alone_or_after_an_hour(
    backlog: int, open_batches: tuple[int, ...], waited: float, goes: bool
) -> None:
    running = tuple(out(BatchState.IN_PROGRESS, n, polled_at=NOW) for n in open_batches)
    given_view = view(open=running, totals=JobTotals(backlog=backlog), oldest_backlog=NOW - waited)
    assert (FollowUp() in actions(given_view)) is goes


def kinds(ended: int, **failures: int) -> JobTotals:
    return JobTotals(ended=ended, kinds=failures)


@pytest.mark.parametrize(
    ("totals", "brake", "forgiven", "held"),
    [
        (kinds(20, permanent=10), Brake(), {}, True),
        (kinds(20, permanent=9, refused=9), Brake(), {}, False),
        (kinds(19, permanent=19), Brake(), {}, False),
        (kinds(20, permanent=20), None, {}, False),
        (kinds(40, permanent=20), Brake(), {"ended": 20, "permanent": 20}, False),
        (kinds(40, permanent=30), Brake(), {"ended": 20, "permanent": 20}, True),
    ],
)
def test_the_brake(totals: JobTotals, brake: Brake | None, forgiven: dict[str, int], held: bool) -> None:
    terms = replace(TERMS, spec=Spec(model="openai/m", policy=Policy(brake=brake)))
    done = actions(view(job=replace(JOB, forgiven=forgiven), ready=(planned(1),), totals=totals), terms)
    assert isinstance(done[0], HoldJob) is held
    assert isinstance(done[0], Submit) is not held


@pytest.mark.parametrize(("yes", "held"), [(10, False), (2, True)])
def test_an_expected_share_of_labels(yes: int, held: bool) -> None:
    spec = Spec(model="openai/m", rows=Rows(expect=Expect(labels={"yes": (0.3, 0.7)})))
    totals = JobTotals(ended=20, labels={"yes": yes, "no": 20 - yes})
    done = actions(view(ready=(planned(1),), totals=totals), replace(TERMS, spec=spec))
    assert isinstance(done[0], HoldJob) is held


RATES = Rates(input=1_000_000, cached=100_000, output=10_000_000)
MOST = 100 * 1_000_000 + 160 * 10_000_000  # the ceiling of SHARD


@pytest.mark.parametrize(
    ("job", "totals", "rates", "sent"),
    [
        ({"max_requests": 20}, JobTotals(), None, 2),
        ({"max_requests": 20}, JobTotals(sent=15), None, 0),
        ({"max_cost": MOST}, JobTotals(), RATES, 1),
        ({"max_cost": MOST - 1}, JobTotals(), RATES, 0),
        ({"max_cost": 2 * MOST}, JobTotals(cost=PicoUSD(MOST)), RATES, 1),
        ({"max_cost": 2 * MOST}, JobTotals(open_tokens=100, open_max_output=160), RATES, 1),
        ({"max_cost": 2 * MOST}, JobTotals(cost=PicoUSD(MOST), unknown_rows=1), RATES, 0),
        # Batches whose price is not known, only the standard one that stands in: their tokens count.
        ({"max_cost": 2 * MOST}, JobTotals(cost_unknown=1, tokens=Tokens(100, 0, 160)), RATES, 1),
        ({"max_cost": MOST}, JobTotals(), None, 0),
    ],
)
def test_limits_hold_the_job_before_the_batch_that_would_cross_them(
    job: dict[str, int], totals: JobTotals, rates: Rates | None, sent: int
) -> None:
    ready = tuple(planned(n) for n in range(3))
    done = actions(view(job=replace(JOB, **job), ready=ready, totals=totals), replace(TERMS, rates=rates))
    assert sum(isinstance(action, Submit) for action in done) == sent
    assert isinstance(done[-1], HoldJob)


def test_creations_per_hour_are_kept() -> None:
    terms = replace(TERMS, creates_per_hour=2000)
    decision = decide(view(ready=(planned(1),), creates_last_hour=2000), NOW, 0, {}, terms)
    assert decision.actions == ()
    assert decision.wake_at is not None
