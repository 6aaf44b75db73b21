"""The machine holds its table and nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.core import machine
from overnight.core.machine import TRANSITIONS, Event, diagram, evolve
from overnight.errors import InvariantError
from overnight.types import (
    FINAL_STATES,
    OPEN_STATES,
    Batch,
    BatchId,
    BatchState,
    Counts,
    Failure,
    FailureKind,
    FileId,
    JobId,
    PicoUSD,
    RemoteBatch,
    RemoteId,
    RemoteState,
    Shard,
    ShardId,
    Tag,
    Tokens,
    Totals,
)

SHARD = Shard(ShardId("s"), JobId("j"), 0, 0, "b", 10, 100, "m", "/v1/chat/completions", ((0, 10),), 50, 100, 160, None)
FAILURE = Failure(FailureKind.PERMANENT, "no")
TOTALS = Totals(10, Counts(10, 8, 2), {"missing": 2}, {"missing": 2}, Tokens(), PicoUSD(5))


def batch(state: BatchState = BatchState.PLANNED) -> Batch:
    return Batch(BatchId("b"), JobId("j"), SHARD, state, "openai", "m", "", "openai", 0, Tag("t"), "f", 0.0)


def remote(state: RemoteState) -> RemoteBatch:
    return RemoteBatch(RemoteId("r"), state, state.value)


EVENTS: tuple[Event, ...] = (
    machine.SubmitStarted("a", "me", 1.0),
    machine.Uploaded(FileId("f"), "me", 2.0),
    machine.SubmitAccepted(remote(RemoteState.IN_PROGRESS), 3.0),
    machine.SubmitAccepted(remote(RemoteState.IN_PROGRESS), 3.0, proved=False),
    machine.SubmitRejected(FAILURE, 3.0, True),
    machine.SubmitRejected(FAILURE, 3.0, False),
    machine.SubmitAbsent(3.0),
    machine.SubmitUndecidable(FAILURE, 3.0),
    machine.Polled(remote(RemoteState.IN_PROGRESS), 4.0),
    machine.Polled(remote(RemoteState.CANCELING), 4.0),
    machine.CancelRequested(4.0),
    machine.CanceledUnsent(4.0),
    machine.RemoteEnded(remote(RemoteState.ENDED), 5.0),
    machine.RemoteProved(5.0),
    machine.RemoteDisproved(5.0),
    machine.RemoteFailed(remote(RemoteState.FAILED), FAILURE, 5.0, True),
    machine.RemoteFailed(remote(RemoteState.FAILED), FAILURE, 5.0, False),
    machine.Collected(("o",), "l", TOTALS, 6.0),
    machine.RowsTaken(2, True),
    machine.RemoteCleaned(),
)


def test_every_event_and_every_state_is_in_the_table() -> None:
    assert set(TRANSITIONS) == set(BatchState)
    used = {event for steps in TRANSITIONS.values() for event in steps}
    assert used == set(get_args(Event)) == {type(event) for event in EVENTS}


@given(st.lists(st.sampled_from(EVENTS), max_size=12))
def test_any_history_is_legal_or_refused_and_a_refusal_changes_nothing(history: list[Event]) -> None:
    current = batch()
    doubted = False
    for event in history:
        allowed = TRANSITIONS[current.state].get(type(event), frozenset())
        try:
            after = evolve(current, event)
        except InvariantError:
            continue
        assert after.state in allowed
        assert after.shard == current.shard
        assert after.tag == current.tag
        if isinstance(event, machine.SubmitAccepted):
            doubted = not event.proved
        elif isinstance(event, machine.RemoteProved):
            doubted = False
        assert after.proved or after.state in {BatchState.IN_PROGRESS, BatchState.CANCELING, BatchState.ENDED}
        current = after
    if current.state is BatchState.COLLECTED:
        assert current.totals == TOTALS
        assert not doubted  # nothing is taken of a batch that may be somebody else's


@pytest.mark.parametrize("state", sorted(FINAL_STATES))
def test_a_final_state_is_never_left(state: BatchState) -> None:
    assert all(targets == {state} for targets in TRANSITIONS[state].values())


def test_states_are_planned_open_or_final() -> None:
    assert {BatchState.PLANNED} | OPEN_STATES | FINAL_STATES == set(BatchState)


@pytest.mark.parametrize(("final", "rows"), [(True, 10), (False, None)])
def test_a_batch_that_failed_for_good_ends_its_rows_and_one_put_back_does_not(final: bool, rows: int | None) -> None:
    failed = evolve(batch(BatchState.SUBMITTING), machine.SubmitRejected(FAILURE, 1.0, final))
    assert (failed.totals.rows if failed.totals else None) == rows
    assert failed.backlog_taken


def test_a_cancel_waits_for_the_fate_of_a_submission() -> None:
    asked = evolve(batch(BatchState.SUBMITTING), machine.CancelRequested(1.0))
    assert asked.state is BatchState.SUBMITTING
    accepted = evolve(asked, machine.SubmitAccepted(remote(RemoteState.IN_PROGRESS), 2.0))
    assert accepted.cancel_requested
    assert accepted.state is BatchState.IN_PROGRESS


def test_a_batch_that_proves_to_be_somebody_elses_is_remembered_and_searched_for_again() -> None:
    sent = evolve(batch(BatchState.SUBMITTING), machine.CancelRequested(1.0))
    adopted = evolve(sent, machine.SubmitAccepted(remote(RemoteState.IN_PROGRESS), 2.0, proved=False))
    ended = evolve(adopted, machine.RemoteEnded(remote(RemoteState.ENDED), 3.0))
    for current in (adopted, ended):
        again = evolve(current, machine.RemoteDisproved(4.0))
        assert again == replace(sent, foreign=(RemoteId("r"),))
    held = evolve(ended, machine.SubmitUndecidable(FAILURE, 4.0))
    assert (held.state, held.remote, held.proved) == (BatchState.HELD, None, True)


def test_what_is_proved_is_not_doubted_any_more() -> None:
    ended = replace(batch(BatchState.ENDED), remote=remote(RemoteState.ENDED))
    for event in (machine.RemoteDisproved(1.0), machine.SubmitUndecidable(FAILURE, 1.0)):
        with pytest.raises(InvariantError):
            evolve(ended, event)


def test_the_diagram_shows_every_step() -> None:
    drawn = diagram()
    steps = sum(len(targets) for steps in TRANSITIONS.values() for targets in steps.values())
    assert drawn.count(": ") == steps
