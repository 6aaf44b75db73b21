"""Calls that are wrong, and what they are told: always the envelope, always who answers."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Mapping
from typing import Any

import pytest

import overnight
from overnight.errors import ProviderError
from overnight.ports import UpstreamReply
from overnight.types import Failure, FailureKind
from overnight.upstreams.fake import FakeUpstream
from tests.server.running import Answer, Running, Start, chat_line, ended, jsonl, until, upload

BATCH: Mapping[str, Any] = {
    "input_file_id": "file-x",
    "endpoint": "/v1/chat/completions",
    "completion_window": "24h",
}


def error(answer: Answer) -> dict[str, Any]:
    told: dict[str, Any] = answer.json["error"]
    assert set(told) == {"message", "type", "param", "code"}
    return told


def form(parts: list[tuple[str, bytes]], boundary: str = "BOUND") -> tuple[bytes, dict[str, str]]:
    """A multipart body of `(disposition, content)` parts."""
    body = b"".join(
        b"--%s\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n" % (boundary.encode(), head.encode(), content)
        for head, content in parts
    )
    return body + f"--{boundary}--\r\n".encode(), {"content-type": f"multipart/form-data; boundary={boundary}"}


PURPOSE = ('name="purpose"', b"batch")
FILE = ('name="file"; filename="in.jsonl"', jsonl([chat_line("a")]))


def send(server: Running, parts: list[tuple[str, bytes]], **headers: str) -> Answer:
    body, given = form(parts)
    return server.call("POST", "/v1/files", body, {**given, **headers})


def test_every_answer_names_the_server_and_the_request(start: Start) -> None:
    server = start()
    home_id = (server.home / "server" / "blobs" / "home-id").read_text()
    seen = set()
    for path in ("/healthz", "/v1/models", "/v1/nothing", "/v1/batches/none"):
        answer = server.call("GET", path)
        assert answer.headers["overnight-server"] == f"{overnight.__version__}; home={home_id}"
        assert re.fullmatch("req_[0-9a-f]{32}", answer.headers["x-request-id"])
        seen.add(answer.headers["x-request-id"])
    assert len(seen) == 4
    assert server.call("GET", "/healthz").json == {"status": "ok"}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v1/completions", 404),
        ("POST", "/v1/moderations", 404),
        ("GET", "/v1/files/", 404),
        ("GET", "/v1/chat/completions", 405),
        ("PUT", "/v1/files", 405),
        ("DELETE", "/v1/batches/batch_1", 405),
    ],
)
def test_everything_else_is_refused_in_the_envelope(idle: Running, method: str, path: str, status: int) -> None:
    answer = idle.call(method, path)
    assert answer.status == status
    assert error(answer)["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        ({"input_file_id": None}, "missing_required_parameter", "input_file_id"),
        ({"input_file_id": 7}, "invalid_type", "input_file_id"),
        ({"endpoint": "/v1/videos"}, "invalid_value", "endpoint"),
        ({"completion_window": "48h"}, "invalid_value", "completion_window"),
        ({"surprise": 1}, "unknown_parameter", "surprise"),
        ({"metadata": {"k": 1}}, "invalid_value", "metadata"),
        ({"metadata": {str(i): "" for i in range(17)}}, "invalid_value", "metadata"),
        ({"metadata": {"k" * 65: ""}}, "invalid_value", "metadata"),
        ({"metadata": {"k": "v" * 513}}, "invalid_value", "metadata"),
        ({"metadata": []}, "invalid_value", "metadata"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 3599}}, "invalid_value", "output_expires_after"),
        ({"output_expires_after": {"anchor": "now", "seconds": 3600}}, "invalid_value", "output_expires_after"),
        ({"output_expires_after": 3600}, "invalid_value", "output_expires_after"),
    ],
)
def test_a_wrong_create_call(idle: Running, change: dict[str, Any], code: str, param: str) -> None:
    answer = idle.post("/v1/batches", {**BATCH, **change})
    assert answer.status == 400
    assert (error(answer)["code"], error(answer)["param"]) == (code, param)
    assert idle.call("GET", "/v1/batches").json["data"] == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff"])
@pytest.mark.parametrize("path", ["/v1/batches", "/v1/chat/completions"])
def test_bodies_that_are_no_object(idle: Running, path: str, body: bytes) -> None:
    answer = idle.post(path, body)
    assert answer.status == 400
    assert "JSON" in error(answer)["message"]


def test_parts_may_come_in_any_order_and_bytes_are_kept(start: Start) -> None:
    server = start()
    content = b"\r\n--BOUN\r\n{}\x00\xff\r\n"
    file = ('name="file"; filename="a\\"b.jsonl"', content)
    answer = send(server, [file, ('name="other"', b"ignored"), PURPOSE])
    assert answer.status == 200
    assert (answer.json["filename"], answer.json["bytes"]) == ('a"b.jsonl', len(content))
    assert server.call("GET", f"/v1/files/{answer.json['id']}/content").body == content


@pytest.mark.parametrize(
    ("parts", "param"),
    [
        ([FILE], "purpose"),
        ([PURPOSE], "file"),
        ([PURPOSE, FILE, FILE], "file"),
        ([('name="purpose"', b"other"), FILE], "purpose"),
        ([PURPOSE, ('name="file"; filename="in.json"', b"{}")], None),
        ([PURPOSE, FILE, ('name="expires_after[seconds]"', b"3600")], "expires_after[anchor]"),
        ([PURPOSE, FILE, ('name="expires_after[anchor]"', b"created_at")], "expires_after[seconds]"),
    ],
)
def test_a_wrong_upload_leaves_nothing(idle: Running, parts: list[tuple[str, bytes]], param: str | None) -> None:
    answer = send(idle, parts)
    assert answer.status == 400
    assert error(answer)["param"] == param
    assert idle.blobs() == []


def test_the_extension_is_told_in_openais_words(idle: Running) -> None:
    answer = send(idle, [PURPOSE, ('name="file"; filename="in.json"', b"{}")])
    assert error(answer) == {
        "message": "Invalid file format for Batch API. Must be .jsonl",
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }


def test_uploads_that_are_no_whole_form(idle: Running) -> None:
    server = idle
    body, headers = form([PURPOSE, FILE])
    assert server.call("POST", "/v1/files", body[:-20], headers).status == 400
    assert server.call("POST", "/v1/files", b"nonsense", headers).status == 400
    assert server.call("POST", "/v1/files", b"{}", {"content-type": "application/json"}).status == 400
    assert server.call("POST", "/v1/files", body, {"content-type": "multipart/form-data"}).status == 400
    long = form([('name="a"', b"x" * 70_000), PURPOSE, FILE])
    assert server.call("POST", "/v1/files", *long).status == 413
    assert server.blobs() == []


def test_an_upload_that_breaks_off_leaves_nothing(idle: Running, caplog: pytest.LogCaptureFixture) -> None:
    server = idle
    body, headers = form([PURPOSE, ('name="file"; filename="in.jsonl"', b"x" * 3_000_000)])
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        head = f"POST /v1/files HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        connection.sendall(head.encode() + b"\r\n" + body[:2_500_000])
        until(server.blobs, lambda names: len(names) == 1)
    until(server.blobs, lambda names: names == [])
    assert server.call("GET", "/v1/files").json["data"] == []
    assert caplog.records == []


def test_an_endless_upload_does_not_keep_the_server(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    server = start()
    _, headers = form([])
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        head = "POST /v1/files HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n"
        connection.sendall((head + f"content-type: {headers['content-type']}\r\n\r\n").encode())
        until(server.blobs, lambda names: len(names) == 1)
        server.stop()
        assert connection.recv(1000).startswith(b"HTTP/1.1 503")
    assert server.blobs() == []
    assert [record.exc_info for record in caplog.records] == [None]


def test_sizes_are_limited(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("overnight.server.files.MOST_BYTES", 2_000_000)
    server = start()
    file = 'name="file"; filename="in.jsonl"'
    assert send(server, [(file, b"x" * 2_000_000), PURPOSE]).status == 200
    answer = send(server, [(file, b"x" * 4_000_000), PURPOSE])
    assert answer.status == 413
    assert error(answer)["message"].startswith("File is too large.")
    assert len(server.blobs()) == 1
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x" * 11_000_000}]}).encode()
    assert server.post("/v1/chat/completions", body).status == 413


def test_a_torn_last_chunk_over_the_limit_is_refused_too(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("overnight.server.files.MOST_BYTES", 1000)
    server = start()
    assert send(server, [('name="file"; filename="in.jsonl"', b"x" * 1001), PURPOSE]).status == 413
    assert server.blobs() == []


def test_what_the_upstream_says_is_passed_on(start: Start) -> None:
    def failing(endpoint: str, request: Mapping[str, Any]) -> UpstreamReply | None:
        if request["model"] == "gone":
            raise ProviderError(Failure(FailureKind.TRANSIENT, "secret"))
        return UpstreamReply(429, b'{"error":{"message":"slow down"}}', "up-1", retry_after=2.5)

    server = start(FakeUpstream(failing=failing))
    chat = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    answer = server.post("/v1/chat/completions", chat)
    assert (answer.status, answer.headers["retry-after"]) == (429, "2.5")
    assert answer.json == {"error": {"message": "slow down"}}
    gone = server.post("/v1/chat/completions", {**chat, "model": "gone"})
    assert gone.status == 502
    assert error(gone)["type"] == "server_error"
    assert b"secret" not in gone.body


def test_an_idempotency_key_gets_the_first_answer_again(start: Start) -> None:
    server = start()
    client = server.client()
    key = {"idempotency-key": "k-1"}
    body = {**BATCH, "input_file_id": upload(client, [chat_line("a")])}
    first = server.post("/v1/batches", body, key)
    ended(client, first.json["id"])
    again = server.post("/v1/batches", body, key)
    assert (again.status, again.body) == (200, first.body)
    other = server.post("/v1/batches", {**body, "metadata": {"a": "b"}}, key)
    assert other.status == 409
    assert error(other)["code"] == "idempotency_key_reused"
    assert server.post("/v1/batches", body).json["id"] != first.json["id"]
    assert server.post("/v1/batches", body, {"idempotency-key": "k" * 256}).status == 400
    assert len(client.batches.list().data) == 2


def test_an_idempotency_key_of_an_upload(start: Start) -> None:
    server = start()
    key = {"idempotency-key": "k-1"}
    first = send(server, [PURPOSE, FILE], **key)
    again = send(server, [FILE, PURPOSE], **key)
    assert (again.status, again.body) == (200, first.body)
    assert send(server, [PURPOSE, ('name="file"; filename="in.jsonl"', b"{}")], **key).status == 409
    assert send(server, [PURPOSE, ('name="file"; filename="other.jsonl"', FILE[1])], **key).status == 409
    assert server.blobs() == [f"files/{first.json['id']}"]


def test_a_promise_that_was_not_kept_is_kept_by_the_repeat(start: Start) -> None:
    """Killed between promise and batch: the repeated call makes the batch that was promised."""
    server = start()
    body = {**BATCH, "input_file_id": upload(server.client(), [chat_line("a")])}
    first = server.post("/v1/batches", body, {"idempotency-key": "k"}).json
    ended(server.client(), first["id"])
    server.stop()
    server.forget("batch", first["id"])
    server = start()
    assert server.client().batches.list().data == []
    again = server.post("/v1/batches", body, {"idempotency-key": "k"}).json
    assert again == first
    assert ended(server.client(), first["id"]).request_counts.completed == 1
