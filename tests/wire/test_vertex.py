"""What Vertex AI's importer refuses, and its jobs as they are read and built."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.testing.gemini_rows import echo
from overnight.testing.vertex_jobs import CannotImport, Quirks, rows_of
from overnight.testing.vertex_rows import Row, end
from overnight.types import Endpoint, FailureKind, FileId, Outcome, RemoteState, Tag, Tokens
from overnight.wire import vertex as wire
from overnight.wire.conversation import AnswerFormat, Asked, Text, Turn, Unsayable
from overnight.wire.vertex.importer import DEEPEST, Importer

STRICT = Quirks(coerces_keys=True, imports_strictly=True)
ASKED = wire.create_body(
    model="gemini-2.5-flash",
    input_uri="gs://b/in.jsonl",
    output_prefix="gs://b/in/out",
    display_name="in.jsonl",
    labels={"overnight_tag": "t1", "Unfit": "x", "unfit": "Ü"},
)


def deep(levels: int) -> dict[str, Any]:
    value: Any = "x"
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    ("bodies", "field"),
    [
        ([{"generationConfig": {"responseSchema": {"$defs": {"a": "b"}}}}], "generationConfig.responseSchema.$defs"),
        ([{"a b": 1}], "a b"),
        ([{"1st": 1}], "1st"),
        ([{"tools": [{"googleSearch": {}}]}], "tools[].googleSearch"),
        ([{}], "request"),
        ([deep(DEEPEST + 1)], ".".join("a" * DEEPEST)),
        ([{"contents": None}], "contents"),
        ([{"contents": [None]}], "contents"),
        ([{"x": [1, 2]}, {"x": None}], "x"),
        ([{"x": 1}, {"x": "1"}], "x"),
        ([{"x": [{"y": 1}, {"y": True}]}], "x[].y"),
        ([{"x": {"y": 1}}, {"x": "y"}], "x"),
    ],
)
def test_what_the_importer_refuses_is_named(bodies: list[dict[str, Any]], field: str) -> None:
    importer = Importer()
    *before, last = bodies
    assert [importer.fault(body) for body in before] == [None] * len(before)
    fault = importer.fault(last)
    assert fault is not None
    assert fault.field == field
    assert importer.fault(before[0] if before else {"fine": 1}) is None


@pytest.mark.parametrize(
    "bodies",
    [
        [deep(DEEPEST)],
        [{"x": 1}, {"x": 1.5}, {"x": None}],
        [{"x": None}, {"y": [1]}],
        [{"contents": [{"parts": [{"text": "a"}, {"inlineData": {"data": "b"}}]}]}],
        [{"a": {"x": 1}, "b": {"x": "1"}}],
    ],
)
def test_what_the_importer_takes(bodies: list[dict[str, Any]]) -> None:
    importer = Importer()
    assert [importer.fault(body) for body in bodies] == [None] * len(bodies)


NAMES = st.sampled_from(["a", "b", "parts", "$defs", "a b"])
VALUES = st.recursive(
    st.sampled_from(["x", 1, 1.5, True, None]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2),
    max_leaves=4,
)


@given(st.lists(st.dictionaries(NAMES, VALUES, max_size=2), min_size=1, max_size=3))
def test_what_is_let_through_is_imported(bodies: list[dict[str, Any]]) -> None:
    importer = Importer()
    fine = all(importer.fault(body) is None for body in bodies)
    data = b"".join(json.dumps({"key": "k1", "request": body}).encode() + b"\n" for body in bodies)
    if fine:
        assert len(list(rows_of(data, STRICT))) == len(bodies)


def test_a_row_whose_key_looks_like_a_number_comes_back_with_a_number() -> None:
    lines = [json.dumps({"key": key, "request": {"a": 1}}).encode() for key in ("000000", "k7", "1.5")]
    assert [row.key for row in rows_of(b"\n".join(lines), STRICT)] == [b"0", b'"k7"', b"1.5"]
    with pytest.raises(CannotImport):
        list(rows_of(b'{"key":"k1","request":{"a b":1}}', STRICT))


def test_labels_that_the_service_would_refuse_are_left_out() -> None:
    assert ASKED["labels"] == {"overnight_tag": "t1"}
    assert ASKED["model"] == "publishers/google/models/gemini-2.5-flash"
    assert (
        wire.create_body(model="projects/p/models/1", input_uri="", output_prefix="", display_name="", labels={})[
            "model"
        ]
        == "projects/p/models/1"
    )


def a_job(state: str, **more: Any) -> dict[str, Any]:
    name = "projects/1/locations/us-central1/batchPredictionJobs/456"
    return wire.job_object(name=name, asked=ASKED, state=state, created_at=1.5, updated_at=2.0, **more)


@pytest.mark.parametrize(
    ("state", "read", "end"),
    [
        ("JOB_STATE_QUEUED", RemoteState.IN_PROGRESS, None),
        ("JOB_STATE_PENDING", RemoteState.IN_PROGRESS, None),
        ("JOB_STATE_RUNNING", RemoteState.IN_PROGRESS, None),
        ("JOB_STATE_PAUSED", RemoteState.IN_PROGRESS, None),
        ("JOB_STATE_UPDATING", RemoteState.IN_PROGRESS, None),
        ("JOB_STATE_OF_TOMORROW", RemoteState.IN_PROGRESS, None),
        ("JOB_STATE_CANCELLING", RemoteState.CANCELING, None),
        ("JOB_STATE_SUCCEEDED", RemoteState.ENDED, Outcome.SUCCEEDED),
        ("JOB_STATE_PARTIALLY_SUCCEEDED", RemoteState.ENDED, Outcome.SUCCEEDED),
        ("JOB_STATE_CANCELLED", RemoteState.ENDED, Outcome.CANCELED),
        ("JOB_STATE_EXPIRED", RemoteState.ENDED, Outcome.EXPIRED),
        ("JOB_STATE_FAILED", RemoteState.FAILED, None),
    ],
)
def test_states(state: str, read: RemoteState, end: Outcome | None) -> None:
    batch = wire.batch_from(a_job(state))
    assert (batch.state, batch.raw_status, batch.end) == (read, state, end)


def test_what_is_built_is_read_again() -> None:
    batch = wire.batch_from(
        a_job(
            "JOB_STATE_SUCCEEDED",
            ended_at=3.25,
            output_directory="gs://b/in/out/prediction-model-1",
            succeeded=2,
            failed=1,
            incomplete=-1,
        )
    )
    assert (batch.id, batch.tag, batch.input_file) == ("456", Tag("t1"), FileId("gs://b/in.jsonl"))
    assert batch.output_file == "gs://b/in/out/prediction-model-1/"
    assert (batch.created_at, batch.ended_at, batch.model) == (1.5, 3.25, "gemini-2.5-flash")
    assert (batch.counts.total, batch.counts.succeeded, batch.counts.errored) == (3, 2, 1)


@pytest.mark.parametrize("document", [None, [], {}, {"name": ""}, {"name": 5}, "x"])
def test_what_is_no_job_is_said_to_be_none(document: object) -> None:
    with pytest.raises(ValueError, match="not a batch prediction job"):
        wire.batch_from(document)


@given(st.dictionaries(st.sampled_from(["state", "labels", "inputConfig", "outputInfo", "completionStats"]), VALUES))
def test_a_job_is_read_whatever_is_in_it(more: dict[str, Any]) -> None:
    assert wire.batch_from({"name": "a/1", **more}).id == "1"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": 1, "message": "CANCELED"}, FailureKind.CANCELED),
        ({"code": 3, "message": "Failed to import data. Row 3 is no JSON"}, FailureKind.PERMANENT),
        ({"code": 3, "message": "Failed to import data. Not found: URI gs://b/x was not found."}, FailureKind.FILE),
        ({"code": 7, "message": "lacks storage.objects.create"}, FailureKind.ACCOUNT),
        ({"code": 9, "message": "Failed to get GCS bucket location"}, FailureKind.ACCOUNT),
        ({"code": 8, "message": "quota"}, FailureKind.QUOTA),
        ({"code": 13, "message": "System error"}, FailureKind.TRANSIENT),
        ({"code": 99}, FailureKind.TRANSIENT),
        (None, FailureKind.TRANSIENT),
    ],
)
def test_why_a_job_failed(error: Any, kind: FailureKind) -> None:
    failure = wire.batch_from(a_job("JOB_STATE_FAILED") | {"error": error}).failure
    assert failure is not None
    assert failure.kind is kind


def test_a_job_whose_answers_could_not_be_written_has_run() -> None:
    error = {"code": 13, "message": "Failed to export data to gs://b/o."}
    batch = wire.batch_from(a_job("JOB_STATE_FAILED", error=error))
    assert (batch.state, batch.end, batch.output_file) == (RemoteState.ENDED, None, None)
    assert batch.failure is not None


def test_what_the_importer_quotes_of_the_file_is_not_told() -> None:
    message = "Failed to import data. Could not convert value to string. Field: x; Value: my secret"
    failure = wire.batch_from(a_job("JOB_STATE_FAILED", error={"code": 3, "message": message})).failure
    assert failure is not None
    assert failure.message == "code 3: Failed to import data. Could not convert value to string. Field: x;"


@pytest.mark.parametrize(
    ("status", "word", "kind", "proves"),
    [
        (400, "INVALID_ARGUMENT", FailureKind.PERMANENT, True),
        (401, "UNAUTHENTICATED", FailureKind.ACCOUNT, True),
        (403, "PERMISSION_DENIED", FailureKind.ACCOUNT, True),
        (404, "NOT_FOUND", FailureKind.PERMANENT, True),
        (429, "RESOURCE_EXHAUSTED", FailureKind.QUOTA, True),
        (500, "INTERNAL", FailureKind.TRANSIENT, False),
        (503, "UNAVAILABLE", FailureKind.TRANSIENT, False),
    ],
)
def test_what_an_error_answer_means(status: int, word: str, kind: FailureKind, proves: bool) -> None:
    body = json.dumps({"error": {"code": status, "message": "No.", "status": word}}).encode()
    failure = wire.error_failure(status, body)
    assert (failure.kind, failure.code, failure.proves_refusal) == (kind, word, proves)
    assert failure.message == f"HTTP {status}: {'the credentials were refused' if status == 401 else 'No.'}"
    assert not wire.error_failure(429, b"").proves_refusal
    assert "HTML" in wire.error_failure(404, b"<html>").message


PUBLISHED = json.loads(
    (Path(__file__).parents[1] / "specs/google/aiplatform.v1.batch_prediction_jobs.subset.json").read_text()
)["schemas"]
KINDS = {"string": str, "integer": int, "object": dict, "array": list}


def held(value: Any, schema: dict[str, Any]) -> None:
    """As the discovery document writes schemas."""
    if "$ref" in schema:
        schema = PUBLISHED[schema["$ref"]]
    assert isinstance(value, KINDS[schema["type"]])
    if "enum" in schema:
        assert value in schema["enum"]
    if isinstance(value, dict):
        for name, inner in value.items():
            held(inner, schema.get("additionalProperties") or schema["properties"][name])
    if isinstance(value, list):
        for inner in value:
            held(inner, schema["items"])


def test_what_is_built_holds_to_the_published_schema() -> None:
    more = {"error": {"code": 1}, "output_directory": "gs://b/o", "started_at": 1, "ended_at": 2, "incomplete": -1}
    job = a_job("JOB_STATE_PARTIALLY_SUCCEEDED", succeeded=1, failed=2, **more)
    held(wire.list_object([job], "2"), {"$ref": "GoogleCloudAiplatformV1ListBatchPredictionJobsResponse"})
    held(ASKED, {"$ref": "GoogleCloudAiplatformV1BatchPredictionJob"})


# ------------------------------------------------------------------------------------------ requests


def asked(schema: dict[str, Any] | None = None, **parameters: Any) -> Asked:
    answer = None if schema is None else AnswerFormat("a", schema)
    turns = (Turn("system", (Text("be brief"),)), Turn("user", (Text("hi"),)))
    return Asked("gemini-2.5-flash", turns, limit=5, parameters=parameters, answer=answer)


def test_a_line_starts_with_its_key_and_can_be_given_another() -> None:
    body = orjson.dumps(wire.request_body(Endpoint.GENERATE, asked()))
    line = wire.request_line("aaaaaaaa-000000001-00", Endpoint.GENERATE, body)
    assert line.startswith(b'{"key":"kaaaaaaaa-000000001-00","request":{')
    other = wire.with_custom_id(line, "aaaaaaaa-000000001-01")
    assert wire.split_line(other) == ("aaaaaaaa-000000001-01", body)
    assert [row.custom_id for row in rows_of(other, STRICT)] == ["aaaaaaaa-000000001-01"]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        (asked({"type": "object", "properties": {"a b": {"type": "string"}}}), "a b"),
        (asked({"$defs": {"t": {"anyOf": [{"$ref": "#/$defs/t"}]}}, "$ref": "#/$defs/t"}), "$defs"),
        (asked({"type": "object", "properties": {}}), "properties"),
        (asked(tools=[{"googleSearch": {}}]), "googleSearch"),
    ],
)
def test_what_cannot_be_imported_is_refused_before_anything_is_written(given: Asked, field: str) -> None:
    with pytest.raises(Unsayable, match="Vertex AI cannot import it") as raised:
        wire.request_body(Endpoint.GENERATE, given)
    assert raised.value.field.endswith(field)


def test_there_are_no_batches_of_embeddings() -> None:
    with pytest.raises(Unsayable, match="generateContent"):
        wire.request_body(Endpoint.EMBED, asked())


def test_definitions_stand_where_they_are_referred_to() -> None:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$defs": {"Mood": {"enum": ["good", "bad"]}, "Part": {"properties": {"mood": {"$ref": "#/$defs/Mood"}}}},
        "properties": {"all": {"items": {"$ref": "#/$defs/Part"}}, "one": {"$ref": "#/$defs/Mood", "title": "x"}},
    }
    sent = wire.request_body(Endpoint.GENERATE, asked(schema))["generationConfig"]["responseJsonSchema"]
    mood = {"enum": ["good", "bad"]}
    assert sent == {"properties": {"all": {"items": {"properties": {"mood": mood}}}, "one": {**mood, "title": "x"}}}


# ------------------------------------------------------------------------------------------- answers

BODY = {"contents": [{"role": "user", "parts": [{"text": "say é"}]}], "generationConfig": {"maxOutputTokens": 5}}
ID = "aaaaaaaa-000000007-00"
WORDS = {
    "ok": None,
    "truncated": FailureKind.TRUNCATED,
    "refused": FailureKind.REFUSED,
    "filtered": FailureKind.REFUSED,
    "empty": FailureKind.EMPTY,
    "400": FailureKind.PERMANENT,
    "404": FailureKind.PERMANENT,
    "429": FailureKind.TRANSIENT,
    "500": FailureKind.TRANSIENT,
}


def a_line(word: str, total: bool = True) -> bytes:
    row = Row(orjson.dumps(f"k{ID}"), ID, BODY)
    return end(row, "gemini-2.5-flash", word, echo, total=total)[0]


@pytest.mark.parametrize(("word", "kind"), WORDS.items())
def test_a_line_of_predictions_is_judged(word: str, kind: FailureKind | None) -> None:
    reply = wire.read_line(a_line(word), Endpoint.GENERATE)
    assert (reply.custom_id, reply.kind) == (ID, kind)
    assert reply.ran == (not word.isdigit())
    assert (reply.tokens is not None) == reply.ran
    assert reply.text == ("say é" if word == "ok" else reply.text)
    assert wire.body_of(a_line(word)) is not None
    assert "Refused" not in (reply.message or "")


def test_a_refusal_that_is_no_json_says_what_it_can() -> None:
    line = b'{"key":"k%s","status":"Internal error","request":{},"response":{}}' % ID.encode()
    reply = wire.read_line(line, Endpoint.GENERATE)
    assert (reply.outcome, reply.kind, reply.ran) == (Outcome.ERRORED, FailureKind.TRANSIENT, False)
    paid = line.replace(b'"response":{}', b'"response":{"usageMetadata":{"promptTokenCount":3}}')
    assert wire.read_line(paid, Endpoint.GENERATE).tokens == Tokens(3)


def test_a_row_without_status_and_response_is_missing() -> None:
    reply = wire.read_line(b'{"key":"kx","request":{}}', Endpoint.GENERATE)
    assert (reply.kind, reply.ran) == (FailureKind.MISSING, True)
    with pytest.raises(ValueError, match="key"):
        wire.read_line(b'{"request":{}}', Endpoint.GENERATE)
    assert wire.read_line(b'{"key":7,"response":{}}', Endpoint.GENERATE).custom_id == "7"


def test_the_sum_of_tokens_is_not_needed() -> None:
    with_sum, without = (wire.read_line(a_line("ok", total), Endpoint.GENERATE) for total in (True, False))
    assert with_sum.tokens == without.tokens is not None


@pytest.mark.parametrize("word", WORDS)
def test_the_fast_reader_reads_what_the_careful_one_does(word: str) -> None:
    line, fast = a_line(word), wire.plain_reader(Endpoint.GENERATE)
    assert fast is not None
    plain, reply = fast.read(line), wire.read_line(line, Endpoint.GENERATE)
    assert (plain is None) == (word != "ok")
    if plain is not None:
        custom_id, text, model, at, length, id_at, id_length, *counts = plain
        assert (custom_id, text, model) == (reply.custom_id, reply.text, reply.model)
        assert orjson.loads(line[at : at + length]) == text
        assert line[id_at : id_at + id_length].decode() == reply.request_id
        assert Tokens(*counts) == reply.tokens
        assert reply.finish_reason == fast.finish_reason
