"""What is said of a lost submission: never that it is absent while something may be it, never that a batch is ours
without an answer that says so, unless nothing else fits."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.core.fate import Absent, Adopt, Candidate, LookAgain, Undecided, fate
from overnight.types import RemoteBatch, RemoteId, RemoteState


def seen(name: str, state: RemoteState, ours: bool | None) -> Candidate:
    return Candidate(RemoteBatch(RemoteId(name), state, state.value), ours)


RUNNING = seen("running", RemoteState.IN_PROGRESS, None)
ANOTHER = seen("another", RemoteState.CANCELING, None)
LATE = seen("late", RemoteState.ENDED, None)
MUTE = replace(LATE, mute=True)
OURS = seen("ours", RemoteState.ENDED, True)
TWIN = seen("twin", RemoteState.ENDED, True)
FAILED = seen("failed", RemoteState.FAILED, True)
THEIRS = seen("theirs", RemoteState.ENDED, False)


@pytest.mark.parametrize(
    ("candidates", "waited", "contested", "exclusive", "expected"),
    [
        ([], False, False, False, LookAgain()),
        ([], True, False, False, Absent()),
        ([THEIRS], True, False, False, Absent()),
        ([THEIRS, THEIRS, RUNNING], True, False, False, Adopt(RUNNING.remote, proved=False)),
        ([RUNNING], False, False, False, LookAgain()),
        ([RUNNING], False, False, True, Adopt(RUNNING.remote, proved=False)),
        ([RUNNING], True, True, True, Undecided((RUNNING,))),
        ([RUNNING, ANOTHER], True, False, True, Undecided((RUNNING, ANOTHER))),
        ([RUNNING, OURS], False, True, False, Adopt(OURS.remote)),
        ([OURS, RUNNING, TWIN], False, False, False, Adopt(OURS.remote, (TWIN.remote,))),
        ([FAILED, OURS], False, False, False, Adopt(OURS.remote)),
        ([FAILED], False, False, False, Adopt(FAILED.remote)),
        ([MUTE], True, False, False, Undecided((MUTE,))),
        ([LATE], True, False, False, Undecided((LATE,))),
        ([LATE], True, False, True, Adopt(LATE.remote, proved=False)),
        ([MUTE], True, False, True, Adopt(MUTE.remote, proved=True)),
    ],
)
def test_fates(candidates: list[Candidate], waited: bool, contested: bool, exclusive: bool, expected: object) -> None:
    assert fate(candidates, waited=waited, contested=contested, exclusive=exclusive) == expected


def test_waiting_tells_where_answers_are_to_come() -> None:
    assert Undecided((MUTE, RUNNING)).in_time
    assert Undecided((MUTE, LATE)).in_time
    assert not Undecided((MUTE, MUTE)).in_time


several = st.lists(
    st.builds(seen, st.uuids().map(str), st.sampled_from(RemoteState), st.sampled_from([True, False, None])), max_size=5
)


@given(several, st.booleans(), st.booleans(), st.booleans())
def test_nothing_is_claimed_that_is_not_known(
    candidates: list[Candidate], waited: bool, contested: bool, exclusive: bool
) -> None:
    ours = [each.remote for each in candidates if each.ours]
    unknown = [each for each in candidates if each.ours is None]
    match fate(candidates, waited=waited, contested=contested, exclusive=exclusive):
        case Adopt(remote, twins, proved):
            assert remote in ours or [each.remote for each in unknown] == [remote]
            assert set(twins) <= set(ours) - {remote}
            assert remote in ours or not contested
            assert remote in ours or waited or exclusive
            assert proved is (remote in ours or (exclusive and unknown[0].mute))
        case Absent():
            assert waited
            assert not ours
            assert not unknown
        case Undecided(left):
            assert waited
            assert not ours
            assert list(left) == unknown
        case LookAgain():
            assert not waited
            assert not ours
