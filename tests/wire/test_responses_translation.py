from __future__ import annotations

import string
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses import Response

from overnight.types import Tokens
from overnight.wire.openai.bodies import chat_completion
from overnight.wire.openai.refusal import Refusal
from overnight.wire.openai.responses import chat_to_response, responses_to_chat

SCHEMA = {"type": "object", "properties": {"topic": {"enum": ["a", "b"]}}, "required": ["topic"]}


def completion(content: str | None = "fine", finish_reason: str = "stop", **more: Any) -> dict[str, Any]:
    return chat_completion(
        id="chatcmpl-77",
        created=1_800_000_000,
        model="m",
        content=content,
        finish_reason=finish_reason,
        tokens=Tokens(input=11, cached=4, output=5, reasoning=2),
        **more,
    )


def test_a_plain_request() -> None:
    body = {"model": "m", "input": "hi", "instructions": "Be short.", "max_output_tokens": 9, "temperature": 0}
    assert responses_to_chat(body) == {
        "model": "m",
        "messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "hi"}],
        "max_completion_tokens": 9,
        "temperature": 0,
    }


def test_turns_formats_tools_and_reasoning() -> None:
    body = {
        "model": "m",
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "weather?"}]},
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"},
            {"type": "function_call", "call_id": "c2", "name": "look", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "rain"},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "It rains."}]},
        ],
        "text": {"format": {"type": "json_schema", "name": "answer", "schema": SCHEMA, "strict": True}},
        "tools": [{"type": "function", "name": "look", "parameters": {}}],
        "tool_choice": {"type": "function", "name": "look"},
        "reasoning": {"effort": "low"},
        "include": ["message.output_text.logprobs"],
    }
    calls = [{"id": c, "type": "function", "function": {"name": "look", "arguments": "{}"}} for c in ("c1", "c2")]
    assert responses_to_chat(body) == {
        "model": "m",
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "weather?"}]},
            {"role": "assistant", "content": None, "tool_calls": calls},
            {"role": "tool", "tool_call_id": "c1", "content": "rain"},
            {"role": "assistant", "content": [{"type": "text", "text": "It rains."}]},
        ],
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True},
        },
        "tools": [{"type": "function", "function": {"name": "look", "parameters": {}}}],
        "tool_choice": {"type": "function", "function": {"name": "look"}},
        "reasoning_effort": "low",
        "logprobs": True,
    }


@pytest.mark.parametrize(
    ("extra", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"background": True}, "background"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0]"),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input[0]"),
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_what_chat_cannot_say_is_refused_by_name(extra: dict[str, Any], param: str) -> None:
    with pytest.raises(Refusal) as caught:
        responses_to_chat({"model": "m", "input": "hi", **extra})
    assert (caught.value.status, caught.value.param) == (400, param)


def test_null_and_false_say_nothing() -> None:
    assert responses_to_chat({"model": "m", "input": "hi", "background": False, "previous_response_id": None}) == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
    }


def test_the_response_is_one_that_the_sdk_reads() -> None:
    body = {"model": "m", "input": "hi", "metadata": {"k": "v"}, "max_output_tokens": 9}
    read = Response.model_validate(chat_to_response(completion(), body))
    assert (read.id, read.output_text, read.status, read.created_at) == ("resp_77", "fine", "completed", 1_800_000_000)
    assert read.metadata == {"k": "v"}
    assert read.usage is not None
    assert (read.usage.input_tokens, read.usage.output_tokens, read.usage.total_tokens) == (11, 5, 16)
    assert read.usage.input_tokens_details.cached_tokens == 4
    assert read.usage.output_tokens_details.reasoning_tokens == 2


@pytest.mark.parametrize(
    ("finish", "status", "reason"),
    [
        ("stop", "completed", None),
        ("tool_calls", "completed", None),
        ("length", "incomplete", "max_output_tokens"),
        ("content_filter", "incomplete", "content_filter"),
    ],
)
def test_why_it_ended(finish: str, status: str, reason: str | None) -> None:
    response = chat_to_response(completion(finish_reason=finish), {"input": "hi"})
    assert response["status"] == status
    assert response["incomplete_details"] == (None if reason is None else {"reason": reason})


def test_tool_calls_and_refusals_come_through() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"a":1}'}}
    response = chat_to_response(completion(None, "tool_calls", tool_calls=[call]), {"input": "hi"})
    (item,) = Response.model_validate(response).output
    assert item.type == "function_call"
    assert (item.call_id, item.name, item.arguments) == ("c1", "look", '{"a":1}')
    refused = completion(None)
    refused["choices"][0]["message"]["refusal"] = "no"
    (item,) = Response.model_validate(chat_to_response(refused, {"input": "hi"})).output
    assert item.type == "message"
    assert item.content[0].type == "refusal"


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(string.printable, max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "role", "text"]), inner),
    max_leaves=6,
)
fields = st.sampled_from(
    ["model", "input", "instructions", "text", "tools", "tool_choice", "reasoning", "include", "top_logprobs", "other"]
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(fields, values))
def test_any_body_is_translated_or_refused(body: dict[str, Any]) -> None:
    try:
        chat = responses_to_chat(body)
    except Refusal:
        return
    assert chat["messages"]


texts = st.text(max_size=10)
turns = st.lists(st.tuples(st.sampled_from(["user", "assistant", "developer"]), texts), min_size=1, max_size=5)


@given(turns)
def test_turns_keep_order_role_and_text(given_turns: list[tuple[str, str]]) -> None:
    body = {"model": "m", "input": [{"role": role, "content": text} for role, text in given_turns]}
    assert [(message["role"], message["content"]) for message in responses_to_chat(body)["messages"]] == given_turns
