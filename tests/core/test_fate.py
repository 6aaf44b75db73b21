"""What is said of a lost submission: never that it is absent while something may be it, never that a batch is ours
without an answer that says so, unless nothing else fits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.core.fate import Absent, Adopt, Candidate, LookAgain, Undecided, fate, is_over
from overnight.types import RemoteBatch, RemoteId, RemoteState


def seen(name: str, state: RemoteState, ours: bool | None) -> Candidate:
    return Candidate(RemoteBatch(RemoteId(name), state, state.value), ours)


RUNNING = seen("running", RemoteState.IN_PROGRESS, None)
ANOTHER = seen("another", RemoteState.CANCELING, None)
MUTE = seen("mute", RemoteState.ENDED, None)
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
        ([RUNNING], True, True, True, Undecided((RUNNING.remote,))),
        ([RUNNING, ANOTHER], True, False, True, Undecided((RUNNING.remote, ANOTHER.remote))),
        ([RUNNING, OURS], False, True, False, Adopt(OURS.remote)),
        ([OURS, RUNNING, TWIN], False, False, False, Adopt(OURS.remote, (TWIN.remote,))),
        ([FAILED, OURS], False, False, False, Adopt(OURS.remote)),
        ([FAILED], False, False, False, Adopt(FAILED.remote)),
        ([MUTE], True, False, False, Undecided((MUTE.remote,))),
        ([MUTE], True, False, True, Adopt(MUTE.remote, proved=True)),
    ],
)
def test_fates(candidates: list[Candidate], waited: bool, contested: bool, exclusive: bool, expected: object) -> None:
    assert fate(candidates, waited=waited, contested=contested, exclusive=exclusive) == expected


def test_waiting_tells_where_answers_are_to_come() -> None:
    assert Undecided((MUTE.remote, RUNNING.remote)).in_time
    assert not Undecided((MUTE.remote, FAILED.remote)).in_time


several = st.lists(
    st.builds(seen, st.uuids().map(str), st.sampled_from(RemoteState), st.sampled_from([True, False, None])), max_size=5
)


@given(several, st.booleans(), st.booleans(), st.booleans())
def test_nothing_is_claimed_that_is_not_known(
    candidates: list[Candidate], waited: bool, contested: bool, exclusive: bool
) -> None:
    ours = [each.remote for each in candidates if each.ours]
    unknown = [each.remote for each in candidates if each.ours is None]
    match fate(candidates, waited=waited, contested=contested, exclusive=exclusive):
        case Adopt(remote, twins, proved):
            assert remote in ours or unknown == [remote]
            assert set(twins) <= set(ours) - {remote}
            assert remote in ours or not contested
            assert remote in ours or waited or exclusive
            assert proved is (remote in ours or (exclusive and is_over(remote)))
        case Absent():
            assert waited
            assert not ours
            assert not unknown
        case Undecided(remotes):
            assert waited
            assert not ours
            assert list(remotes) == unknown
        case LookAgain():
            assert not waited
            assert not ours
