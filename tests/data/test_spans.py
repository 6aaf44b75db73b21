"""Spans behave as sets of integers do."""

from hypothesis import given
from hypothesis import strategies as st

from overnight.data import spans

sets = st.sets(st.integers(0, 60))


def test_spans_are_sorted_disjoint_and_do_not_touch() -> None:
    assert spans.from_ordinals([5, 3, 4, 9, 9]) == ((3, 6), (9, 10))
    assert spans.union([(0, 3), (2, 5)], [(5, 6), (9, 9)]) == ((0, 6),)


@given(sets, sets)
def test_algebra_agrees_with_sets(left: set[int], right: set[int]) -> None:
    a, b = spans.from_ordinals(left), spans.from_ordinals(right)
    for made, meant in (
        (spans.union(a, b), left | right),
        (spans.intersect(a, b), left & right),
        (spans.minus(a, b), left - right),
    ):
        assert set(spans.ordinals(made)) == meant
        assert spans.count(made) == len(meant)
        assert made == spans.from_ordinals(meant), "one form for one set"


@given(sets, st.integers(-1, 61))
def test_position_is_the_line_of_the_ordinal(members: set[int], ordinal: int) -> None:
    held = spans.from_ordinals(members)
    expected = sorted(members).index(ordinal) if ordinal in members else None
    assert spans.position(held, ordinal) == expected
