"""Batches, files, lists and errors of the API, built and read."""

import json

import jsonschema_rs
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.types import Counts, FailureKind, Outcome, RemoteState, Tokens
from overnight.wire.openai import (
    TAG_KEY,
    batch_from,
    batch_object,
    error_envelope,
    error_failure,
    error_line,
    file_object,
    list_object,
    output_line,
)
from tests.wire.specs import line_schema, object_schema, without_nulls

AT = 1_800_000_000
STATUSES = ["validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"]


def a_batch(status="in_progress", **more):
    fields = {
        "id": "batch_1",
        "endpoint": "/v1/chat/completions",
        "input_file_id": "file-1",
        "status": status,
        "created_at": AT,
        "expires_at": AT + 86_400,
    }
    return batch_object(**(fields | more))


def valid(name, document):
    schema = object_schema(name)
    return jsonschema_rs.validator_for(schema).is_valid(without_nulls(document))


@given(
    st.sampled_from(STATUSES),
    st.none() | st.just("file-2"),
    st.integers(0, 9),
    st.none() | st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=3),
    st.none() | st.just([{"code": "invalid_url", "message": "x", "param": "url", "line": 3}]),
)
def test_batch_objects_hold_to_the_published_schema_and_read_back(status, file, rows, metadata, errors):
    usage = Tokens(10 * rows, rows, 2 * rows, rows)
    document = a_batch(
        status,
        output_file_id=file,
        errors=errors,
        times={f"{status}_at": AT + 60},
        total=rows,
        completed=rows,
        usage=usage,
        metadata=metadata,
        model="m",
    )
    assert valid("Batch", document)
    batch = batch_from(json.loads(json.dumps(document)))
    assert (batch.raw_status, batch.output_file, batch.error_file) == (status, file, None)
    assert (batch.counts, batch.usage, batch.model) == (Counts(rows, rows), usage, "m")
    assert (batch.created_at, batch.expires_at) == (AT, AT + 86_400)
    over = status in ("completed", "failed", "expired", "cancelled")
    assert batch.ended_at == (AT + 60 if over else None)
    assert (batch.failure is not None) == (status == "failed")


def test_unset_fields_are_null_and_not_absent():
    document = a_batch()
    for name in ("errors", "output_file_id", "error_file_id", "in_progress_at", "cancelled_at", "metadata", "model"):
        assert document[name] is None


@pytest.mark.parametrize(
    ("status", "state", "end"),
    [
        ("validating", RemoteState.IN_PROGRESS, None),
        ("in_progress", RemoteState.IN_PROGRESS, None),
        ("finalizing", RemoteState.IN_PROGRESS, None),
        ("cancelling", RemoteState.CANCELING, None),
        ("completed", RemoteState.ENDED, Outcome.SUCCEEDED),
        ("expired", RemoteState.ENDED, Outcome.EXPIRED),
        ("cancelled", RemoteState.ENDED, Outcome.CANCELED),
        ("failed", RemoteState.FAILED, None),
        ("napping", RemoteState.IN_PROGRESS, None),
    ],
)
def test_states(status, state, end):
    batch = batch_from(a_batch(status))
    assert (batch.state, batch.end, batch.raw_status) == (state, end, status)


def test_an_empty_file_id_is_none():
    batch = batch_from(a_batch("completed", error_file_id="", output_file_id=""))
    assert (batch.output_file, batch.error_file) == (None, None)


def test_the_tag_is_read_from_the_metadata():
    assert batch_from(a_batch(metadata={TAG_KEY: "t-1", "other": "x"})).tag == "t-1"
    assert batch_from(a_batch(metadata={"other": "x"})).tag is None


@pytest.mark.parametrize(
    ("code", "param", "message", "line", "kind"),
    [
        ("token_limit_exceeded", None, "Enqueued token limit reached for m in organization o.", None, "quota"),
        (None, None, "Enqueued token limit reached for m.", None, "quota"),
        ("invalid_request", "file_id", "Cannot find file file-1", None, "file"),
        ("invalid_request", "body.model", "Missing model", 1, "permanent"),
        ("insufficient_quota", None, "x", None, "account"),
        ("billing_hard_limit_reached", None, "Billing hard limit has been reached", None, "account"),
        ("invalid_json_line", None, "This line is not parseable as valid JSON.", 7, "permanent"),
        ("invalid_request", None, "The batch input file is larger than the 209715200 maximum", None, "permanent"),
        ("something_new", None, "x", None, "permanent"),
    ],
)
def test_why_a_batch_failed(code, param, message, line, kind):
    errors = [{"code": code, "message": message, "param": param, "line": line}]
    failure = batch_from(a_batch("failed", errors=errors)).failure
    assert (failure.kind, failure.code, failure.line, failure.proves_refusal) == (kind, code, line, True)
    assert message in failure.message
    assert line is None or f"line {line}" in failure.message


@pytest.mark.parametrize("errors", [None, [], "x", {"data": None}, {"data": ["x"]}, {"data": [{}]}])
def test_a_batch_that_failed_for_no_reason(errors):
    assert batch_from(a_batch("failed") | {"errors": errors}).failure.kind is FailureKind.PERMANENT


@pytest.mark.parametrize("document", [None, [], {}, {"id": ""}, {"id": 7}, "batch_1"])
def test_what_is_no_batch_at_all_raises(document):
    with pytest.raises(ValueError, match="batch"):
        batch_from(document)


odd = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just([]) | st.just({"data": 5})


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(a_batch(), odd)))
def test_odd_fields_never_raise(fields):
    assert batch_from(fields | {"id": "batch_1"}).id == "batch_1"


def test_files_lists_and_errors_hold_to_the_published_schema():
    file = file_object(id="file-1", size=9, created_at=AT, filename="a.jsonl", purpose="batch", expires_at=AT + 9)
    assert valid("OpenAIFile", file)
    assert valid("ListFilesResponse", list_object([file], has_more=True))
    assert valid("ListBatchesResponse", list_object([a_batch()], has_more=False))
    assert list_object([], has_more=False) == {
        "object": "list",
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": False,
    }
    assert error_envelope("No.", param="endpoint", code="c") == {
        "error": {"message": "No.", "type": "invalid_request_error", "param": "endpoint", "code": "c"}
    }


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_answer_lines_hold_to_the_published_schema(text):
    schema = jsonschema_rs.validator_for(line_schema("BatchRequestOutput"))
    for line in (output_line("b", text, 200, "r", b'{"a":1}'), error_line("b", text, "batch_expired", text)):
        assert line.endswith(b"}\n")
        assert line.count(b"\n") == 1
        document = json.loads(line)
        schema.validate(document)
        assert document["custom_id"] == text


# ------------------------------------------------------------------------------------------- errors of calls


@pytest.mark.parametrize(
    ("status", "error", "kind", "refused"),
    [
        (400, {"message": "Missing required parameter: 'input_file_id'.", "param": "input_file_id"}, "permanent", True),
        (400, {"message": "File is too large."}, "permanent", True),
        (413, None, "permanent", True),
        (401, {"message": "Incorrect API key provided: sk-abcdef123456"}, "account", True),
        (403, {"message": "no"}, "account", True),
        (402, {"message": "credit"}, "account", False),
        (404, {"message": "No such File object: file-1", "param": "id"}, "file", True),
        (400, {"message": "Cannot find file file-1", "param": "file_id"}, "file", True),
        (404, {"message": "No batch found with id 'b'."}, "permanent", True),
        (422, {"message": "x"}, "permanent", True),
        (429, {"message": "Rate limit reached"}, "transient", True),
        (429, {"message": "Enqueued token limit reached for m"}, "quota", True),
        (400, {"message": "Enqueued token limit reached for m"}, "quota", True),
        (429, {"code": "token_limit_exceeded", "message": "x"}, "quota", True),
        (429, {"message": "Too many batches created in the last hour"}, "quota", True),
        (429, {"code": "insufficient_quota", "message": "x"}, "account", True),
        (429, {"message": "You exceeded your current quota, please check your plan"}, "account", True),
        (429, None, "transient", False),
        (408, {"message": "x"}, "transient", False),
        (409, {"message": "x"}, "transient", False),
        (500, {"message": "x"}, "transient", False),
        (503, None, "transient", False),
        (529, {"message": "x"}, "transient", False),
        (307, None, "permanent", False),
    ],
)
def test_an_error_answer(status, error, kind, refused):
    body = b"" if error is None else orjson.dumps({"error": error})
    failure = error_failure(status, body, 5.0)
    assert (failure.kind, failure.proves_refusal) == (kind, refused)
    assert (failure.status, failure.retry_after) == (status, 5.0)
    assert f"HTTP {status}" in failure.message
    assert "sk-abc" not in failure.message


@pytest.mark.parametrize("status", [400, 404, 429, 502])
def test_html_is_named(status):
    failure = error_failure(status, b"\n<!doctype html><p>secret")
    assert "HTML" in failure.message
    assert "secret" not in failure.message
    assert failure.proves_refusal == (status in (400, 404))


@given(st.sampled_from([400, 401, 404, 429, 500]), st.binary(max_size=50))
def test_no_error_body_raises(status, body):
    assert "\n" not in error_failure(status, body).message


def test_an_error_text_is_one_short_line_without_keys():
    text = "line one\nline two \x1b[31m key sk-proj-abcdefgh1234 Bearer abcdefgh " + "x" * 9_000
    message = error_failure(400, orjson.dumps({"error": {"message": text}})).message
    assert message.startswith("HTTP 400: line one line two")
    assert message.isprintable()
    assert len(message) < 330
    assert "abcdefgh" not in message


def test_a_batch_that_used_more_than_can_be_tells_nothing():
    usage = {"input_tokens": 10**15, "output_tokens": 1}
    assert batch_from({"id": "b", "status": "completed", "usage": usage}).usage is None
