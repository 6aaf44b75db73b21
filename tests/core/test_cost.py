"""Money is never negative, whatever a provider says."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from overnight.core.cost import Rates, ceiling, cost, writing
from overnight.types import Tokens

counts = st.integers(0, 10**7)
rates = st.builds(Rates, counts, counts, counts)


@given(st.builds(Tokens, counts, counts, counts, counts), rates)
def test_a_cost_lies_between_nothing_and_its_ceiling(tokens: Tokens, rates: Rates) -> None:
    assert 0 <= cost(tokens, rates) <= ceiling(tokens.input, tokens.output, rates)


def test_what_is_written_into_the_cache_has_a_price_of_its_own() -> None:
    dear = Rates(10, 1, 0, written=20)
    tokens = Tokens(input=100, cached=60, written=30)
    assert cost(tokens, dear) == 10 * 10 + 60 * 1 + 30 * 20
    assert cost(tokens, Rates(10, 1, 0)) == 40 * 10 + 60 * 1
    assert cost(Tokens(input=10, cached=6, written=30), dear) == 6 * 1 + 4 * 20
    assert ceiling(100, 0, writing(dear)) == 100 * 20
    assert writing(Rates(10, 1, 0)) == Rates(10, 1, 0)


@given(st.builds(Tokens, counts, counts, counts, counts, counts), st.builds(Rates, counts, counts, counts))
def test_written_tokens_cost_no_more_than_the_ceiling_of_requests_that_write(tokens: Tokens, rates: Rates) -> None:
    rates = replace(rates, written=2 * rates.input)
    assert 0 <= cost(tokens, rates) <= ceiling(tokens.input, tokens.output, writing(rates))
