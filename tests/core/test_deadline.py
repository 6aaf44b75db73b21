from hypothesis import given
from hypothesis import strategies as st

from overnight.core.deadline import LONGEST, SHORTEST, next_look, poll_interval


def test_a_tenth_of_the_age_between_five_and_sixty_seconds():
    assert [poll_interval(age) for age in (0, 49, 50, 300, 600, 86_400)] == [5, 5, 5, 30, 60, 60]


def test_a_set_interval_is_kept():
    assert poll_interval(86_400, 0.05) == 0.05
    assert next_look(100.0, 130.0, 1.0, 2.0) == 132.0


@given(st.floats(0, 1e9), st.floats(0, 1e6), st.floats(0, 1))
def test_a_look_is_never_sooner_or_later_than_the_bounds(submitted, age, jitter):
    looked = submitted + age
    wait = next_look(submitted, looked, jitter) - looked
    assert SHORTEST - 1e-3 <= wait <= LONGEST + 1e-3


def test_the_first_look_counts_from_the_submission():
    assert next_look(100.0, None, 0.5) == 105.0


def test_jitter_spreads_looks():
    assert next_look(0.0, 300.0, 0.0) == 327.0
    assert next_look(0.0, 300.0, 1.0) == 333.0
