"""Objects and lines of Azure, Mistral and Together, read into what OpenAI's become."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.types import Counts, Endpoint, FailureKind, Outcome, RemoteState
from overnight.wire.openai import azure, mistral, read_line, request_line, together
from overnight.wire.openai.failures import batch_failure

AT = 1_800_000_000
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
JOB = {
    "id": "job-1",
    "input_files": ["file-1"],
    "endpoint": "/v1/chat/completions",
    "errors": [],
    "created_at": AT,
    "total_requests": 9,
    "completed_requests": 8,
    "succeeded_requests": 6,
    "failed_requests": 2,
    "metadata": {"overnight_tag": "t-1"},
    "output_file": "file-2",
    "error_file": None,
}


@pytest.mark.parametrize(
    ("status", "state", "end"),
    [
        ("QUEUED", RemoteState.IN_PROGRESS, None),
        ("RUNNING", RemoteState.IN_PROGRESS, None),
        ("SUCCESS", RemoteState.ENDED, Outcome.SUCCEEDED),
        ("FAILED", RemoteState.FAILED, None),
        ("TIMEOUT_EXCEEDED", RemoteState.ENDED, Outcome.EXPIRED),
        ("CANCELLATION_REQUESTED", RemoteState.CANCELING, None),
        ("CANCELLED", RemoteState.ENDED, Outcome.CANCELED),
        ("PAUSED", RemoteState.IN_PROGRESS, None),
    ],
)
def test_a_job_of_mistral(status, state, end):
    batch = mistral.batch_from({**JOB, "status": status})
    assert (batch.state, batch.end, batch.raw_status) == (state, end, status)
    assert (batch.id, batch.tag, batch.input_file, batch.output_file) == ("job-1", "t-1", "file-1", "file-2")
    assert batch.counts == Counts(9, 6, 2)


def test_why_a_job_of_mistral_failed():
    batch = mistral.batch_from({**JOB, "status": "FAILED", "errors": [{"message": "Model not found", "count": 3}]})
    assert batch.failure is not None
    assert (batch.failure.kind, batch.failure.message) == (FailureKind.PERMANENT, "Model not found")


@pytest.mark.parametrize(
    ("status", "state", "end"),
    [
        ("VALIDATING", RemoteState.IN_PROGRESS, None),
        ("IN_PROGRESS", RemoteState.IN_PROGRESS, None),
        ("COMPLETED", RemoteState.ENDED, Outcome.SUCCEEDED),
        ("FAILED", RemoteState.FAILED, None),
        ("EXPIRED", RemoteState.ENDED, Outcome.EXPIRED),
        ("CANCELING", RemoteState.CANCELING, None),
        ("CANCELLED", RemoteState.ENDED, Outcome.CANCELED),
        ("RESTING", RemoteState.IN_PROGRESS, None),
    ],
)
def test_a_job_of_together(status, state, end):
    job = {"id": "j-1", "input_file_id": "file-1", "status": status, "created_at": "2027-01-15T08:00:00Z"}
    for shown in (job, {"job": job, "warning": "slow"}):
        batch = together.batch_from(shown)
        assert (batch.state, batch.end, batch.raw_status) == (state, end, status)
        assert (batch.id, batch.input_file, batch.created_at) == ("j-1", "file-1", AT)
        assert batch.counts == Counts()


@pytest.mark.parametrize(
    ("text", "at"), [("2027-01-15T08:00:00", AT), ("2027-01-15T09:00:00.5+01:00", AT + 0.5), ("?", None)]
)
def test_times_of_together(text, at):
    assert together.batch_from({"id": "j", "status": "COMPLETED", "created_at": text}).created_at == at


def test_a_job_of_together_whose_file_is_not_there():
    job = {"id": "j", "status": "FAILED", "error": "Cannot find file file-1"}
    assert together.batch_from(job).failure.kind is FailureKind.FILE


@given(st.dictionaries(st.sampled_from([*JOB, "status", "job", "error", "job_deadline", "completed_at"]), JSON))
def test_odd_fields_are_a_batch_or_none_and_nothing_else(fields):
    for dialect in (mistral, together):
        try:
            batch = dialect.batch_from({**fields, "id": "x"})
        except ValueError:
            continue
        assert batch.id


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("url_mismatch", FailureKind.PERMANENT),
        ("model_mismatch", FailureKind.PERMANENT),
        ("too_many_tasks", FailureKind.PERMANENT),
        ("token_limit_exceeded", FailureKind.QUOTA),
    ],
)
def test_why_a_batch_of_azure_failed(code, kind):
    failure = batch_failure({"data": [{"code": code, "message": "m", "line": 3}]})
    assert (failure.kind, failure.code, failure.line) == (kind, code, 3)


@given(st.text(alphabet="abc-019", min_size=1, max_size=12), st.binary(max_size=40))
def test_lines_on_their_way(id, text):
    body = b'{"x":"%s"}' % text.hex().encode()
    line = request_line(id, Endpoint.CHAT, body)
    assert mistral.input_line(line) == b'{"custom_id":"%s","body":%s}\n' % (id.encode(), body)
    assert together.input_line(line) == mistral.input_line(line)
    assert azure.input_line(line) == request_line(id, "/chat/completions", body)
    assert mistral.input_line(b"") == azure.input_line(b"") == b""


@pytest.mark.parametrize(
    ("body", "kind", "code"),
    [
        (
            '{"object":"error","message":"bad","type":"invalid_request_error","code":"3051"}',
            FailureKind.PERMANENT,
            "3051",
        ),
        ('{"error":{"message":"bad","code":"insufficient_quota"}}', FailureKind.ACCOUNT, "insufficient_quota"),
        ('{"detail":[{"loc":["body"]}]}', FailureKind.PERMANENT, None),
        ("no JSON", FailureKind.PERMANENT, None),
    ],
)
def test_a_refused_row_of_mistral_has_a_text_as_body(body, kind, code):
    import json

    row = {"id": "b-1", "custom_id": "r-1", "response": {"status_code": 400, "body": body}, "error": None}
    reply = read_line(json.dumps(row).encode(), Endpoint.CHAT)
    assert (reply.outcome, reply.kind, reply.code, reply.status) == (Outcome.ERRORED, kind, code, 400)
    assert not reply.ran


def test_a_refused_row_of_together_has_no_answer():
    line = b'{"id":"br_1","custom_id":"r-1","error":{"code":"batch_client_error","message":"secret words"}}'
    reply = read_line(line, Endpoint.CHAT)
    assert (reply.outcome, reply.kind, reply.code) == (Outcome.ERRORED, FailureKind.TRANSIENT, "batch_client_error")
    assert "secret" not in (reply.message or "")


def test_a_row_of_together_that_succeeded():
    body = b'{"model":"m","choices":[{"message":{"content":"fine"},"finish_reason":"stop"}]}'
    line = b'{"id":"br_1","custom_id":"r-1","response":{"status_code":200,"body":%s}}' % body
    reply = read_line(line, Endpoint.CHAT)
    assert (reply.outcome, reply.text) == (Outcome.SUCCEEDED, "fine")
