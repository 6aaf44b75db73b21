"""Whatever a row holds, its family passes it on or refuses it in words: a stranger's body is no error of the server."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.types import Endpoint, Outcome
from overnight.wire import anthropic, gemini
from overnight.wire.families import ANTHROPIC, GEMINI, Refused, family

MESSAGES: dict[str, Any] = {
    "model": "m",
    "max_tokens": 5,
    "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "x"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aa"}},
                {"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": "y"}]},
            ],
        },
        {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "n", "input": {}}]},
    ],
    "temperature": 1,
    "stop_sequences": ["a"],
    "metadata": {"user_id": "u"},
    "thinking": {"type": "enabled", "budget_tokens": 2000},
    "tools": [{"name": "n", "input_schema": {"type": "object"}}],
    "tool_choice": {"type": "tool", "name": "n"},
    "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}},
}
GENERATE: dict[str, Any] = {
    "contents": [
        {
            "role": "user",
            "parts": [
                {"text": "hi"},
                {"inlineData": {"mimeType": "image/png", "data": "aa"}},
                {"fileData": {"mimeType": "image/png", "fileUri": "u"}},
                {"functionCall": {"name": "n", "args": {}}},
                {"functionResponse": {"name": "n", "response": {}}},
            ],
        }
    ],
    "systemInstruction": {"parts": [{"text": "s"}]},
    "generationConfig": {
        "temperature": 1,
        "maxOutputTokens": 3,
        "responseSchema": {"type": "OBJECT", "properties": {"a": {"type": "ARRAY", "minItems": "1"}}},
        "thinkingConfig": {"thinkingBudget": 5},
    },
    "tools": [{"functionDeclarations": [{"name": "n", "parameters": {"type": "OBJECT"}}]}],
    "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["n"]}},
}
EMBED: dict[str, Any] = {"content": {"parts": [{"text": "a"}]}, "outputDimensionality": 3}
BODIES: list[tuple[str, dict[str, Any]]] = [
    (Endpoint.MESSAGES, MESSAGES),
    (Endpoint.GENERATE, GENERATE),
    (Endpoint.EMBED, EMBED),
]
ODD = st.sampled_from([None, True, 0, -1, 1.5, "", "x", [], {}, [None], [[]], {"type": "x"}, {"type": []}, ["x"], [{}]])


def asked(endpoint: str, body: dict[str, Any]) -> None:
    if endpoint == Endpoint.MESSAGES:
        ANTHROPIC.asked(body)
    else:
        GEMINI.asked(body, endpoint, "m")


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if place:
        yield place
    for name in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from places(value[name], (*place, name))


@given(st.sampled_from(BODIES), st.data())
def test_an_odd_value_anywhere(body: tuple[str, dict[str, Any]], data: st.DataObject) -> None:
    endpoint, good = body
    asked(endpoint, good)
    changed = json.loads(json.dumps(good))
    *way, last = data.draw(st.sampled_from(list(places(good))))
    holder = changed
    for name in way:
        holder = holder[name]
    holder[last] = data.draw(ODD)
    with contextlib.suppress(Refused):
        asked(endpoint, changed)


@pytest.mark.parametrize("depth", [10, 300, 700])
def test_deep_schemas(depth: int) -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"items": schema}
    bodies = {
        Endpoint.MESSAGES: {**MESSAGES, "output_config": {"format": {"schema": schema}}},
        Endpoint.GENERATE: {**GENERATE, "generationConfig": {"responseSchema": schema}},
    }
    for endpoint, body in bodies.items():
        if depth == 10:
            asked(endpoint, body)
        else:
            with pytest.raises(Refused, match="nested too deeply"):
                asked(endpoint, body)


def test_a_row_that_is_no_json_text() -> None:
    bad = b'{"model":"\xff"}'
    with pytest.raises(Refused, match="not valid JSON"):
        family("anthropic").request(anthropic.request_line("a", "", bad), Endpoint.MESSAGES, "")
    with pytest.raises(Refused, match="not valid JSON"):
        family("gemini").request(gemini.request_line("a", "", bad), Endpoint.GENERATE, "m")


@pytest.mark.parametrize("name", ["anthropic", "gemini"])
def test_an_upstream_error_is_told_in_the_words_of_the_family(name: str) -> None:
    spoken: Any = {"anthropic": anthropic, "gemini": gemini}[name]
    endpoint = {"anthropic": Endpoint.MESSAGES, "gemini": Endpoint.GENERATE}[name]
    for status, known in ((400, 400), (404, 404), (422, 400), (429, 429), (500, 500), (502, 500)):
        body = json.dumps({"error": {"message": "no", "type": "t", "code": "c"}}).encode()
        reply = spoken.read_line(family(name).result("r", "a", status, "req", body, endpoint), endpoint)
        assert (reply.custom_id, reply.outcome, reply.ran) == ("a", Outcome.ERRORED, False)
        assert reply.status == known, status
    with pytest.raises(ValueError, match="not a chat completion"):
        family(name).result("r", "a", 200, "req", b'{"hello":1}', endpoint)
