"""The Gemini dialect: what is sent, what comes back, and both read as a server reads them."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.types import Counts, Endpoint, FailureKind, Outcome, RemoteState, Tokens
from overnight.wire import gemini
from overnight.wire.conversation import (
    Answered,
    AnswerFormat,
    Asked,
    Embedded,
    Finish,
    Media,
    Text,
    ToolCall,
    ToolResult,
    Turn,
    Unsayable,
)
from overnight.wire.dialect import dialect

KEY = "abcd1234-000000007-00"
texts = st.text(st.characters(exclude_categories=["Cs"]))
words = texts.filter(str.strip)
GONE = "You do not have permission to access the File f1 or it may not exist."
TOOL = {"type": "function", "function": {"name": "look", "description": "d", "parameters": {"type": "object"}}}

parts = st.one_of(
    st.builds(Text, words),
    st.builds(Media, st.just("image"), st.just("image/png"), st.just("iVBO")),
    st.builds(Media, st.just("document"), st.just("application/pdf"), url=st.just("https://x.example/d.pdf")),
)
asked_things = st.builds(
    Asked,
    model=st.just(""),
    turns=st.tuples(
        st.builds(Turn, st.just("system"), st.tuples(st.builds(Text, words))),
        st.builds(Turn, st.just("user"), st.lists(parts, min_size=1, max_size=3).map(tuple)),
        st.builds(Turn, st.just("assistant"), st.tuples(st.builds(Text, words))),
        st.builds(Turn, st.just("user"), st.tuples(st.builds(Text, words))),
    ),
    limit=st.none() | st.integers(1, 9_999),
    parameters=st.fixed_dictionaries(
        {},
        optional={
            "temperature": st.floats(0, 2),
            "top_k": st.integers(1, 40),
            "seed": st.integers(0, 99),
            "stop": st.lists(words, min_size=1, max_size=3),
            "tools": st.just([TOOL]),
            "tool_choice": st.sampled_from(["auto", "none", "required"]),
        },
    ),
    answer=st.none() | st.just(AnswerFormat("answer", {"type": "object"}, strict=False)),
)


@given(asked_things)
def test_what_a_body_asks_is_what_was_asked(asked: Asked) -> None:
    body = orjson.loads(orjson.dumps(gemini.request_body(Endpoint.GENERATE, asked)))
    assert gemini.asked_of(Endpoint.GENERATE, body) == asked


def test_snake_case_is_read_as_well() -> None:
    body = {
        "system_instruction": {"parts": [{"text": "s"}]},
        "contents": {"parts": {"text": "u"}},
        "generation_config": {
            "max_output_tokens": 5,
            "response_mime_type": "application/json",
            "response_schema": {"type": "OBJECT", "properties": {"a": {"type": "STRING", "nullable": True}}},
        },
    }
    asked = gemini.asked_of(Endpoint.GENERATE, body)
    assert [turn.role for turn in asked.turns] == ["system", "user"]
    assert asked.limit == 5
    assert asked.answer is not None
    assert asked.answer.schema == {"type": "object", "properties": {"a": {"type": ["string", "null"]}}}


@pytest.mark.parametrize(
    ("body", "error", "said"),
    [
        ({}, ValueError, "contents"),
        ({"contents": []}, ValueError, "contents"),
        ({"contents": [{"role": "user"}]}, ValueError, r"contents\[0\].parts"),
        ({"contents": [{"role": "pope", "parts": []}]}, ValueError, "role"),
        ({"contents": [{"parts": [{"executableCode": {}}]}]}, Unsayable, r"contents\[0\].parts\[0\]"),
        ({"contents": [{"parts": []}], "cachedContent": "c"}, Unsayable, "cachedContent"),
        ({"contents": [{"parts": []}], "tools": [{"googleSearch": {}}]}, Unsayable, r"tools\[0\]"),
        ({"contents": [{"parts": []}], "generationConfig": {"speechConfig": {}}}, Unsayable, "speechConfig"),
        ({"contents": [{"parts": []}], "generationConfig": {"maxOutputTokens": 0}}, ValueError, "maxOutputTokens"),
    ],
)
def test_what_is_no_body_is_told_by_its_place(body: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        gemini.asked_of(Endpoint.GENERATE, body)


def test_what_cannot_be_said_is_named() -> None:
    turns = (Turn("user", (Text("x"),)),)
    for parameters in ({"logit_bias": {}}, {"user": "u"}, {"reasoning_effort": "max"}):
        with pytest.raises(Unsayable, match=next(iter(parameters))):
            gemini.request_body(Endpoint.GENERATE, Asked("gemini-3-pro", turns, None, parameters))
    thinking = {"reasoning_effort": "none"}
    with pytest.raises(Unsayable, match="reasoning_effort"):
        gemini.request_body(Endpoint.GENERATE, Asked("gemini-3-pro", turns, None, thinking))
    body = gemini.request_body(Endpoint.GENERATE, Asked("gemini-2.5-flash", turns, None, thinking))
    assert body["generationConfig"] == {"thinkingConfig": {"thinkingBudget": 0}}


def test_tools_called_and_answered() -> None:
    turns = (
        Turn("user", (Text("x"),)),
        Turn("assistant", (ToolCall("look", "look", '{"at":1}'),)),
        Turn("user", (ToolResult("look", '{"result":"y"}', "look"),)),
    )
    body = gemini.request_body(Endpoint.GENERATE, Asked("m", turns))
    assert body["contents"][1]["parts"] == [{"functionCall": {"name": "look", "args": {"at": 1}}}]
    assert gemini.asked_of(Endpoint.GENERATE, body).turns[1] == turns[1]


def test_embeddings() -> None:
    asked = Asked("", (Turn("user", (Text("words"),)),), parameters={"dimensions": 3})
    body = gemini.request_body(Endpoint.EMBED, asked)
    assert body == {"content": {"parts": [{"text": "words"}]}, "outputDimensionality": 3}
    assert gemini.asked_of(Endpoint.EMBED, body) == asked
    answer = gemini.embedding_body(Embedded("m", ((0.5, -1.0),), 4))
    reply = gemini.read_line(gemini.response_line(KEY, orjson.dumps(answer)), Endpoint.EMBED)
    assert (reply.outcome, reply.vector, reply.tokens) == (Outcome.SUCCEEDED, (0.5, -1.0), Tokens(4))
    for response in ({}, {"embedding": {"values": []}}, {"embedding": {"values": [1, "x"]}}):
        line = gemini.response_line(KEY, orjson.dumps(response))
        assert gemini.read_line(line, Endpoint.EMBED).outcome is Outcome.ERRORED


@given(texts, st.integers(0, 999))
def test_lines(text: str, ordinal: int) -> None:
    body = orjson.dumps(gemini.request_body(Endpoint.GENERATE, Asked("m", (Turn("user", (Text(text),)),))))
    line = gemini.request_line(KEY, Endpoint.GENERATE, body)
    assert line.count(b"\n") == 1
    assert gemini.split_line(line) == (KEY, body)
    other = f"abcd1234-{ordinal:09d}-01"
    assert gemini.split_line(gemini.with_custom_id(line, other)) == (other, body)
    assert json.loads(line) == {"key": KEY, "request": json.loads(body)}
    with pytest.raises(ValueError, match="not a request line"):
        gemini.with_custom_id(b'{"request":{},"key":"a"}\n', other)


answers = st.builds(
    Answered,
    id=words,
    model=words,
    text=words,
    finish=st.sampled_from([Finish.STOP, Finish.LENGTH]),
    tokens=st.builds(
        lambda given, cached, made, thought: Tokens(given + cached, cached, made + thought, thought),
        *[st.integers(0, 999)] * 4,
    ),
)


@given(answers)
def test_what_an_answer_says_is_what_was_answered(answered: Answered) -> None:
    body = orjson.dumps(gemini.answer_body(answered))
    assert gemini.answered_of(orjson.loads(body)) == answered
    line = gemini.response_line(KEY, body)
    reply = gemini.read_line(line, Endpoint.GENERATE)
    assert (reply.custom_id, reply.text, reply.model, reply.request_id) == (
        KEY,
        answered.text,
        answered.model,
        answered.id,
    )
    assert reply.tokens == answered.tokens
    assert reply.kind is (None if answered.finish is Finish.STOP else FailureKind.TRUNCATED)
    assert gemini.body_of(line) == body
    reader = gemini.plain_reader(Endpoint.GENERATE)
    assert reader is not None
    plain = reader.read(line)
    if answered.finish is Finish.LENGTH or plain is None:
        assert answered.finish is Finish.LENGTH or plain is None
        return
    key, text, model, text_at, text_length, id_at, id_length, *tokens = plain
    assert (key, text, model) == (KEY, answered.text, answered.model)
    assert json.loads(line[text_at : text_at + text_length]) == answered.text
    assert line[id_at : id_at + id_length].decode() == answered.id
    told = reply.tokens
    assert told is not None
    assert tuple(tokens) == (told.input, told.cached, told.output, told.reasoning, told.written)


USAGE = {"promptTokenCount": 3}


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        ({"promptFeedback": {"blockReason": "SAFETY"}}, FailureKind.REFUSED),
        ({}, FailureKind.EMPTY),
        ({"candidates": [{"finishReason": "SAFETY"}]}, FailureKind.REFUSED),
        ({"candidates": [{"finishReason": "RECITATION", "content": {"parts": [{"text": "x"}]}}]}, FailureKind.REFUSED),
        ({"candidates": [{"finishReason": "MAX_TOKENS", "content": {}}]}, FailureKind.TRUNCATED),
        ({"candidates": [{"finish_reason": "STOP", "content": {"parts": []}}]}, FailureKind.EMPTY),
        ({"candidates": [{"content": {"parts": [{"text": "t", "thought": True}]}}]}, FailureKind.EMPTY),
        ({"candidates": [{"content": {"parts": [{"text": "x"}]}}]}, None),
        ({"candidates": [{"content": {"parts": [{"functionCall": {"name": "f"}}]}}]}, None),
        ({"candidates": [{"finishReason": "MALFORMED_FUNCTION_CALL"}]}, FailureKind.INVALID),
        ("words", FailureKind.INVALID),
        (None, FailureKind.MISSING),
    ],
)
def test_judgement(response: Any, kind: FailureKind | None) -> None:
    given = {**response, "usageMetadata": USAGE} if isinstance(response, dict) else response
    reply = gemini.read_line(orjson.dumps({"key": KEY, "response": given}), Endpoint.GENERATE)
    assert reply.kind is kind
    assert reply.ran
    assert reply.outcome is (Outcome.SUCCEEDED if kind is None else Outcome.ERRORED)
    assert reply.tokens == (Tokens(3) if isinstance(response, dict) else None)


@pytest.mark.parametrize(
    ("error", "kind", "outcome"),
    [
        ({"code": 3, "message": "the prompt says x"}, FailureKind.PERMANENT, Outcome.ERRORED),
        ({"code": 400, "message": "", "status": "INVALID_ARGUMENT"}, FailureKind.PERMANENT, Outcome.ERRORED),
        ({"code": 13, "message": ""}, FailureKind.TRANSIENT, Outcome.ERRORED),
        ({"code": 8, "message": ""}, FailureKind.TRANSIENT, Outcome.ERRORED),
        ({"code": 1, "message": ""}, FailureKind.CANCELED, Outcome.CANCELED),
        ({"message": "?"}, FailureKind.TRANSIENT, Outcome.ERRORED),
    ],
)
def test_rows_that_did_not_run(error: Any, kind: FailureKind, outcome: Outcome) -> None:
    reply = gemini.read_line(orjson.dumps({"error": error, "key": KEY}), Endpoint.GENERATE)
    assert (reply.kind, reply.outcome, reply.ran) == (kind, outcome, False)
    assert "x" not in (reply.message or "")


@given(st.binary(max_size=60) | st.recursive(st.none() | texts, lambda t: st.lists(t) | st.dictionaries(texts, t)))
def test_no_line_with_a_key_raises(given: Any) -> None:
    line = given if isinstance(given, bytes) else orjson.dumps({"key": KEY, "response": given, "error": None})
    for endpoint in (Endpoint.GENERATE, Endpoint.EMBED):
        try:
            gemini.read_line(line, endpoint)
        except ValueError:
            assert isinstance(given, bytes)


def test_operations() -> None:
    told = gemini.operation(
        id="b1",
        model="m",
        state="SUCCEEDED",
        created_at=1_000.5,
        updated_at=1_001,
        ended_at=1_002,
        display_name="tag",
        input_file="files/in",
        responses_file="files/batch-b1",
        counts=Counts(total=3, succeeded=3),
    )
    assert told["metadata"]["batchStats"] == {"requestCount": "3", "successfulRequestCount": "3"}
    batch = gemini.batch_from(told)
    assert (batch.id, batch.state, batch.end) == ("batches/b1", RemoteState.ENDED, Outcome.SUCCEEDED)
    assert (batch.tag, batch.input_file, batch.output_file) == ("tag", "files/in", "files/batch-b1")
    assert (batch.created_at, batch.ended_at, batch.model) == (1_000.5, 1_002.0, "m")
    assert (batch.counts.total, batch.counts.succeeded, batch.counts.errored) == (3, 3, 0)
    told["metadata"]["createTime"] = "2026-08-20T10:11:12.123456789Z"
    assert gemini.batch_from(told).created_at == pytest.approx(1787220672.123456)


@pytest.mark.parametrize(
    ("state", "error", "expected", "end"),
    [
        ("PENDING", None, RemoteState.IN_PROGRESS, None),
        ("SOMETHING", None, RemoteState.IN_PROGRESS, None),
        ("EXPIRED", None, RemoteState.ENDED, Outcome.EXPIRED),
        ("CANCELLED", {"code": 13, "message": ""}, RemoteState.ENDED, Outcome.CANCELED),
        ("FAILED", {"code": 3, "message": "x"}, RemoteState.FAILED, None),
    ],
)
def test_ends(state: str, error: Any, expected: RemoteState, end: Outcome | None) -> None:
    over = None if expected is RemoteState.IN_PROGRESS else 5.0
    told = gemini.operation(id="b", model="m", state=state, created_at=1, updated_at=1, ended_at=over, error=error)
    batch = gemini.batch_from(told)
    assert (batch.state, batch.end) == (expected, end)
    assert (batch.failure is not None) is (expected is RemoteState.FAILED)


def test_inlined_answers_are_lines() -> None:
    rows = [{"response": {"a": 1}, "metadata": {"key": "k"}}, {"error": {"code": 3}}]
    told = gemini.operation(id="b", model="m", state="SUCCEEDED", created_at=1, updated_at=1, ended_at=2, inlined=rows)
    assert gemini.batch_from(told).output_file == "inline:batches/b"
    assert list(map(orjson.loads, gemini.inlined_lines(told))) == [
        {"response": {"a": 1}, "key": "k"},
        {"error": {"code": 3}},
    ]


@pytest.mark.parametrize(
    ("status", "body", "kind", "proves"),
    [
        (400, gemini.error_envelope(400, "API key not valid", reason="API_KEY_INVALID"), FailureKind.ACCOUNT, True),
        (400, gemini.error_envelope(400, "bad field"), FailureKind.PERMANENT, True),
        (403, gemini.error_envelope(403, "no"), FailureKind.ACCOUNT, True),
        (403, gemini.error_envelope(403, GONE), FailureKind.FILE, True),
        (403, gemini.error_envelope(403, "denied on resource (or it may not exist)"), FailureKind.ACCOUNT, True),
        (404, gemini.error_envelope(404, "no model"), FailureKind.PERMANENT, True),
        (429, gemini.error_envelope(429, "too much"), FailureKind.QUOTA, True),
        (429, {}, FailureKind.TRANSIENT, False),
        (503, gemini.error_envelope(503, "busy"), FailureKind.TRANSIENT, False),
    ],
)
def test_errors_of_calls(status: int, body: Any, kind: FailureKind, proves: bool) -> None:
    failure = gemini.error_failure(status, orjson.dumps(body))
    assert (failure.kind, failure.proves_refusal) == (kind, proves)
    assert failure.status == (404 if kind is FailureKind.FILE else status)


def test_it_is_a_dialect() -> None:
    assert dialect("gemini").request_line is gemini.request_line
