"""What the models of Google take, at either of its two APIs."""

from __future__ import annotations

from typing import Any

import pytest

from overnight.core.families import (
    EMBEDDING,
    GEMINI_2,
    GEMINI_3,
    GEMINI_FLASH,
    GEMINI_LITE,
    GEMINI_PRO,
    GENERIC,
    Family,
    family,
)
from overnight.core.limits import output_limit
from overnight.core.parameters import checked
from overnight.errors import UsageError
from overnight.spec import Spec

FLASH, PRO, LATER = "gemini-2.5-flash", "gemini-2.5-pro", "gemini-3.6-flash"


def spec(model: str, **more: Any) -> Spec:
    endpoint, version = more.pop("endpoint", None), more.pop("api_version", None)
    return Spec(model=f"gemini/{model}", parameters=more, endpoint=endpoint, api_version=version)


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("gemini-1.5-pro", GEMINI_2),
        ("gemini-2.0-flash", GEMINI_2),
        ("models/gemini-2.5-flash", GEMINI_FLASH),
        ("gemini-2.5-flash-preview-09-2025", GEMINI_FLASH),
        ("gemini-2.5-flash-lite", GEMINI_LITE),
        (PRO, GEMINI_PRO),
        ("gemini-3-pro-preview", GEMINI_3),
        (LATER, GEMINI_3),
        ("gemini-4-argon", GEMINI_3),
        ("gemini-flash-latest", GEMINI_3),
        ("gemini-embedding-001", EMBEDDING),
    ],
)
def test_families(model: str, kind: Family) -> None:
    assert family("gemini", model) == family("vertex", model) == kind
    assert family("gemini", model, "http://127.0.0.1:1") == GENERIC


@pytest.mark.parametrize(
    ("model", "given"),
    [
        (FLASH, {"temperature": 0.5, "top_p": 0.9, "top_k": 5, "seed": -1, "stop": "x", "presence_penalty": 1}),
        (LATER, {"temperature": 2, "reasoning_effort": "low", "api_version": "v1alpha"}),
        (FLASH, {"reasoning_effort": "none", "logprobs": True, "top_logprobs": 3}),
        ("gemini-embedding-001", {"endpoint": "embeddings", "dimensions": 8}),
    ],
)
def test_what_is_taken(model: str, given: dict[str, Any]) -> None:
    checked(spec(model, **given), "gemini", model)


@pytest.mark.parametrize(
    ("model", "given", "told"),
    [
        (FLASH, {"logit_bias": {}}, "`parameters.logit_bias`: generateContent does not take it"),
        (FLASH, {"verbosity": "low"}, "`parameters.verbosity`: generateContent"),
        (FLASH, {"parallel_tool_calls": True}, "`parameters.parallel_tool_calls`: generateContent"),
        (FLASH, {"user": "u"}, "`parameters.user`: generateContent"),
        (FLASH, {"dimensions": 3}, "`parameters.dimensions`: generateContent"),
        (PRO, {"reasoning_effort": "none"}, "always reasons; name an effort"),
        (LATER, {"reasoning_effort": "none"}, "always reasons; name an effort"),
        ("gemini-2.0-flash", {"reasoning_effort": "low"}, "gemini up to 2.0) does not take it"),
        ("gemini-embedding-001", {}, "set `endpoint: embeddings`"),
        ("gemini-embedding-001", {"endpoint": "embeddings", "temperature": 1}, "embedContent does not take it"),
        (FLASH, {"api_version": "2024-01-01"}, "versions like v1 and v1beta"),
    ],
)
def test_what_is_refused_before_anything_is_sent(model: str, given: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError) as raised:
        checked(spec(model, **given), "gemini", model)
    assert told in str(raised.value)


@pytest.mark.parametrize(
    ("model", "effort", "tokens"),
    [
        ("gemini-2.0-flash", None, 1_024),
        ("gemini-2.5-flash-lite", None, 1_024),
        ("gemini-2.5-flash-lite", "low", 1_024 + 4_096),
        (FLASH, None, 1_024 + 16_384),
        (FLASH, "none", 1_024),
        (PRO, "high", 1_024 + 32_768),
        (LATER, None, 1_024 + 16_384),
    ],
)
def test_an_answer_has_room_for_thoughts(model: str, effort: str | None, tokens: int) -> None:
    limit = output_limit(spec(model, **({"reasoning_effort": effort} if effort else {})), "gemini", model)
    assert limit is not None
    assert limit.tokens == tokens
