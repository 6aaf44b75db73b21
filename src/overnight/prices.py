"""Prices per token, offline, with their source named.

The list is genai-prices; `prices.toml` beside this file replaces single entries. A model is found by its exact id or
one of the ids that the list itself writes out for it, never by resemblance. A batch price is one only where the list
has an explicit variant for batches: asked for a batch price it does not have, the list would give the full price.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from overnight.core.cost import Rates

if TYPE_CHECKING:
    from genai_prices.types import MatchLogic, ModelInfo, ModelPrice, TieredPrices

FREE: Final = Rates(0, 0, 0)
PICO_PER_MTOK: Final = 1_000_000  # US$ 1 per million tokens is 1,000,000 pico-dollars a token
_BATCH: Final = {"processing": "batch"}
_LISTED: Final = {
    **{name: name for name in ("openai", "anthropic", "mistral", "groq", "together")},
    "gemini": "google",
    "vertex": "google",
}
"""Our provider -> the list's. A deployment of Azure has a name of its own, which tells no price."""
_SNAPSHOT: Final = re.compile(r"-20\d{6}$")
"""What Anthropic adds to a model's name for its dated snapshot."""


@dataclass(frozen=True, slots=True)
class Prices:
    """Rates of a model at a time. `batch` None: not known; `standard` (real time) is then its upper bound, or None as
    well. `note` says for the preview what is missing."""

    batch: Rates | None
    standard: Rates | None
    source: str
    note: str | None = None


def prices(provider: str, model: str, at: float) -> Prices:
    """What the model costs in requests of the time `at` (unix seconds). Models of this machine cost nothing. Valid for
    the provider's own API only: at another base URL nobody knows the price."""
    if provider in {"local", "fake"}:
        return Prices(FREE, FREE, "runs on this machine")
    entry = _overrides().get(provider, {}).get(model)
    if entry is not None:
        return Prices(_entered(entry.get("batch")), _entered(entry.get("standard")), entry["source"], entry["note"])
    return _listed(provider, model, datetime.fromtimestamp(at, UTC))


def _overrides() -> Mapping[str, Any]:
    return tomllib.loads(files("overnight").joinpath("prices.toml").read_text("utf-8"))


def _entered(rates: Mapping[str, str] | None) -> Rates | None:
    if rates is None:
        return None
    paid = {name: _pico(Decimal(rate)) for name, rate in rates.items()}
    return Rates(paid["input"], paid.get("cached", paid["input"]), paid.get("output", 0))


def _listed(provider: str, model: str, at: datetime) -> Prices:
    import genai_prices
    from genai_prices.types import StartDateConstraint

    source = f"genai-prices {genai_prices.__version__}"
    info = _found(provider, model)
    standard = None if info is None else _rates(info.get_prices(at), model)
    if info is None or standard is None:
        return Prices(None, None, source, f"{source} has no price for {provider}/{model}")
    variants = [variant for variant in info.price_variants or () if variant.when == _BATCH]
    active = [variant for variant in variants if variant.constraint is None or variant.constraint.active(at)]
    if any(_complete(variant.prices, standard) for variant in active):
        batch = _rates(info.get_prices(at, _BATCH), model)
        return Prices(batch and _cache_apart(batch, standard) if provider == "vertex" else batch, standard, source)
    constraints = [variant.constraint for variant in variants if isinstance(variant.constraint, StartDateConstraint)]
    since = f" before {min(start.start_date for start in constraints)}" if constraints and not active else ""
    return Prices(None, standard, source, f"{source} has no batch price for {provider}/{model}{since}")


def _found(provider: str, model: str) -> ModelInfo | None:
    from genai_prices.data_snapshot import get_snapshot

    for listed in get_snapshot().providers:
        if listed.id == _LISTED.get(provider):
            name = _SNAPSHOT.sub("", model) if listed.id == "anthropic" else model
            exact = next((info for info in listed.models if info.id in {model, name}), None)
            return exact or next((info for info in listed.models if _names(info.match, model)), None)
    return None


def _names(match: MatchLogic, model: str) -> bool:
    """Whether the list writes this id out for a model: as a word, or as the pattern of a dated snapshot."""
    from genai_prices.types import ClauseEquals, ClauseOr, ClauseRegex

    match match:
        case ClauseOr():
            return any(_names(clause, model) for clause in match.or_)
        case ClauseEquals():
            return match.equals == model
        case ClauseRegex():
            return match.regex.startswith("^") and match.regex.endswith("$") and bool(re.fullmatch(match.regex, model))
        case _:
            return False


def _complete(variant: ModelPrice, standard: Rates) -> bool:
    """Whether a batch variant prices all that the model charges, so that no full price slips in."""
    return variant.input_mtok is not None and (standard.output == 0 or variant.output_mtok is not None)


def _rates(price: ModelPrice, model: str) -> Rates | None:
    """The list's price per million tokens as ours per token; None where it does not price input, or output of a model
    that generates. Cached tokens cost as much as others unless the list says otherwise."""
    paid, made = price.input_mtok, price.output_mtok
    if paid is None or (made is None and "embedding" not in model):
        return None
    cached = paid if price.cache_read_mtok is None else price.cache_read_mtok
    made = Decimal(0) if made is None else made
    written = price.cache_write_1h_mtok  # the kind that requests of ours ask for; the other is cheaper

    def at(tokens: int) -> Rates:
        writes = None if written is None else _above(written, tokens)
        return Rates(_above(paid, tokens), _above(cached, tokens), _above(made, tokens), written=writes)

    parts = (paid, cached, made, *([] if written is None else [written]))
    starts = {tier.start for part in parts if not isinstance(part, Decimal) for tier in part.tiers}
    return dataclasses.replace(at(-1), above=tuple((start, at(start)) for start in sorted(starts)))


def _cache_apart(batch: Rates, standard: Rates) -> Rates:
    """Batch rates of Vertex AI: what is read from the cache has the cache's discount instead of the batch's (contracts:
    17.1)."""
    tiers = dict(standard.above)
    above = tuple((start, _cache_apart(tier, tiers.get(start, standard))) for start, tier in batch.above)
    return dataclasses.replace(batch, cached=standard.cached, above=above)


def _above(price: Decimal | TieredPrices, tokens: int) -> int:
    """The rate of a request whose input is just longer than `tokens`."""
    if isinstance(price, Decimal):
        return _pico(price)
    reached = [tier.price for tier in price.tiers if tier.start <= tokens]
    return _pico(reached[-1] if reached else price.base)


def _pico(dollars_per_mtok: Decimal) -> int:
    return int((dollars_per_mtok * PICO_PER_MTOK).to_integral_value(ROUND_CEILING))
