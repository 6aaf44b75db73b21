"""Money is never negative, whatever a provider says."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from overnight.core.cost import Rates, ceiling, cost
from overnight.types import Tokens

counts = st.integers(0, 10**7)
rates = st.builds(Rates, counts, counts, counts)


@given(st.builds(Tokens, counts, counts, counts, counts), rates)
def test_a_cost_lies_between_nothing_and_its_ceiling(tokens: Tokens, rates: Rates) -> None:
    assert 0 <= cost(tokens, rates) <= ceiling(tokens.input, tokens.output, rates)
