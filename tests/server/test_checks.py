"""What a batch input file may look like, and the code of every fault."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.server.checks import MOST_LINE, MOST_ROWS, Checked, Fault, check
from tests.server.running import Start, chat_line, create, ended, jsonl, upload

URL = "/v1/chat/completions"
GOOD = chat_line("g")


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in chat_line("x").items() if key != name}


FAULTS = {
    "no JSON": (b"{nope}\n", "invalid_json_line", None, 2),
    "an array": (b"[]\n", "invalid_json_line", None, 2),
    "two values": (b"{} {}\n", "invalid_json_line", None, 2),
    "NaN": (b'{"custom_id":"x","n":NaN}\n', "invalid_json_line", None, 2),
    "no UTF-8": (b'{"custom_id":"\xff"}\n', "invalid_json_line", None, 2),
    "a BOM": (b"\xef\xbb\xbf" + jsonl([chat_line("x")]), "invalid_json_line", None, 2),
    "a deep line": (b'{"a":' + b"[" * 100_000 + b"\n", "invalid_json_line", None, 2),
    "custom_id": ([without("custom_id")], "missing_required_parameter", "custom_id", 2),
    "custom_id null": ([{**GOOD, "custom_id": None}], "missing_required_parameter", "custom_id", 2),
    "custom_id number": ([{**GOOD, "custom_id": 7}], "invalid_request", "custom_id", 2),
    "custom_id again": ([chat_line("x"), chat_line("g")], "duplicate_custom_id", "custom_id", 3),
    "method": ([without("method")], "missing_required_parameter", "method", 2),
    "method GET": ([{**chat_line("x"), "method": "GET"}], "invalid_request", "method", 2),
    "url": ([without("url")], "missing_required_parameter", "url", 2),
    "another url": ([{**chat_line("x"), "url": "/v1/embeddings"}], "invalid_url", "url", 2),
    "body": ([without("body")], "missing_required_parameter", "body", 2),
    "body text": ([{**chat_line("x"), "body": "text"}], "invalid_request", "body", 2),
    "no model": ([{**chat_line("x"), "body": {}}], "invalid_request", "body.model", 2),
    "another model": ([chat_line("x", model="m-2")], "mismatched_model", "body.model", 2),
    "streaming": ([chat_line("x", stream=True)], "streaming_unsupported", "body.stream", 2),
    "a long line": (b" " * 100 + b"x" * MOST_LINE + b"\n", "invalid_request", None, 2),
}


def content_of(lines: bytes | list[Any]) -> bytes:
    return jsonl([GOOD]) + (lines if isinstance(lines, bytes) else jsonl(lines))


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_has_its_code_parameter_and_line(name: str) -> None:
    lines, code, param, line = FAULTS[name]
    with pytest.raises(Fault) as told:
        check(io.BytesIO(content_of(lines)), URL, ())
    assert {**told.value.entry, "message": ""} == {"code": code, "param": param, "line": line, "message": ""}
    assert told.value.entry["message"]


def test_faults_of_the_whole_file() -> None:
    def code(content: bytes) -> tuple[str, Any]:
        with pytest.raises(Fault) as told:
            check(io.BytesIO(content), URL, ("served",))
        return told.value.entry["code"], told.value.entry["line"]

    assert code(b"") == code(b"\n \r\n") == ("empty_file", None)
    assert code(jsonl([GOOD])) == ("model_not_found", 1)
    line = b'{"custom_id":"%d","method":"POST","url":"/v1/chat/completions","body":{"model":"served"}}\n'
    many = b"".join(line % number for number in range(MOST_ROWS + 1))
    assert code(many) == ("too_many_tasks", None)
    assert check(io.BytesIO(many[: many[:-1].rindex(b"\n") + 1]), URL, ("served",)) == Checked(MOST_ROWS, "served")


def test_blank_lines_and_a_missing_last_newline_are_fine() -> None:
    content = b"\n" + jsonl([chat_line("a")]) + b"  \r\n" + jsonl([chat_line("b\u2028" * 90)]).rstrip()
    assert check(io.BytesIO(content), URL, ()) == Checked(2, "m-1")
    assert check(io.BytesIO(jsonl([GOOD]).replace(b"\n", b"\r\n")), URL, ()) == Checked(1, "m-1")


@given(st.binary(max_size=60), st.integers(0, 120))
def test_any_bytes_are_good_or_a_fault(noise: bytes, at: int) -> None:
    content = jsonl([GOOD])
    try:
        checked = check(io.BytesIO(content[:at] + noise + content[at:]), URL, ())
    except Fault as fault:
        json.dumps(fault.entry)
    else:
        assert checked.rows >= 1


def test_a_bad_file_fails_the_batch_and_runs_nothing(start: Start) -> None:
    server = start()
    client = server.client()
    batch = create(client, content_of(b"{nope}\n"))
    assert batch.status == "validating"
    done = ended(client, batch.id)
    assert done.status == "failed"
    assert done.failed_at is not None
    assert done.errors is not None
    assert [error.to_dict() for error in done.errors.data] == [
        {
            "code": "invalid_json_line",
            "message": "This line is not parseable as valid JSON.",
            "param": None,
            "line": 2,
        }
    ]
    assert done.request_counts.to_dict() == {"total": 0, "completed": 0, "failed": 0}
    assert (done.output_file_id, done.error_file_id, done.in_progress_at) == (None, None, None)


def test_a_file_that_is_not_there_or_not_for_batches_fails_the_batch(start: Start) -> None:
    client = start().client()
    other = client.files.create(file=("in.jsonl", jsonl([GOOD])), purpose="user_data").id
    deleted = upload(client, [GOOD])
    client.files.delete(deleted)
    for file_id in ("file-none", other, deleted):
        batch = client.batches.create(input_file_id=file_id, endpoint=URL, completion_window="24h")
        done = ended(client, batch.id)
        assert done.status == "failed"
        (error,) = done.errors.data
        assert (error.code, error.param, error.line) == ("invalid_request", "file_id", None)
        assert error.message.startswith(f"Cannot find file {file_id}, or ")


def test_a_model_that_is_not_served_fails_the_batch(start: Start) -> None:
    client = start(any_model=False).client()
    done = ended(client, create(client, [GOOD]).id)
    assert [(error.code, error.param, error.line) for error in done.errors.data] == [
        ("model_not_found", "body.model", 1)
    ]
    assert ended(client, create(client, [chat_line("a", model="fake")]).id).status == "completed"
