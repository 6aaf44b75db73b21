"""Money of tokens: rates in, integer pico-dollars out."""

from __future__ import annotations

from dataclasses import dataclass

from overnight.types import PicoUSD, Tokens


@dataclass(frozen=True, slots=True)
class Rates:
    """Price per token in pico-dollars (US$ 1 per million tokens = 1,000,000). `above` holds further rates that
    apply to the whole request when its input exceeds a number of tokens (long-context tiers), highest last."""

    input: int
    cached: int
    output: int
    above: tuple[tuple[int, Rates], ...] = ()


def cost(tokens: Tokens, rates: Rates) -> PicoUSD:
    """What these tokens cost. Cached input tokens are part of `tokens.input` and pay the cached rate instead; never
    more of them than there are."""
    applied = rates
    for threshold, tier in rates.above:
        if tokens.input > threshold:
            applied = tier
    cached = min(tokens.cached, tokens.input)
    uncached = tokens.input - cached
    return PicoUSD(uncached * applied.input + cached * applied.cached + tokens.output * applied.output)


def ceiling(input_tokens: int, output_tokens: int, rates: Rates) -> PicoUSD:
    """The most that so many tokens can cost: the dearest tier, nothing cached."""
    candidates = (rates, *(tier for _, tier in rates.above))
    dearest_in = max(max(rate.input, rate.cached) for rate in candidates)
    dearest_out = max(rate.output for rate in candidates)
    return PicoUSD(input_tokens * dearest_in + output_tokens * dearest_out)


def dollars(amount: PicoUSD | None) -> str:
    """For people: `$12.34`, `$0.0012`, `unknown`."""
    if amount is None:
        return "unknown"
    value = amount / 1e12
    if amount == 0:
        return "$0.00"
    if value >= 0.995:
        return f"${value:,.2f}"
    return f"${value:.4f}" if value >= 0.001 else f"${value:.6f}"
