"""The Anthropic dialect, both ways."""

import json
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.types import Counts, Endpoint, FailureKind, FileId, Outcome, RemoteState, Tokens
from overnight.wire import anthropic as wire
from overnight.wire.anthropic.formats import ANSWER_TOOL, enforceable
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
from tests.wire.specs import anthropic_schema

ID = "abcdefgh-000000007-00"
HAIKU, OPUS = "claude-haiku-4-5", "claude-opus-4-8"
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
ENTRY = jsonschema_rs.validator_for(anthropic_schema("BatchCreateParams"))
BATCH = jsonschema_rs.validator_for(anthropic_schema("MessageBatch"))
RESULT = jsonschema_rs.validator_for(anthropic_schema("MessageBatchIndividualResponse"))
FUNCTION = {"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA, "strict": True}}


def asked(*turns: Turn, model: str = HAIKU, limit: int | None = 5_000, **more: Any) -> Asked:
    return Asked(model, turns or (Turn("user", (Text("q"),)),), limit=limit, **more)


def body_of(*turns: Turn, **more: Any) -> dict[str, Any]:
    """The body, which holds to the provider's own schema."""
    body = wire.request_body(Endpoint.MESSAGES, asked(*turns, **more))
    ENTRY.validate({"requests": [{"custom_id": ID, "params": json.loads(json.dumps(body))}]})
    return body


# ------------------------------------------------------------------------------------------ what is asked


def test_a_conversation_in_the_apis_words():
    body = body_of(
        Turn("system", (Text("be brief"),)),
        Turn("user", (Text("one"),)),
        Turn("assistant", (Text("two"), ToolCall("t1", "f", '{"a":1}'))),
        Turn("user", (Text("three"), ToolResult("t1", "42"))),
        Turn("user", (Media("image", "image/png", "QQ=="), Media("document", url="https://x/a.pdf", name="a.pdf"))),
        parameters={"temperature": 0.5, "stop": "X", "user": "u"},
    )
    assert body == {
        "model": HAIKU,
        "max_tokens": 5_000,
        "system": [{"type": "text", "text": "be brief"}],
        "messages": [
            {"role": "user", "content": "one"},
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "two"},
                    {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "t1", "content": "42"},  # results come first
                    {"type": "text", "text": "three"},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QQ=="}},
                    {"type": "document", "source": {"type": "url", "url": "https://x/a.pdf"}, "title": "a.pdf"},
                ],
            },
        ],
        "temperature": 0.5,
        "stop_sequences": ["X"],
        "metadata": {"user_id": "u"},
    }


@pytest.mark.parametrize(
    ("given", "tools", "choice"),
    [
        ({"tools": [FUNCTION]}, [{"name": "f", "description": "d", "input_schema": SCHEMA, "strict": True}], None),
        ({"tool_choice": "required"}, None, {"type": "any"}),
        ({"tool_choice": "none"}, None, {"type": "none"}),
        (
            {"parallel_tool_calls": False, "tool_choice": {"type": "function", "function": {"name": "f"}}},
            None,
            {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
        ),
        (
            {"tool_choice": "auto", "parallel_tool_calls": False},
            None,
            {"type": "auto", "disable_parallel_tool_use": True},
        ),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "same", None),
    ],
)
def test_tools(given, tools, choice):
    body = body_of(parameters=given)
    assert body.get("tools") == (given["tools"] if tools == "same" else tools)
    assert body.get("tool_choice") == choice


@pytest.mark.parametrize(
    ("model", "effort", "limit", "thinking", "output"),
    [
        (HAIKU, "low", 9_000, {"type": "enabled", "budget_tokens": 4_096}, None),
        (HAIKU, "high", 9_000, {"type": "enabled", "budget_tokens": 7_976}, None),
        (HAIKU, "low", 2_048, {"type": "enabled", "budget_tokens": 1_024}, None),
        ("claude-sonnet-4-20250514", "low", 9_000, {"type": "enabled", "budget_tokens": 4_096}, None),
        (HAIKU, "none", 100, None, None),
        (OPUS, "xhigh", 100, {"type": "adaptive"}, {"effort": "xhigh"}),
        (OPUS, "none", 100, None, None),
        ("claude-sonnet-5", "none", 100, {"type": "disabled"}, None),
    ],
)
def test_effort(model, effort, limit, thinking, output):
    body = body_of(model=model, limit=limit, parameters={"reasoning_effort": effort})
    assert (body.get("thinking"), body.get("output_config")) == (thinking, output)


def test_a_schema_is_the_output_format_and_what_the_api_refuses_of_it_is_left_to_the_check():
    schema = {**SCHEMA, "properties": {"minimum": {"type": "integer", "minimum": 1}}, "$schema": "x"}
    body = body_of(answer=AnswerFormat("n", schema), model=OPUS, parameters={"reasoning_effort": "low"})
    sent = {**SCHEMA, "properties": {"minimum": {"type": "integer"}}}
    assert body["output_config"] == {"effort": "low", "format": {"type": "json_schema", "schema": sent}}
    assert "tools" not in body


TREE = {"type": "object", "properties": {"next": {"$ref": "#/$defs/tree"}}, "$defs": {"tree": {"$ref": "#"}}}


@pytest.mark.parametrize(
    ("answer", "schema"),
    [
        (AnswerFormat("n", SCHEMA, strict=False), SCHEMA),
        (AnswerFormat("n", {}), {"type": "object"}),
        (AnswerFormat("n", TREE), TREE),
    ],
)
@pytest.mark.parametrize(
    ("model", "effort", "choice"),
    [
        (HAIKU, None, {"type": "tool", "name": ANSWER_TOOL}),
        (HAIKU, "low", {"type": "auto"}),
        ("claude-sonnet-5", None, {"type": "auto"}),  # it may think
        ("claude-sonnet-5", "none", {"type": "tool", "name": ANSWER_TOOL}),
    ],
)
def test_what_cannot_be_enforced_is_asked_for_by_a_tool(answer, schema, model, effort, choice):
    body = body_of(answer=answer, model=model, parameters={"reasoning_effort": effort} if effort else {})
    (tool,) = body["tools"]
    assert (tool["name"], tool["input_schema"], body["tool_choice"]) == (ANSWER_TOOL, schema, choice)
    told = wire.asked_of(Endpoint.MESSAGES, body).answer
    assert told is not None
    assert (told.schema, told.strict) == ({} if schema == {"type": "object"} else schema, False)


def test_a_schema_whose_parts_are_named_is_enforced():
    named = {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/a"}, "b": {"$ref": "#/$defs/a"}},
        "$defs": {"a": {}},
    }
    assert enforceable(named) == named
    assert enforceable({"$ref": "https://elsewhere"}) is None
    again = {"type": "array", "items": {"$ref": "#/$defs/again"}}
    assert enforceable({"$ref": "#/$defs/again", "$defs": {"again": again}}) is None


@pytest.mark.parametrize(
    ("shared", "place"),
    [(1, ("system", -1)), (3, ("messages", 1, "content", -1))],
)
def test_the_shared_prefix_ends_with_a_mark_for_the_cache(shared, place):
    turns = (
        Turn("system", (Text("s"),)),
        Turn("user", (Text("e"),)),
        Turn("assistant", (Text("f"),)),
        Turn("user", (Text("q"),)),
    )
    body: Any = body_of(*turns, shared=shared)
    block = body
    for step in place:
        block = block[step]
    assert block["cache_control"] == {"type": "ephemeral", "ttl": "1h"}
    assert json.dumps(body).count("cache_control") == 1
    assert wire.asked_of(Endpoint.MESSAGES, body).shared == shared
    assert "cache_control" not in json.dumps(body_of(*turns))


def test_extra_fields_stand_beside_what_is_asked():
    body = body_of(
        answer=AnswerFormat("n", SCHEMA),
        extra={"output_config": {"effort": "low"}, "service_tier": "standard_only"},
        model=OPUS,
    )
    assert body["output_config"]["effort"] == "low"
    assert "format" in body["output_config"]
    assert body["service_tier"] == "standard_only"


@pytest.mark.parametrize(
    ("field", "more"),
    [
        ("parameters.max_output_tokens", {"limit": None}),
        ("parameters.temperature", {"parameters": {"temperature": 1.5}}),
        ("parameters.seed", {"parameters": {"seed": 1}}),
        ("parameters.reasoning_effort", {"parameters": {"reasoning_effort": "minimal"}}),
        ("parameters.reasoning_effort", {"parameters": {"reasoning_effort": "low"}, "limit": 1_000}),
        ("parameters.tool_choice", {"parameters": {"tool_choice": "maybe"}}),
        ("answer.schema", {"answer": AnswerFormat("n", {}), "parameters": {"tools": [FUNCTION]}}),
    ],
)
def test_what_cannot_be_said_names_its_field(field, more):
    with pytest.raises(Unsayable) as raised:
        wire.request_body(Endpoint.MESSAGES, asked(**more))
    assert (raised.value.field, raised.value.dialect) == (field, "Anthropic")


@pytest.mark.parametrize(
    ("field", "turns"),
    [
        ("prompt.system", (Turn("user", (Text("q"),)), Turn("system", (Text("s"),)))),
        ("prompt.system", (Turn("system", (Media("image", url="x"),)),)),
        ("prompt.images", (Turn("user", (Media("image", "image/tiff", "QQ=="),)),)),
        ("prompt.documents", (Turn("user", (Media("document", "text/plain", "QQ=="),)),)),
    ],
)
def test_turns_that_cannot_be_said(field, turns):
    with pytest.raises(Unsayable) as raised:
        wire.request_body(Endpoint.MESSAGES, asked(*turns))
    assert raised.value.field == field


texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
parts = st.one_of(
    st.builds(Text, texts),
    st.builds(Media, st.just("image"), media_type=st.just("image/png"), data=st.just("QQ==")),
    st.builds(Media, st.just("document"), media_type=st.just("application/pdf"), data=st.just("QQ=="), name=texts),
    st.builds(Media, st.just("image"), url=st.just("https://x/y")),
)
conversations = st.lists(
    st.builds(Turn, st.sampled_from(["user", "assistant"]), st.lists(parts, min_size=1, max_size=3).map(tuple)),
    min_size=1,
    max_size=4,
)
parameters = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.floats(0, 1),
        "top_p": st.floats(0, 1),
        "top_k": st.integers(1, 9),
        "stop": st.lists(texts, min_size=1, max_size=3),
        "user": texts,
        "reasoning_effort": st.sampled_from(["low", "high", "max"]),
        "tools": st.just([FUNCTION]),
    },
)


@given(
    conversations,
    parameters,
    st.sampled_from([None, AnswerFormat("answer", SCHEMA)]),
    st.lists(texts, max_size=2).map(lambda said: tuple(Text(each) for each in said)),
    st.booleans(),
)
def test_what_is_asked_is_read_again(turns, given_, answer, system, shared):
    everything = (*((Turn("system", system),) if system else ()), *turns)
    told = asked(*everything, model=OPUS, parameters=given_, answer=answer, shared=len(everything) - 1 if shared else 0)
    body = wire.request_body(Endpoint.MESSAGES, told)
    ENTRY.validate({"requests": [{"custom_id": ID, "params": body}]})
    assert wire.asked_of(Endpoint.MESSAGES, body) == told


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({}, "model: Field required"),
        ({"model": "m"}, "max_tokens: Field required"),
        ({"model": "m", "max_tokens": 0}, "max_tokens: must be 1 or more"),
        ({"model": "m", "max_tokens": 1}, "messages: Field required"),
        ({"model": "m", "max_tokens": 1, "messages": []}, "messages: must hold at least one message"),
        ({"model": "m", "max_tokens": 1, "messages": [{"role": "x"}]}, r"messages\.0\.role"),
        ({"model": "m", "max_tokens": 1, "messages": [{"role": "user"}]}, r"messages\.0\.content"),
        ({"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": [{}]}]}, r"messages\.0\.content\.0"),
    ],
)
def test_a_body_that_is_none_names_its_field(body, wrong):
    with pytest.raises(ValueError, match=wrong):
        wire.asked_of(Endpoint.MESSAGES, body)


@pytest.mark.parametrize(
    "more",
    [
        {"container": "c"},
        {"thinking": {"type": "between_tools"}},
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
        {"messages": [{"role": "user", "content": [{"type": "search_result"}]}]},
    ],
)
def test_what_has_no_neutral_word_is_unsayable(more):
    body = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "q"}], **more}
    with pytest.raises(Unsayable):
        wire.asked_of(Endpoint.MESSAGES, body)


# ------------------------------------------------------------------------------------------ lines


def test_a_line_starts_with_its_id_and_can_have_another():
    line = wire.request_line(ID, Endpoint.MESSAGES, b'{"model":"m"}')
    assert line == b'{"custom_id":"%s","params":{"model":"m"}}\n' % ID.encode()
    again = wire.with_custom_id(line, "other")
    assert wire.split_line(again) == ("other", b'{"model":"m"}')
    with pytest.raises(ValueError, match="not a request line"):
        wire.with_custom_id(b"{}", "other")
    with pytest.raises(ValueError, match="params"):
        wire.split_line(b'{"custom_id":"a"}')


# ------------------------------------------------------------------------------------------ answers

USAGE = {
    "input_tokens": 10,
    "cache_creation_input_tokens": 3,
    "cache_read_input_tokens": 7,
    "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 3},
    "output_tokens": 5,
    "output_tokens_details": {"thinking_tokens": 2},
    "service_tier": "batch",
}
TOKENS = Tokens(20, 7, 5, 2, 3)
TOOL = {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}}


def message(*content: Any, stop: str = "end_turn", **more: Any) -> dict[str, Any]:
    blocks = [{"type": "text", "text": each} if isinstance(each, str) else each for each in content]
    whole = {"id": "msg_1", "type": "message", "role": "assistant", "model": HAIKU, "content": blocks}
    return {**whole, "stop_reason": stop, "stop_sequence": None, "usage": USAGE, **more}


def judged(document: Any, text: bool = True) -> Any:
    line = wire.succeeded_line(ID, json.dumps(document).encode())
    return wire.read_line(line, Endpoint.MESSAGES, text)


@pytest.mark.parametrize(
    ("content", "stop", "kind", "text", "calls"),
    [
        (["fine"], "end_turn", None, "fine", None),
        (["fi", "ne"], "stop_sequence", None, "fine", None),
        ([{"type": "thinking", "thinking": "hm", "signature": "s"}, "fine"], "end_turn", None, "fine", None),
        ([TOOL], "tool_use", None, None, [TOOL]),
        (["so", TOOL], "tool_use", None, "so", [TOOL]),
        ([{**TOOL, "name": ANSWER_TOOL}], "tool_use", None, '{"a": 1}', None),
        ([], "end_turn", FailureKind.EMPTY, None, None),
        (["  "], "end_turn", FailureKind.EMPTY, "  ", None),
        (["half"], "max_tokens", FailureKind.TRUNCATED, "half", None),
        (["half"], "model_context_window_exceeded", FailureKind.TRUNCATED, "half", None),
        (["no"], "refusal", FailureKind.REFUSED, "no", None),
        (["wait"], "pause_turn", FailureKind.INVALID, "wait", None),
    ],
)
def test_messages_are_judged(content, stop, kind, text, calls):
    document = message(*content, stop=stop)
    RESULT.validate({"custom_id": ID, "result": {"type": "succeeded", "message": document}})
    reply = judged(document)
    outcome = Outcome.SUCCEEDED if kind is None else Outcome.ERRORED
    assert (reply.custom_id, reply.outcome, reply.kind, reply.text) == (ID, outcome, kind, text)
    assert (reply.finish_reason, reply.model, reply.request_id, reply.tokens) == (stop, HAIKU, "msg_1", TOKENS)
    assert (json.loads(reply.tool_calls) if reply.tool_calls else None) == calls
    assert reply.ran
    short = judged(document, text=False)
    assert (short.outcome, short.kind, short.tokens, short.text, short.tool_calls) == (
        reply.outcome,
        kind,
        TOKENS,
        None,
        None,
    )


@pytest.mark.parametrize(
    ("type", "code", "text", "kind", "told"),
    [
        ("invalid_request_error", None, "messages.0.content: secret", FailureKind.PERMANENT, "(messages.0.content)"),
        ("invalid_request_error", None, "Your credit balance is too low", FailureKind.ACCOUNT, "HTTP 400"),
        ("not_found_error", None, "model: claude-none", FailureKind.PERMANENT, "HTTP 404 not_found_error"),
        ("rate_limit_error", None, "slow down", FailureKind.TRANSIENT, "HTTP 429"),
        ("rate_limit_error", "enforced_spend_limit_reached", "x", FailureKind.ACCOUNT, "enforced_spend_limit_reached"),
        ("overloaded_error", None, "Overloaded", FailureKind.TRANSIENT, "HTTP 529"),
        ("api_error", None, "secret", FailureKind.TRANSIENT, "HTTP 500 api_error"),
        ("billing_error", None, "secret", FailureKind.ACCOUNT, "HTTP 402"),
        ("something_new", None, "secret", FailureKind.TRANSIENT, "something_new"),
    ],
)
def test_errored_rows_are_judged_and_show_no_content(type, code, text, kind, told):
    details = {"error_code": code} if code else None
    line = wire.errored_line(ID, wire.error_envelope(type, text, "workerreq_1", details))
    reply = wire.read_line(line, Endpoint.MESSAGES)
    assert (reply.outcome, reply.kind, reply.request_id, reply.ran) == (Outcome.ERRORED, kind, "workerreq_1", False)
    assert told in reply.message
    assert "secret" not in reply.message
    assert "(model)" not in reply.message
    assert json.loads(wire.body_of(line))["error"]["message"] == text


def test_rows_that_did_not_run():
    canceled = wire.read_line(wire.canceled_line(ID), Endpoint.MESSAGES)
    assert (canceled.outcome, canceled.kind, canceled.ran) == (Outcome.CANCELED, FailureKind.CANCELED, False)
    expired = wire.read_line(wire.expired_line(ID), Endpoint.MESSAGES)
    assert (expired.outcome, expired.kind, expired.ran) == (Outcome.EXPIRED, FailureKind.EXPIRED, False)
    for line in (wire.canceled_line(ID), wire.expired_line(ID)):
        RESULT.validate(json.loads(line))
        assert wire.body_of(line) is None


@pytest.mark.parametrize(
    ("result", "kind", "tokens"),
    [
        ({"type": "succeeded"}, FailureKind.EMPTY, None),
        ({"type": "succeeded", "message": {"content": "text", "usage": USAGE}}, FailureKind.INVALID, TOKENS),
        ({"type": "succeeded", "message": [1]}, FailureKind.INVALID, None),
        ({"type": "succeeded", "message": message("fine", usage={"input_tokens": "7"})}, None, None),
        ({"type": "succeeded", "message": message("fine", usage=None)}, None, None),
        ({"type": "errored"}, FailureKind.TRANSIENT, None),
        ({"type": "errored", "error": "odd"}, FailureKind.TRANSIENT, None),
        ({"type": "new"}, FailureKind.INVALID, None),
        ({"type": 7}, FailureKind.INVALID, None),
        ({}, FailureKind.MISSING, None),
        (None, FailureKind.MISSING, None),
    ],
)
def test_odd_results_are_never_an_exception(result, kind, tokens):
    reply = wire.read_line(json.dumps({"custom_id": ID, "result": result}).encode(), Endpoint.MESSAGES)
    assert (reply.custom_id, reply.kind, reply.tokens) == (ID, kind, tokens)


@pytest.mark.parametrize("line", [b"", b"[]", b"{", b'{"custom_id":7}', b"\xff"])
def test_a_line_without_an_id_is_no_line(line):
    with pytest.raises(ValueError, match="line"):
        wire.read_line(line, Endpoint.MESSAGES)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "message", "content", "text", "usage", "error", "input_tokens"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@given(st.sampled_from(["succeeded", "errored", "canceled", None]), json_values)
def test_whatever_comes_with_an_id_is_judged(kind, value):
    for result in ({"type": kind, "message": value}, {"type": kind, "error": value}, value):
        line = json.dumps({"custom_id": ID, "result": result}).encode()
        assert wire.read_line(line, Endpoint.MESSAGES).custom_id == ID
        wire.body_of(line)


def test_answers_there_and_back():
    told = Answered("msg_1", HAIKU, "fine", Finish.TOOLS, TOKENS, tool_calls=(ToolCall("t", "f", '{"a":1}'),))
    body = wire.answer_body(told)
    RESULT.validate({"custom_id": ID, "result": {"type": "succeeded", "message": body}})
    assert wire.answered_of(body) == told
    for finish in Finish:
        said = Answered("msg_1", HAIKU, "x", finish, TOKENS, stop_sequence="X" if finish is Finish.STOP else None)
        body = wire.answer_body(said)
        RESULT.validate({"custom_id": ID, "result": {"type": "succeeded", "message": body}})
        again = wire.answered_of(body)
        assert (again.text, again.stop_sequence) == ("x", said.stop_sequence)
        # A filter is told as a refusal, and tools only where some are called.
        same = {Finish.FILTER: Finish.REFUSAL, Finish.TOOLS: Finish.STOP}
        assert again.finish is same.get(finish, finish)
    with pytest.raises(ValueError, match="not a message"):
        wire.answered_of({})


# ------------------------------------------------------------------------------------------ batches and errors


def batch(**more: Any) -> dict[str, Any]:
    document = wire.batch_object(
        id="msgbatch_1",
        status="in_progress",
        created_at=1_800_000_000.123456,
        expires_at=1_800_086_400.123456,
        processing=5,
    )
    document.update(more)
    return document


def test_a_batch_there_and_back():
    document = batch()
    BATCH.validate(document)
    assert document["created_at"] == "2027-01-15T08:00:00.123456Z"
    seen = wire.batch_from(document)
    assert (seen.id, seen.state, seen.counts, seen.output_file, seen.end) == (
        "msgbatch_1",
        RemoteState.IN_PROGRESS,
        Counts(total=5),
        None,
        None,
    )
    assert seen.created_at == pytest.approx(1_800_000_000.123456)


@pytest.mark.parametrize(
    ("counts", "end"),
    [
        ({"succeeded": 5}, Outcome.SUCCEEDED),
        ({"errored": 5}, Outcome.SUCCEEDED),
        ({"succeeded": 3, "canceled": 2}, Outcome.CANCELED),
        ({"succeeded": 3, "expired": 2}, Outcome.EXPIRED),
    ],
)
def test_how_a_batch_ended_is_told_by_its_rows(counts, end):
    seen = wire.batch_from(batch(processing_status="ended", request_counts={"processing": 0, **counts}))
    assert (seen.state, seen.counts.total, seen.end) == (RemoteState.ENDED, 5, end)
    assert seen.output_file == FileId("results:msgbatch_1")


@pytest.mark.parametrize(
    "more",
    [
        {"processing_status": "thinking_about_it"},
        {"processing_status": None},
        {"request_counts": None},
        {"created_at": "yesterday"},
    ],
)
def test_an_odd_batch_is_in_progress(more):
    assert wire.batch_from(batch(**more)).state is RemoteState.IN_PROGRESS


@pytest.mark.parametrize("document", [None, [], {}, {"id": ""}, {"id": 7}])
def test_what_is_no_batch(document):
    with pytest.raises(ValueError, match="not a batch"):
        wire.batch_from(document)


@pytest.mark.parametrize(
    ("status", "error", "kind", "proves"),
    [
        (400, ("invalid_request_error", "requests: List should have at least 1 item", None), "permanent", True),
        (401, ("authentication_error", "API key is invalid.", None), "account", True),
        (402, ("billing_error", "pay", None), "account", True),
        (403, ("permission_error", "no", None), "account", True),
        (404, ("not_found_error", "no", None), "permanent", True),
        (413, ("request_too_large", "Request exceeds the maximum size", None), "permanent", True),
        (429, ("rate_limit_error", "slow down", None), "transient", True),
        (429, ("rate_limit_error", "too many batch requests in the queue", None), "quota", True),
        (429, ("rate_limit_error", "x", "enforced_spend_limit_reached"), "account", True),
        (429, ("rate_limit_error", "x", "ramp_limit_exceeded"), "transient", True),
        (429, None, "transient", False),
        (500, ("api_error", "x", None), "transient", False),
        (504, ("timeout_error", "x", None), "transient", False),
        (529, ("overloaded_error", "Overloaded", None), "transient", False),
    ],
)
def test_what_a_refused_call_means(status, error, kind, proves):
    body = b"oops"
    if error is not None:
        type, text, code = error
        body = json.dumps(wire.error_envelope(type, text, "req_1", {"error_code": code} if code else None)).encode()
    failure = wire.error_failure(status, body, 3.0)
    assert (failure.kind, failure.proves_refusal, failure.status, failure.retry_after) == (kind, proves, status, 3.0)


def test_the_text_of_a_call_shows_no_key():
    body = json.dumps(wire.error_envelope("invalid_request_error", "bad sk-ant-api03-abcdef\nkey")).encode()
    assert wire.error_failure(400, body).message == "HTTP 400: bad *** key"
    assert "HTML" in wire.error_failure(404, b"<html>").message
