from __future__ import annotations

import asyncio
import base64
import struct
from typing import Any

import jsonschema_rs
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types import CreateEmbeddingResponse
from openai.types.chat import ChatCompletion
from openai.types.responses import Response

from overnight.errors import ProviderError
from overnight.ports import Upstream, UpstreamReply
from overnight.types import Failure, FailureKind
from overnight.upstreams.fake import FakeUpstream, unit_vector

CHAT, RESPONSES, EMBEDDINGS = "/v1/chat/completions", "/v1/responses", "/v1/embeddings"


def ask(upstream: Upstream, endpoint: str, body: dict[str, Any] | bytes) -> tuple[int, Any]:
    raw = body if isinstance(body, bytes) else orjson.dumps({"model": "m-1", **body})
    reply = asyncio.run(upstream.answer(endpoint, raw))
    return reply.status, orjson.loads(reply.body)


def say(text: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": text}], **more}


def schema_format(schema: Any) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}}


def filled(schema: dict[str, Any], text: str = "hello") -> Any:
    status, body = ask(FakeUpstream(), CHAT, say(text, **schema_format(schema)))
    assert status == 200, body
    return orjson.loads(body["choices"][0]["message"]["content"])


def test_chat_echoes_the_last_user_message_in_openais_shape() -> None:
    status, body = ask(FakeUpstream(), CHAT, say("hello night"))
    assert status == 200
    read = ChatCompletion.model_validate(body, strict=True)
    assert read.choices[0].message.content == "hello night"
    assert read.choices[0].finish_reason == "stop"
    assert read.model == "m-1"
    assert read.usage is not None
    assert (read.usage.prompt_tokens, read.usage.completion_tokens) == (3 + 3, 3)  # ceil(9/4) + ceil(11/4), ceil(11/4)


def test_images_and_files_are_taken_and_not_echoed() -> None:
    parts = [
        {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERg=="}},
        {"type": "text", "text": "what is it"},
    ]
    status, body = ask(FakeUpstream(), CHAT, {"messages": [{"role": "user", "content": parts}]})
    assert (status, body["choices"][0]["message"]["content"]) == (200, "what is it")


def test_equal_requests_have_equal_replies_and_others_other_ids() -> None:
    async def three() -> list[UpstreamReply]:
        fake = FakeUpstream()
        bodies = [orjson.dumps({"model": "m", **say(text)}) for text in ("a", "a", "b")]
        return [await fake.answer(CHAT, body) for body in bodies]

    first, again, other = asyncio.run(three())
    assert first == again
    assert first.request_id != other.request_id


def test_responses_is_a_response() -> None:
    asked = {"input": "hello night", "instructions": "Be short.", "max_output_tokens": 100}
    status, body = ask(FakeUpstream(), RESPONSES, asked)
    assert status == 200
    read = Response.model_validate(body)
    assert read.output_text == "hello night"
    assert read.status == "completed"
    assert read.usage is not None
    assert read.usage.total_tokens == 9


def test_responses_fills_a_schema() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 3}}, "required": ["n"]}
    text = {"format": {"type": "json_schema", "name": "answer", "schema": schema, "strict": True}}
    _, body = ask(FakeUpstream(), RESPONSES, {"input": "x", "text": text})
    assert Response.model_validate(body).output_text == '{"n":3}'


def test_an_answer_over_the_limit_is_cut_and_says_so() -> None:
    _, body = ask(FakeUpstream(), CHAT, say("abcdéfgh" * 10, max_completion_tokens=2))
    choice = body["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("abcdéfg", "length")
    assert body["usage"]["completion_tokens"] == 2
    _, response = ask(FakeUpstream(), RESPONSES, {"input": "abcdefgh" * 10, "max_output_tokens": 2})
    assert response["status"] == "incomplete"
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}


def test_usage_and_latency_are_settable() -> None:
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    fake = FakeUpstream(count=lambda text: len(text.split()), latency=1.5, sleep=sleep)
    _, body = ask(fake, CHAT, say("one two three"))
    assert body["usage"]["completion_tokens"] == 3
    assert waited == [1.5]


def test_failures_are_settable_per_row() -> None:
    def failing(endpoint: str, request: Any) -> UpstreamReply | None:
        if request["messages"][-1]["content"] == "lost":
            raise ProviderError(Failure(FailureKind.TRANSIENT, "connection lost"))
        return UpstreamReply(429, b"{}", retry_after=7.0) if request["messages"][-1]["content"] == "busy" else None

    fake = FakeUpstream(failing=failing)
    assert ask(fake, CHAT, say("busy"))[0] == 429
    assert ask(fake, CHAT, say("fine"))[0] == 200
    with pytest.raises(ProviderError):
        ask(fake, CHAT, say("lost"))


def test_embeddings_are_unit_vectors_of_the_text() -> None:
    status, body = ask(FakeUpstream(dimensions=16), EMBEDDINGS, {"input": ["a", "b", "a"]})
    assert status == 200
    read = CreateEmbeddingResponse.model_validate(body)
    a, b, again = (item.embedding for item in read.data)
    assert a == again != b
    assert len(a) == 16
    assert sum(x * x for x in a) == pytest.approx(1, abs=1e-6)
    assert read.usage.prompt_tokens == 3


def test_base64_embeddings_hold_the_same_numbers() -> None:
    _, body = ask(FakeUpstream(), EMBEDDINGS, {"input": "a", "dimensions": 5, "encoding_format": "base64"})
    assert list(struct.unpack("<5f", base64.b64decode(body["data"][0]["embedding"]))) == unit_vector("a", 5)


NEWS = {
    "$defs": {"topic": {"enum": ["business", "sports"]}},
    "type": "object",
    "title": "News",
    "properties": {
        "topic": {"$ref": "#/$defs/topic", "description": "what it is about"},
        "kind": {"const": "news"},
        "score": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
        "rank": {"type": ["null", "integer"], "minimum": 4, "maximum": 9},
        "when": {"type": "string", "format": "date-time"},
        "code": {"type": "string", "minLength": 8, "maxLength": 8},
        "tags": {"type": "array", "items": {"type": "string"}, "minItems": 2},
        "maybe": {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
    },
    "required": ["topic", "kind", "score", "rank", "when", "code", "tags", "maybe"],
    "additionalProperties": False,
}


def test_a_schema_is_filled() -> None:
    value = filled(NEWS, "hello")
    assert jsonschema_rs.is_valid(NEWS, value)
    assert {k: v for k, v in value.items() if k not in {"topic", "score"}} == {
        "kind": "news",
        "rank": 4,
        "when": "2024-02-29T06:30:00Z",
        "code": "hello...",
        "tags": ["hello", "hello"],
        "maybe": True,
    }
    assert 0 < value["score"] <= 1


def test_members_of_an_enum_depend_on_the_text() -> None:
    assert {filled(NEWS, f"text {n}")["topic"] for n in range(20)} == {"business", "sports"}


def test_recursive_schemas_end() -> None:
    node = {
        "type": "object",
        "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
        "required": ["next"],
    }
    assert jsonschema_rs.is_valid(node, filled(node))
    tree = {"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#"}}}}
    assert jsonschema_rs.is_valid(tree, filled(tree))
    endless = {"type": "object", "properties": {"self": {"$ref": "#"}}, "required": ["self"]}
    status, body = ask(FakeUpstream(), CHAT, say("x", **schema_format(endless)))
    assert status == 400
    assert "$ref" in body["error"]["message"]


@pytest.mark.parametrize(
    ("inner", "named"),
    [
        ({"type": "string", "pattern": "^a"}, "pattern"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"type": "number", "multipleOf": 2}, "multipleOf"),
        ({"not": {"type": "string"}}, "not"),
        ({"if": {}, "then": {}}, "if"),
        ({"oneOf": [{"type": "null"}]}, "oneOf"),
        ({"type": "string", "format": "email"}, "format: email"),
        ({"$ref": "https://example.invalid/schema"}, "$ref"),
        ({"anyOf": [{"type": "array", "items": {"allOf": []}}]}, "allOf"),
    ],
)
def test_a_keyword_that_is_not_supported_fails_the_row_and_is_named(inner: dict[str, Any], named: str) -> None:
    schema = {"type": "object", "properties": {"a": inner}}
    status, body = ask(FakeUpstream(), CHAT, say("x", **schema_format(schema)))
    assert status == 400
    assert named in body["error"]["message"]
    assert body["error"]["code"] == "invalid_json_schema"


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "items": {"type": "string"}},
        {"enum": ["a"]},
        {"type": "object", "properties": 3},
        {"type": "object", "properties": {"a": 3}},
        {"type": "object", "properties": {"a": {"anyOf": 3}}},
        {"type": "object", "properties": {"a": {"format": []}}},
        {"type": "object", "properties": {"a": {"type": "nothing"}}},
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/none"}}},
        {"type": "object", "properties": {"a": {"type": "string", "minLength": 10**9}}},
        {"type": "object", "properties": {"a": {"type": "integer", "minimum": 3, "maximum": 1}}, "required": ["a"]},
    ],
)
def test_a_schema_that_no_answer_can_be_made_for_is_refused(schema: dict[str, Any]) -> None:
    status, body = ask(FakeUpstream(), CHAT, say("x", **schema_format(schema)))
    assert status == 400, body
    assert "schema" in body["error"]["message"]


@pytest.mark.parametrize(
    ("endpoint", "body", "status", "param"),
    [
        (CHAT, b"{", 400, None),
        (CHAT, b"[]", 400, None),
        (CHAT, b'{"messages":[]}', 400, "model"),
        (CHAT, {}, 400, "messages"),
        (CHAT, {"messages": [{"role": "robot", "content": "x"}]}, 400, "messages[0].role"),
        (CHAT, {"messages": [{"role": "user"}]}, 400, "messages[0].content"),
        (CHAT, {"messages": [{"role": "user", "content": [{"type": "video"}]}]}, 400, "messages[0].content"),
        (CHAT, say("x", stream=True), 400, "stream"),
        (CHAT, say("x", n=2), 400, "n"),
        (CHAT, say("x", max_tokens=0), 400, "max_tokens"),
        (CHAT, say("x", tool_choice="required"), 400, "tool_choice"),
        (CHAT, say("x", response_format={"type": "xml"}), 400, "response_format.type"),
        (RESPONSES, {}, 400, "input"),
        (RESPONSES, {"input": "x", "previous_response_id": "resp_1"}, 400, "previous_response_id"),
        (RESPONSES, {"input": "x", "tools": [{"type": "web_search"}]}, 400, "tools"),
        (EMBEDDINGS, {}, 400, "input"),
        (EMBEDDINGS, {"input": []}, 400, "input"),
        (EMBEDDINGS, {"input": [[1, 2]]}, 400, "input"),
        (EMBEDDINGS, {"input": ["a", ""]}, 400, "input"),
        (EMBEDDINGS, {"input": "a", "encoding_format": "hex"}, 400, "encoding_format"),
        (EMBEDDINGS, {"input": "a", "dimensions": "x"}, 400, "dimensions"),
        ("/v1/moderations", {"input": "x"}, 404, None),
    ],
)
def test_bad_requests_get_the_envelope(endpoint: str, body: Any, status: int, param: str | None) -> None:
    got, answer = ask(FakeUpstream(), endpoint, body)
    assert got == status
    assert answer["error"]["param"] == param
    assert answer["error"]["type"] == "invalid_request_error"


leaves = (
    st.sampled_from([{"type": "null"}, {"type": "boolean"}, {"const": [1]}, {"enum": ["a", 2, None]}, {}])
    | st.builds(
        lambda low, more: {"type": "string", "minLength": low, "maxLength": low + more},
        st.integers(0, 9),
        st.integers(0, 9),
    )
    | st.builds(
        lambda kind, low, more: {"type": kind, "minimum": low, "maximum": low + more},
        st.sampled_from(["integer", "number"]),
        st.integers(-50, 50),
        st.integers(0, 9),
    )
    | st.builds(
        lambda low, more: {"type": "number", "exclusiveMinimum": low, "exclusiveMaximum": low + more},
        st.floats(-50, 50),
        st.floats(0.5, 9),
    )
)
schemas = st.recursive(
    leaves,
    lambda inner: (
        st.builds(lambda item, least: {"type": "array", "items": item, "minItems": least}, inner, st.integers(0, 3))
        | st.builds(lambda branches: {"anyOf": branches}, st.lists(inner, min_size=1, max_size=3))
        | st.builds(
            lambda properties, all_required: {
                "type": "object",
                "properties": properties,
                "required": list(properties) if all_required else [],
                "additionalProperties": False,
            },
            st.dictionaries(st.sampled_from("abc"), inner),
            st.booleans(),
        )
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(schemas, st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20))
def test_what_is_filled_holds_to_the_schema(inner: dict[str, Any], text: str) -> None:
    schema = {"type": "object", "properties": {"a": inner}, "required": ["a"]}
    assert jsonschema_rs.is_valid(schema, filled(schema, text))
