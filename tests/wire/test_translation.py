"""A request from one dialect into another and back, and an answer likewise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.types import Endpoint, Tokens
from overnight.wire import anthropic, gemini, openai
from overnight.wire.conversation import (
    Answered,
    AnswerFormat,
    Asked,
    Finish,
    Media,
    Text,
    ToolCall,
    ToolResult,
    Turn,
    Unsayable,
)
from overnight.wire.dialect import Dialect

words = st.text(st.characters(exclude_categories=["Cs"])).filter(str.strip)
TOOL = {"type": "function", "function": {"name": "look", "description": "d", "parameters": {"type": "object"}}}
parts = st.one_of(
    st.builds(Text, words),
    st.builds(Media, st.just("image"), st.just("image/png"), st.just("iVBO")),
    st.builds(Media, st.just("image"), url=st.just("https://x.example/a.png")),
)
turns = st.tuples(
    st.builds(Turn, st.just("system"), st.tuples(st.builds(Text, words))),
    st.builds(Turn, st.just("user"), st.lists(parts, min_size=1, max_size=3).map(tuple)),
    st.just(Turn("assistant", (ToolCall("look", "look", '{"at":1}'),))),
    st.just(Turn("user", (ToolResult("look", "seen"),))),
)
requests = st.builds(
    Asked,
    model=st.just("m"),
    turns=turns,
    limit=st.integers(1, 9_999),
    parameters=st.fixed_dictionaries(
        {"tools": st.just([TOOL])},
        optional={
            "temperature": st.sampled_from([0, 0.5, 1]),
            "stop": st.lists(words, min_size=1, max_size=3),
            "tool_choice": st.sampled_from(["auto", "required"]),
        },
    ),
    answer=st.none() | st.just(AnswerFormat("answer", {"type": "object", "properties": {}}, strict=True)),
)
answers = st.builds(
    Answered,
    id=st.text("abc123", min_size=1),
    model=words,
    text=words,
    finish=st.sampled_from([Finish.STOP, Finish.LENGTH]),
    tokens=st.builds(
        lambda given, cached, made, thought: Tokens(given + cached, cached, made + thought, thought),
        *[st.integers(0, 999)] * 4,
    ),
)
SPOKEN: list[tuple[Dialect, str]] = [(anthropic, Endpoint.MESSAGES), (gemini, Endpoint.GENERATE)]


def sent(body: dict[str, Any]) -> Any:
    return orjson.loads(orjson.dumps(body))


@given(requests)
def test_a_chat_body_asks_what_was_asked(asked: Asked) -> None:
    assert openai.asked_of(Endpoint.CHAT, sent(openai.request_body(Endpoint.CHAT, asked))) == asked


@given(requests, st.sampled_from(SPOKEN))
def test_a_body_of_another_family_becomes_the_chat_body_that_asks_the_same(
    asked: Asked, spoken: tuple[Dialect, str]
) -> None:
    dialect, endpoint = spoken
    asked = replace(asked, answer=None) if dialect is anthropic else asked  # one tool must answer there
    found = replace(dialect.asked_of(endpoint, sent(dialect.request_body(endpoint, asked))), model="m")
    chat = sent(openai.request_body(Endpoint.CHAT, found))
    straight = sent(openai.request_body(Endpoint.CHAT, asked))
    for body in (chat, straight):  # Gemini's format has no name, and its types of a file by address are guessed
        body.pop("response_format", None)
    if dialect is gemini:
        chat["messages"][3].pop("content")
        straight["messages"][3].pop("content")
    assert chat == straight


@given(answers, st.sampled_from(SPOKEN))
def test_an_answer_says_the_same_in_every_family(answered: Answered, spoken: tuple[Dialect, str]) -> None:
    dialect, _ = spoken
    completion = sent(openai.answer_body(answered))
    assert openai.answered_of(completion) == answered
    told = dialect.answered_of(sent(dialect.answer_body(openai.answered_of(completion))))
    assert replace(told, id=answered.id) == answered


def test_tools_and_refusals_of_an_answer() -> None:
    call = ToolCall("call_1", "look", '{"at":1}')
    called = Answered("a", "m", None, Finish.TOOLS, Tokens(1, 0, 1), tool_calls=(call,))
    assert openai.answered_of(sent(openai.answer_body(called))) == called
    refused = Answered("a", "m", None, Finish.REFUSAL, Tokens(1, 0, 1), refusal="no")
    assert openai.answered_of(sent(openai.answer_body(refused))) == refused
    assert anthropic.answer_body(refused)["stop_reason"] == "refusal"


@pytest.mark.parametrize(
    ("body", "error", "said"),
    [
        ({}, ValueError, "messages"),
        ({"messages": [{"role": "user", "content": "x"}]}, ValueError, "model"),
        ({"model": "m", "messages": [{"role": "user"}]}, ValueError, r"messages\[0\]"),
        ({"model": "m", "messages": [{"role": "user", "content": "x"}], "n": 2}, Unsayable, "`n`"),
        ({"model": "m", "messages": [{"role": "user", "content": "x"}], "audio": {}}, Unsayable, "audio"),
        ({"model": "m", "messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, Unsayable, "content"),
    ],
)
def test_what_cannot_be_said_elsewhere_is_named(body: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        openai.asked_of(Endpoint.CHAT, body)


def test_responses_and_embeddings() -> None:
    asked = openai.asked_of(
        Endpoint.RESPONSES, {"model": "m", "instructions": "s", "input": "u", "max_output_tokens": 5}
    )
    assert [(turn.role, turn.parts) for turn in asked.turns] == [("system", (Text("s"),)), ("user", (Text("u"),))]
    assert asked.limit == 5
    body = openai.request_body(Endpoint.EMBEDDINGS, asked)
    body.pop("encoding_format")
    assert openai.asked_of(Endpoint.EMBEDDINGS, body).turns[-1].parts == (Text("u"),)
    listed = {"data": [{"embedding": [1.0, 2.0]}], "model": "m", "usage": {"prompt_tokens": 3}}
    embedded = openai.embedded_of(listed)
    assert (embedded.vectors, embedded.input_tokens) == (((1.0, 2.0),), 3)
