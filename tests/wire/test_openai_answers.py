"""Answer lines, read and judged."""

import base64
import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.types import Endpoint, FailureKind, Outcome, Tokens
from overnight.wire.openai import error_envelope, error_line, output_line, read_line

ID = "abcdefgh-000000007-00"
USAGE = {
    "prompt_tokens": 20,
    "completion_tokens": 5,
    "total_tokens": 25,
    "prompt_tokens_details": {"cached_tokens": 8},
    "completion_tokens_details": {"reasoning_tokens": 3},
}
TOKENS = Tokens(20, 8, 5, 3)


def chat(content="fine", finish="stop", usage=USAGE, **message):
    choice = {"index": 0, "message": {"role": "assistant", "content": content, **message}, "finish_reason": finish}
    return {"id": "chatcmpl-1", "object": "chat.completion", "model": "m-1", "choices": [choice], "usage": usage}


def response(text="fine", status="completed", **more):
    parts = [{"type": "output_text", "text": text, "annotations": []}] if text is not None else []
    usage = {
        "input_tokens": 20,
        "input_tokens_details": {"cached_tokens": 8},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 3},
    }
    items = [
        {"type": "reasoning", "summary": []},
        {"type": "message", "role": "assistant", "status": status, "content": parts},
    ]
    return {"object": "response", "model": "m-1", "status": status, "output": items, "usage": usage} | more


def vectors(*embeddings):
    data = [{"object": "embedding", "index": n, "embedding": each} for n, each in enumerate(embeddings)]
    return {"object": "list", "data": data, "model": "m-1", "usage": {"prompt_tokens": 20, "total_tokens": 20}}


def line(body, status=200, **more):
    answer = {"status_code": status, "request_id": "req_1", "body": body}
    return json.dumps({"id": "batch_req_1", "custom_id": ID, "response": answer, "error": None} | more).encode()


def judged(body, endpoint=Endpoint.CHAT, status=200, **more):
    return read_line(line(body, status, **more), endpoint)


# ------------------------------------------------------------------------------------------- successes


def test_a_chat_answer():
    reply = judged(chat("fine é 世"))
    assert (reply.custom_id, reply.outcome, reply.kind) == (ID, Outcome.SUCCEEDED, None)
    assert (reply.text, reply.finish_reason, reply.model) == ("fine é 世", "stop", "m-1")
    assert (reply.status, reply.request_id, reply.tokens, reply.ran) == (200, "req_1", TOKENS, True)


def test_a_response():
    reply = judged(response(), Endpoint.RESPONSES)
    assert (reply.outcome, reply.text, reply.tokens, reply.ran) == (Outcome.SUCCEEDED, "fine", TOKENS, True)


def test_tool_calls_are_an_answer_and_stay_as_they_came():
    calls = [{"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    reply = judged(chat(None, "tool_calls", tool_calls=calls))
    assert reply.outcome is Outcome.SUCCEEDED
    assert json.loads(reply.tool_calls) == calls
    item = {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"a": 1}', "status": "completed"}
    reply = judged(response(None, output=[{"type": "reasoning", "summary": []}, item]), Endpoint.RESPONSES)
    assert (reply.outcome, json.loads(reply.tool_calls)) == (Outcome.SUCCEEDED, [item])


@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=9), st.booleans())
def test_a_vector_as_numbers_and_as_base64(numbers, packed):
    given_as = base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode() if packed else numbers
    reply = judged(vectors(given_as), Endpoint.EMBEDDINGS)
    assert (reply.outcome, reply.vector) == (Outcome.SUCCEEDED, tuple(numbers))
    assert (reply.text, reply.tokens) == (None, Tokens(20))


def test_several_vectors_of_one_row_stay_in_the_raw_answer():
    reply = judged(vectors([1.0, 2.0], [3.0, 4.0]), Endpoint.EMBEDDINGS)
    assert (reply.outcome, reply.vector) == (Outcome.SUCCEEDED, None)


@pytest.mark.parametrize(
    ("body", "text", "tokens"),
    [
        ({"id": "modr-1", "results": [{"flagged": False}]}, None, None),
        (chat(), "fine", TOKENS),
        (chat("cut", "length"), "cut", TOKENS),
        (response(), "fine", TOKENS),
        ({"data": [{"b64_json": "x"}], "usage": {"input_tokens": 3, "output_tokens": 4}}, None, Tokens(3, 0, 4, 0)),
        ({"choices": "odd", "usage": {"prompt_tokens": 3, "completion_tokens": 4}}, None, Tokens(3, 0, 4, 0)),
    ],
)
def test_at_other_endpoints_a_body_is_an_answer(body, text, tokens):
    reply = judged(body, "/v1/something/else")
    assert (reply.outcome, reply.text, reply.tokens, reply.ran) == (Outcome.SUCCEEDED, text, tokens, True)


def test_without_text_the_judgement_is_the_same():
    for body, endpoint in ((chat(), Endpoint.CHAT), (response(), Endpoint.RESPONSES), (vectors([1.0]), "e")):
        with_text, without = read_line(line(body), endpoint), read_line(line(body), endpoint, text=False)
        assert (without.text, without.vector, without.tool_calls) == (None, None, None)
        assert (without.outcome, without.tokens) == (with_text.outcome, with_text.tokens)


# ------------------------------------------------------------------------------------------- answers that are none

EMPTY, TRUNCATED, REFUSED, INVALID = (
    FailureKind.EMPTY,
    FailureKind.TRUNCATED,
    FailureKind.REFUSED,
    FailureKind.INVALID,
)
CHAT, RESPONSES, EMBEDDINGS = Endpoint.CHAT, Endpoint.RESPONSES, Endpoint.EMBEDDINGS
infinite = base64.b64encode(struct.pack("<2f", 1.0, float("inf"))).decode()


@pytest.mark.parametrize(
    ("endpoint", "body", "kind"),
    [
        (CHAT, chat(""), EMPTY),
        (CHAT, chat(None), EMPTY),
        (CHAT, chat(" \n\t"), EMPTY),
        (CHAT, chat(None, tool_calls=[]), EMPTY),
        (CHAT, chat(None, tool_calls=None), EMPTY),
        (CHAT, chat() | {"choices": []}, EMPTY),
        (CHAT, {"choices": None}, EMPTY),
        (CHAT, {}, EMPTY),
        (CHAT, None, EMPTY),
        (CHAT, chat("cut", "length"), TRUNCATED),
        (CHAT, chat(None, "length"), TRUNCATED),
        (CHAT, chat("some", "content_filter"), REFUSED),
        (CHAT, chat(None, refusal="No."), REFUSED),
        (CHAT, chat(["parts"]), INVALID),
        (CHAT, [1, 2], INVALID),
        (CHAT, "text", INVALID),
        (RESPONSES, response(None), EMPTY),
        (RESPONSES, response("  "), EMPTY),
        (RESPONSES, response(output=None), EMPTY),
        (RESPONSES, response("cut", "incomplete", incomplete_details={"reason": "max_output_tokens"}), TRUNCATED),
        (RESPONSES, response("cut", "incomplete"), TRUNCATED),
        (RESPONSES, response("x", "incomplete", incomplete_details={"reason": "content_filter"}), REFUSED),
        (
            RESPONSES,
            response(output=[{"type": "message", "content": [{"type": "refusal", "refusal": "No."}]}]),
            REFUSED,
        ),
        (RESPONSES, response(None, "failed", error={"code": "server_error", "message": "x"}), FailureKind.TRANSIENT),
        (RESPONSES, response(None, "failed", error={"code": "invalid_prompt", "message": "x"}), FailureKind.PERMANENT),
        (RESPONSES, response("x", "queued"), INVALID),
        (RESPONSES, response(output="text"), INVALID),
        (EMBEDDINGS, vectors(), EMPTY),
        (EMBEDDINGS, vectors([]), EMPTY),
        (EMBEDDINGS, vectors(""), EMPTY),
        (EMBEDDINGS, vectors([1.0], [1.0, 2.0]), INVALID),
        (EMBEDDINGS, vectors("not base64!"), INVALID),
        (EMBEDDINGS, vectors("AAA="), INVALID),
        (EMBEDDINGS, vectors(infinite), INVALID),
        (EMBEDDINGS, vectors([None]), INVALID),
        ("/v1/moderations", {}, EMPTY),
        ("/v1/moderations", None, EMPTY),
        ("/v1/moderations", "text", INVALID),
    ],
)
def test_what_ran_and_is_no_answer(endpoint, body, kind):
    reply = judged(body, endpoint)
    assert (reply.outcome, reply.kind, reply.ran, reply.status) == (Outcome.ERRORED, kind, True, 200)
    usage = body.get("usage") if isinstance(body, dict) else None
    assert (reply.tokens is not None) == (usage is not None)


def test_an_answer_that_failed_is_kept():
    assert judged(chat("cut he", "length")).text == "cut he"
    assert judged(response("cut he", "incomplete"), RESPONSES).text == "cut he"


@pytest.mark.parametrize(
    "usage",
    [None, {}, "many", {"prompt_tokens": "20"}, {"prompt_tokens": -1, "completion_tokens": 2}, {"prompt_tokens": 1.5}],
)
def test_a_strange_usage_is_unknown_cost_and_no_failure(usage):
    reply = judged(chat(usage=usage))
    assert (reply.outcome, reply.text, reply.tokens) == (Outcome.SUCCEEDED, "fine", None)


# ------------------------------------------------------------------------------------------- rows that did not run


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (400, {"message": "Invalid 'temperature': secret", "param": "temperature"}, FailureKind.PERMANENT),
        (400, {"code": "content_filter", "message": "filtered"}, REFUSED),
        (401, {"code": "invalid_api_key"}, FailureKind.ACCOUNT),
        (403, {"message": "no access"}, FailureKind.ACCOUNT),
        (404, {"code": "model_not_found"}, FailureKind.PERMANENT),
        (408, {}, FailureKind.TRANSIENT),
        (409, {}, FailureKind.TRANSIENT),
        (422, {}, FailureKind.PERMANENT),
        (429, {"code": "rate_limit_exceeded"}, FailureKind.TRANSIENT),
        (429, {"code": "insufficient_quota", "message": "x"}, FailureKind.ACCOUNT),
        (429, {"type": "insufficient_quota", "code": None}, FailureKind.ACCOUNT),
        (429, {"message": "You exceeded your current quota, please check your plan."}, FailureKind.ACCOUNT),
        (400, {"code": "billing_hard_limit_reached"}, FailureKind.ACCOUNT),
        (500, {"message": "x"}, FailureKind.TRANSIENT),
        (503, None, FailureKind.TRANSIENT),
        (529, {"code": 529, "message": ["odd"]}, FailureKind.TRANSIENT),
    ],
)
def test_a_refused_row(status, error, kind):
    reply = judged({"error": error}, status=status)
    assert (reply.outcome, reply.kind, reply.status, reply.ran) == (Outcome.ERRORED, kind, status, False)
    assert f"HTTP {status}" in reply.message
    assert "secret" not in reply.message


def test_a_refused_row_names_code_and_parameter_and_no_content():
    error = {"code": "invalid_value", "message": "Bad 'SECRET'", "param": "messages[0].content", "type": "t"}
    reply = judged({"error": error}, status=400)
    assert (reply.message, reply.code) == ("HTTP 400 invalid_value (messages[0].content)", "invalid_value")
    reply = judged({"error": {"code": "a secret sentence", "type": "a b", "param": "the whole prompt"}}, status=400)
    assert (reply.message, reply.code) == ("HTTP 400", None)


@pytest.mark.parametrize("body", ["oops", ["x"], None, 5, {"detail": "no"}, {"error": "no"}, {"choices": 3}])
def test_a_refused_row_with_an_odd_body_is_still_refused(body):
    reply = judged(body, status=400)
    assert (reply.outcome, reply.kind, reply.ran) == (Outcome.ERRORED, FailureKind.PERMANENT, False)


@pytest.mark.parametrize(
    ("code", "outcome", "kind"),
    [
        ("batch_expired", Outcome.EXPIRED, FailureKind.EXPIRED),
        ("batch_cancelled", Outcome.CANCELED, FailureKind.CANCELED),
        ("insufficient_quota", Outcome.ERRORED, FailureKind.ACCOUNT),
        ("something_new", Outcome.ERRORED, FailureKind.TRANSIENT),
    ],
)
def test_a_row_that_was_not_executed(code, outcome, kind):
    reply = read_line(error_line("batch_req_1", ID, code, "Text."), CHAT)
    assert (reply.outcome, reply.kind, reply.code, reply.ran) == (outcome, kind, code, False)


def test_nothing_at_all_is_missing_and_may_have_run():
    for odd in (line({}, 0), line(None, 0), line(None, response=None), b'{"custom_id":"%s"}' % ID.encode()):
        reply = read_line(odd, CHAT)
        assert (reply.outcome, reply.kind, reply.ran) == (Outcome.ERRORED, FailureKind.MISSING, True)
        assert reply.tokens is None


def test_an_error_beside_an_answer_wins_but_the_row_ran():
    reply = judged(chat(), error={"code": "odd", "message": "x"})
    assert (reply.outcome, reply.kind, reply.ran) == (Outcome.ERRORED, FailureKind.TRANSIENT, True)
    assert judged(chat(), error={}).outcome is Outcome.SUCCEEDED


# ------------------------------------------------------------------------------------------- lines that do not fit


@pytest.mark.parametrize(
    "bad", [b"", b"{", b"[]", b"null", b"{}", b'{"custom_id":7}', b"<html>", b"\xff", b"[" * 100_000, b'{"a":' * 9_999]
)
@pytest.mark.parametrize("endpoint", [CHAT, "/v1/moderations"])
def test_a_line_without_an_id_raises(bad, endpoint):
    with pytest.raises(ValueError, match="line"):
        read_line(bad, endpoint)


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (b'"fine"', b'"a\\ud800b"', "a?b"),
        (b'"fine"', b'"a\xffb"', "a\ufffdb"),
        (b'"object"', b'"logprobs": NaN, "object"', "fine"),
        (b'"object"', b'"logprobs": -Infinity, "object"', "fine"),
        (b'{"id"', b'\xef\xbb\xbf{"id"', "fine"),
    ],
)
def test_sloppy_json_is_read_all_the_same(old, new, text):
    odd = line(chat()).replace(old, new, 1)
    reply = read_line(odd, CHAT)
    assert (reply.outcome, reply.text, reply.tokens) == (Outcome.SUCCEEDED, text, TOKENS)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=9,
)
fields = [
    "response",
    "error",
    "body",
    "status_code",
    "choices",
    "message",
    "content",
    "usage",
    "output",
    "data",
    "type",
]
odd_lines = st.recursive(
    json_values,
    lambda inner: (
        st.dictionaries(st.sampled_from([*fields, "embedding", "model", "code"]), inner, max_size=6)
        | st.lists(inner, max_size=2)
    ),
    max_leaves=20,
)


@given(
    odd_lines, odd_lines, st.sampled_from([CHAT, RESPONSES, EMBEDDINGS, "/v1/other"]), st.sampled_from([0, 200, 400])
)
def test_no_line_with_an_id_raises(answer, body, endpoint, status):
    for odd in (answer, {"status_code": status, "body": body}):
        text = json.dumps({"custom_id": ID, "response": odd, "error": None}).encode()
        reply = read_line(text, endpoint)
        assert reply.custom_id == ID
        assert (reply.outcome is Outcome.SUCCEEDED) == (reply.kind is None)


@given(st.text(min_size=1).filter(lambda text: not text.isspace()), st.text())
def test_what_the_server_writes_the_client_reads(text, custom_id):
    try:
        custom_id.encode()
        body = json.dumps(chat(text)).encode()
        text.encode()
    except UnicodeEncodeError:
        return
    reply = read_line(output_line("batch_req_1", custom_id, 200, "req_1", body), CHAT)
    assert (reply.custom_id, reply.text, reply.outcome) == (custom_id, text, Outcome.SUCCEEDED)
    refused = output_line("batch_req_1", custom_id, 400, "", json.dumps(error_envelope(text)).encode())
    assert read_line(refused, CHAT).kind is FailureKind.PERMANENT or "quota" in text


@pytest.mark.parametrize("tokens", [-1, 10**13, 2**70])
def test_a_usage_that_cannot_be_is_unknown(tokens):
    reply = judged(chat(usage={"prompt_tokens": tokens, "completion_tokens": 4}))
    assert (reply.outcome, reply.tokens, reply.ran) == (Outcome.SUCCEEDED, None, True)
