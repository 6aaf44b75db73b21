"""What the models of Anthropic take."""

from __future__ import annotations

from typing import Any

import pytest

from overnight.core.families import (
    CLAUDE_3,
    CLAUDE_4,
    CLAUDE_4_5,
    CLAUDE_4_6,
    CLAUDE_4_7,
    CLAUDE_5,
    CLAUDE_THINKING,
    GENERIC,
    Family,
    family,
)
from overnight.core.limits import output_limit
from overnight.core.parameters import LONG_OUTPUT_BETA, checked, endpoint_of, sent
from overnight.errors import UsageError
from overnight.spec import Spec
from overnight.types import Endpoint

HAIKU, OPUS = "claude-haiku-4-5", "claude-opus-4-8"


def spec(model: str, base_url: str | None = None, **more: Any) -> Spec:
    betas = more.pop("betas", ())
    return Spec(model=f"anthropic/{model}", parameters=more, betas=betas, base_url=base_url)


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("claude-3-haiku-20240307", CLAUDE_3),
        ("claude-sonnet-4-20250514", CLAUDE_4),
        ("claude-opus-4-1", CLAUDE_4),
        ("claude-haiku-4-5", CLAUDE_4_5),
        ("claude-haiku-4-5-20251001", CLAUDE_4_5),
        ("claude-sonnet-4-6", CLAUDE_4_6),
        ("claude-opus-4-7", CLAUDE_4_7),
        ("claude-opus-4-8", CLAUDE_4_7),
        ("claude-sonnet-5", CLAUDE_5),
        ("claude-opus-5", CLAUDE_5),
        ("claude-haiku-5-5", CLAUDE_5),
        ("claude-opus-5-5", CLAUDE_THINKING),
        ("claude-fable-5-1", CLAUDE_THINKING),
        ("claude-mythos-preview", CLAUDE_THINKING),
        ("claude-something-new", CLAUDE_5),
    ],
)
def test_families(model: str, kind: Family) -> None:
    assert family("anthropic", model) == kind
    assert family("anthropic", model, "http://127.0.0.1:1") == GENERIC


def test_the_endpoint_is_messages() -> None:
    assert endpoint_of(spec(HAIKU), "anthropic") is Endpoint.MESSAGES


@pytest.mark.parametrize(
    ("model", "given"),
    [
        (HAIKU, {"temperature": 0.5, "top_k": 5, "stop": ["x"], "user": "u", "reasoning_effort": "none"}),
        (OPUS, {"reasoning_effort": "xhigh", "max_output_tokens": 128_000}),
        (OPUS, {"max_tokens": 300_000, "betas": (LONG_OUTPUT_BETA,)}),
        ("claude-fable-5", {"reasoning_effort": "max"}),
    ],
)
def test_what_is_taken(model: str, given: dict[str, Any]) -> None:
    checked(spec(model, **given), "anthropic", model)


@pytest.mark.parametrize(
    ("model", "given", "told"),
    [
        (OPUS, {"temperature": 0.5}, "`parameters.temperature`: model claude-opus-4-8"),
        ("claude-sonnet-5", {"top_k": 5}, "`parameters.top_k`"),
        (HAIKU, {"temperature": 0.5, "reasoning_effort": "low"}, "does not take it while it reasons"),
        (HAIKU, {"temperature": 0.5, "top_p": 0.9}, "take it or `temperature`"),
        ("claude-fable-5", {"reasoning_effort": "none"}, "always reasons"),
        (HAIKU, {"logprobs": True}, "/v1/messages does not take it"),
        (HAIKU, {"seed": 1}, "/v1/messages does not take it"),
        (OPUS, {"max_output_tokens": 128_001}, f"and 300,000 with `betas: [{LONG_OUTPUT_BETA}]`"),
        (OPUS, {"max_output_tokens": 300_001, "betas": (LONG_OUTPUT_BETA,)}, "more than 300,000 tokens"),
    ],
)
def test_what_is_refused_before_anything_is_sent(model: str, given: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError) as raised:
        checked(spec(model, **given), "anthropic", model)
    assert told in str(raised.value)


def test_another_server_takes_what_it_takes() -> None:
    url = "http://127.0.0.1:1"
    given = {"temperature": 0.5, "top_p": 0.9, "max_output_tokens": 1_000_000}
    told = checked(spec(OPUS, url, **given), "anthropic", OPUS, url)
    assert told == given
    assert "max_output_tokens" not in sent(spec(OPUS, url, **given), "anthropic", OPUS, url)


@pytest.mark.parametrize("more", [{"betas": ("x",)}, {"api_version": "x"}])
def test_other_providers_have_no_betas(more: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"`{next(iter(more))}`"):
        checked(Spec(model="openai/gpt-5.4-mini", **more), "openai", "gpt-5.4-mini")


@pytest.mark.parametrize(
    ("model", "effort", "tokens"),
    [
        (HAIKU, None, 1_024),
        (HAIKU, "low", 1_024 + 4_096),
        ("claude-fable-5", None, 1_024 + 16_384),
        (OPUS, None, 1_024),
    ],
)
def test_an_answer_has_room_for_reasoning(model: str, effort: str | None, tokens: int) -> None:
    given = {} if effort is None else {"reasoning_effort": effort}
    limit = output_limit(spec(model, **given), "anthropic", model)
    assert limit is not None
    assert limit.tokens == tokens
