from __future__ import annotations

from typing import Any

import orjson
import pytest
from openai.types.chat import ChatCompletion

from overnight.upstreams.local_words import (
    Asked,
    chat_answered,
    chat_asked,
    embeddings_answered,
    embeddings_asked,
    refused,
)
from overnight.upstreams.model_files import CHAT, EMBEDDINGS
from overnight.wire.openai.refusal import Refusal

TOPIC = {"type": "object", "properties": {"topic": {"enum": ["a", "b"]}}, "required": ["topic"]}
FORMAT = {"type": "json_schema", "json_schema": {"name": "answer", "schema": TOPIC}}


def chat(**more: Any) -> dict[str, Any]:
    return {"model": "smollm2", "messages": [{"role": "user", "content": "hi"}], **more}


def told(content: str | None, finish_reason: str = "stop", **more: Any) -> bytes:
    choice = {"finish_reason": finish_reason, "index": 0, "message": {"role": "assistant", "content": content}, **more}
    usage = {"completion_tokens": 6, "prompt_tokens": 32, "total_tokens": 38}
    return orjson.dumps(
        {
            "choices": [choice],
            "created": 5,
            "model": "/home/me/x.gguf",
            "usage": usage,
            "id": "chatcmpl-1",
            "timings": {},
        }
    )


def test_the_child_gets_what_it_can_do_and_nothing_else() -> None:
    parts = [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]
    order = chat_asked(
        chat(messages=parts, max_completion_tokens=9, temperature=0, seed=None, user="me", store=False, tools=[])
    )
    assert orjson.loads(order.body) == {
        "temperature": 0,
        "messages": [{"role": "user", "content": "a\nb"}],
        "max_tokens": 9,
    }


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"n": 2}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"grammar": "root ::= x"}, "grammar"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, "messages[0].content"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "array"}}}}, "response_format"),
    ],
)
def test_what_it_would_ignore_is_refused_by_name(more: dict[str, Any], param: str) -> None:
    with pytest.raises(Refusal) as caught:
        chat_asked(chat(**more))
    assert (caught.value.status, caught.value.param) == (400, param)


def test_the_answer_bears_the_public_name_and_is_openais() -> None:
    body = chat_answered(told("hello"), CHAT, Asked(b""))
    read = ChatCompletion.model_validate(body, strict=True)
    assert (read.model, read.choices[0].message.content, read.id) == ("smollm2-135m-instruct", "hello", "chatcmpl-1")
    assert read.usage is not None
    assert read.usage.total_tokens == 38


def test_an_answer_is_held_to_its_schema() -> None:
    order = chat_asked(chat(response_format=FORMAT))
    assert chat_answered(told('{"topic":"a"}'), CHAT, order)["choices"][0]["message"]["content"] == '{"topic":"a"}'
    for bad in ('{"topic":"c"}', "It is about a.", "", None, '{"topic":"a"'):
        with pytest.raises(Refusal) as caught:
            chat_answered(told(bad), CHAT, order)
        assert (caught.value.status, caught.value.code) == (500, "invalid_answer")


def test_an_answer_that_was_cut_says_so_itself() -> None:
    order = chat_asked(chat(response_format=FORMAT, max_tokens=2))
    assert chat_answered(told('{"top', "length"), CHAT, order)["choices"][0]["finish_reason"] == "length"


def test_a_json_object_is_one() -> None:
    order = chat_asked(chat(response_format={"type": "json_object"}))
    assert chat_answered(told('{"x":1}'), CHAT, order)
    with pytest.raises(Refusal):
        chat_answered(told("[1]"), CHAT, order)


def test_log_probabilities_hold_no_more_than_was_asked() -> None:
    one = {"id": 7, "token": "a", "bytes": [97], "logprob": -0.5}
    logprobs = {"content": [{**one, "top_logprobs": [one, one]}]}
    for top, kept in ((None, 0), (1, 1)):
        order = chat_asked(chat(logprobs=True, top_logprobs=top))
        body = chat_answered(told("a", logprobs=logprobs), CHAT, order)
        read = ChatCompletion.model_validate(body, strict=True).choices[0].logprobs
        assert read is not None
        assert read.content is not None
        assert len(read.content[0].top_logprobs) == kept


def test_embeddings_are_asked_and_put_in_order() -> None:
    order, encoding = embeddings_asked({"model": "minilm", "input": ["a", "b"], "encoding_format": "float"})
    assert (orjson.loads(order.body), encoding) == ({"input": ["a", "b"], "encoding_format": "float"}, "float")
    body = orjson.dumps(
        {
            "data": [{"index": 1, "embedding": [2.0]}, {"index": 0, "embedding": [1.0]}],
            "usage": {"prompt_tokens": 4, "total_tokens": 4},
        }
    )
    answered = embeddings_answered(body, EMBEDDINGS, encoding)
    assert [item["embedding"] for item in answered["data"]] == [[1.0], [2.0]]
    assert answered["model"] == "all-minilm-l6-v2"


@pytest.mark.parametrize("param", ["dimensions", "task"])
def test_parameters_of_embeddings_that_would_be_ignored_are_refused(param: str) -> None:
    with pytest.raises(Refusal) as caught:
        embeddings_asked({"model": "minilm", "input": "a", param: 10})
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("status", "body", "expected", "code"),
    [
        (
            400,
            {"type": "exceed_context_size_error", "message": "x", "n_prompt_tokens": 3031, "n_ctx": 2048},
            400,
            "context_length_exceeded",
        ),
        (400, {"type": "invalid_request_error", "message": "Field 'temperature': must be number"}, 400, None),
        (400, {"type": "invalid_request_error", "message": "secret prompt"}, 400, "invalid_request"),
        (500, {"type": "server_error", "message": "secret prompt"}, 500, "runtime_failed"),
    ],
)
def test_errors_of_the_child(status: int, body: dict[str, Any], expected: int, code: str | None) -> None:
    refusal = refused(status, orjson.dumps({"error": body}))
    assert (refusal.status, refusal.code) == (expected, code)
    assert b"secret" not in refusal.body()


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"error":3}', b'{"error":{"type":4}}', b"\xff"])
def test_an_error_that_is_none_is_still_one(body: bytes) -> None:
    assert refused(503, body).status == 500
