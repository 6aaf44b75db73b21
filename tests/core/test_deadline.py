"""When a batch is looked at again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from overnight.core.deadline import LONGEST, SHORTEST, create_seconds, poll_interval


def test_a_tenth_of_the_age_between_five_and_sixty_seconds() -> None:
    assert [poll_interval(age) for age in (0, 49, 50, 300, 600, 86_400)] == [5, 5, 5, 30, 60, 60]


def test_a_set_interval_is_kept() -> None:
    assert poll_interval(86_400, 0.05) == 0.05


@given(st.floats(0, 1e9))
def test_a_look_is_never_sooner_or_later_than_the_bounds(age: float) -> None:
    assert SHORTEST <= poll_interval(age) <= LONGEST


def test_a_create_that_carries_the_requests_has_time_for_its_size() -> None:
    assert create_seconds(120, 240_000_000, "file-1") == 120
    assert create_seconds(120, 240_000_000, None) == 120 + 960
    assert create_seconds(120, 0, None) == 120
