"""Money of tokens: rates in, integer pico-dollars out."""

from __future__ import annotations

from dataclasses import dataclass

from overnight.types import PicoUSD, Tokens


@dataclass(frozen=True, slots=True)
class Rates:
    """Price per token in pico-dollars (US$ 1 per million tokens = 1,000,000). `above` holds further rates that
    apply to the whole request when its input exceeds a number of tokens (long-context tiers), highest last. `written`:
    of input that is written into the prompt cache; None: as other input."""

    input: int
    cached: int
    output: int
    above: tuple[tuple[int, Rates], ...] = ()
    written: int | None = None


def cost(tokens: Tokens, rates: Rates) -> PicoUSD:
    """What these tokens cost. Input tokens that were read from the cache or written into it are part of `tokens.input`
    and pay those rates instead; never more of them than there are."""
    applied = rates
    for threshold, tier in rates.above:
        if tokens.input > threshold:
            applied = tier
    cached = min(tokens.cached, tokens.input)
    written = min(tokens.written, tokens.input - cached) if applied.written is not None else 0
    plain = tokens.input - cached - written
    told = plain * applied.input + cached * applied.cached + written * (applied.written or 0)
    return PicoUSD(told + tokens.output * applied.output)


def writing(rates: Rates) -> Rates:
    """The rates where all input is written into the cache: what requests that ask for it cannot exceed."""
    above = tuple((threshold, writing(tier)) for threshold, tier in rates.above)
    dearer = rates.input if rates.written is None else max(rates.input, rates.written)
    return Rates(dearer, rates.cached, rates.output, above, rates.written)


def ceiling(input_tokens: int, output_tokens: int, rates: Rates) -> PicoUSD:
    """The most that so many tokens can cost: the dearest tier, nothing cached (see `writing`)."""
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
