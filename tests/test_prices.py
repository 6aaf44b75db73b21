import subprocess
import sys
from datetime import UTC, datetime

import pytest

from overnight.core.cost import Rates, cost
from overnight.prices import FREE, prices
from overnight.types import Tokens

NOW = datetime(2026, 11, 25, tzinfo=UTC).timestamp()


def usd(input_, cached, output, above=()):
    return Rates(*(round(rate * 1_000_000) for rate in (input_, cached, output)), above=above)


@pytest.mark.parametrize(
    ("model", "batch", "standard"),
    [
        ("gpt-5.4-mini", (0.375, 0.0375, 2.25), (0.75, 0.075, 4.5)),
        ("gpt-5.4-mini-2026-03-17", (0.375, 0.0375, 2.25), (0.75, 0.075, 4.5)),
        ("gpt-5-nano", (0.025, 0.0025, 0.2), (0.05, 0.005, 0.4)),
        ("gpt-4o", (1.25, 1.25, 5), (2.5, 1.25, 10)),  # cached input is not halved
        ("gpt-4.1-nano", (0.05, 0.025, 0.2), (0.1, 0.025, 0.4)),
        ("o3", (1, 0.5, 4), (2, 0.5, 8)),
    ],
)
def test_batch_and_standard_rates(model, batch, standard):
    found = prices("openai", model, NOW)
    assert (found.batch, found.standard, found.note) == (usd(*batch), usd(*standard), None)
    assert found.source.startswith("genai-prices ")


def test_long_requests_cost_more():
    found = prices("openai", "gpt-6-sol", NOW)
    assert found.batch == usd(1, 0.1, 5, ((272_000, usd(2, 0.2, 7.5)),))
    assert cost(Tokens(input=272_000), found.batch) == 272_000 * 1_000_000
    assert cost(Tokens(input=272_001), found.batch) == 272_001 * 2_000_000


def test_a_dated_snapshot_is_found_by_the_pattern_that_the_list_writes_out():
    assert prices("openai", "gpt-6-sol-2026-09-01", NOW) == prices("openai", "gpt-6-sol", NOW)


@pytest.mark.parametrize("model", ["gpt-6-sol-fast", "gpt-5.4-mini-turbo", "GPT-4o", "gpt-5-nano-new", "llama", ""])
def test_a_model_that_only_resembles_another_has_no_price(model):
    found = prices("openai", model, NOW)
    assert (found.batch, found.standard) == (None, None)
    assert found.note == f"{found.source} has no price for openai/{model}"


def test_a_missing_batch_price_is_never_the_standard_price():
    found = prices("openai", "text-embedding-ada-002", NOW)
    assert found.batch is None
    assert found.standard == usd(0.1, 0.1, 0)
    assert found.note == f"{found.source} has no batch price for openai/text-embedding-ada-002"


@pytest.mark.parametrize(("model", "rate"), [("text-embedding-3-small", 0.02), ("text-embedding-3-large", 0.13)])
def test_a_disputed_batch_price_is_unknown(model, rate):
    found = prices("openai", model, NOW)
    assert (found.batch, found.standard) == (None, usd(rate, rate, 0))
    assert "0.01" in found.note or "0.065" in found.note


def test_prices_depend_on_the_date():
    before = datetime(2025, 6, 9, 23, 59, tzinfo=UTC).timestamp()
    found = prices("openai", "o3", before)
    assert found.standard == usd(10, 0.5, 40)
    assert found.batch is None
    assert found.note.endswith("has no batch price for openai/o3 before 2026-10-14")
    assert prices("openai", "o3", before + 60).standard == usd(2, 0.5, 8)


def test_models_of_this_machine_cost_nothing():
    assert prices("local", "smollm2", NOW).batch == prices("local", "x", NOW).standard == FREE


def test_an_unknown_provider_has_no_price():
    assert prices("elsewhere", "gpt-4o", NOW).standard is None


def test_the_list_is_loaded_only_when_it_is_needed():
    code = (
        "import sys; from overnight.prices import prices; prices('local', 'x', 0.0); "
        "assert not {'genai_prices', 'pydantic'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_claude_costs_half_in_batches_and_twice_where_it_is_written_into_the_cache():
    found = prices("anthropic", "claude-haiku-4-5", NOW)
    assert found.batch == Rates(500_000, 50_000, 2_500_000, written=1_000_000)
    assert found.standard == Rates(1_000_000, 100_000, 5_000_000, written=2_000_000)
    assert prices("anthropic", "claude-haiku-4-5-20251001", NOW) == found
    assert prices("anthropic", "claude-haiku-4-5-fast", NOW).batch is None
    ((start, long),) = prices("anthropic", "claude-haiku-5-5", NOW).batch.above
    assert (start, long.written) == (100_000, 500_000)


def test_a_cache_hit_in_a_batch_of_vertex_has_the_discount_of_the_cache_and_no_other():
    found = prices("vertex", "gemini-2.5-flash", NOW)
    assert (found.batch, found.standard) == (usd(0.15, 0.03, 1.25), usd(0.3, 0.03, 2.5))
    later = prices("vertex", "gemini-3.6-flash", NOW)
    assert later.batch.cached == later.standard.cached
    assert later.batch.input * 2 == later.standard.input
    tiered = prices("vertex", "gemini-2.5-pro", NOW)
    cached = [rates.cached for _, rates in tiered.batch.above]
    assert cached == [rates.cached for _, rates in tiered.standard.above] != []


def test_gemini_has_the_batch_prices_of_google():
    assert prices("gemini", "gemini-2.5-flash", NOW).batch == usd(0.15, 0.03, 1.25)
    assert prices("gemini", "gemini-3.6-flash", NOW).batch == usd(0.375, 0.0375, 1.875)
    assert prices("gemini", "gemini-embedding-001", NOW).batch is None
