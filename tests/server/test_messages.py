"""Anthropic's family on the wire: what the provider refuses at once, what becomes an errored row, and the shapes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from overnight.ports import UpstreamReply
from overnight.upstreams.fake import FakeUpstream
from tests.server.running import Gated, MovableClock, Running, Start, until

SCHEMAS = json.loads((Path(__file__).parent.parent / "specs/anthropic/sdk-2.11.0-batch-schemas.json").read_text())
BATCHES = "/v1/messages/batches"
HEADERS = {"anthropic-version": "2023-06-01", "x-api-key": "any"}


def holds(name: str, document: Any) -> None:
    jsonschema_rs.validator_for(SCHEMAS[name]).validate(document)


def request(custom_id: Any, text: str = "hello", **params: Any) -> dict[str, Any]:
    asked = {"model": "m-1", "max_tokens": 20, "messages": [{"role": "user", "content": text}], **params}
    return {"custom_id": custom_id, "params": asked}


def create(server: Running, *requests: Any, headers: Any = HEADERS) -> Any:
    answer = server.post(BATCHES, {"requests": list(requests)}, headers)
    assert answer.status == 200, answer.body
    holds("MessageBatch", answer.json)
    return answer.json


def ended(server: Running, id: str, headers: Any = HEADERS) -> Any:
    return until(
        lambda: server.call("GET", f"{BATCHES}/{id}", headers=headers).json,
        lambda batch: batch["processing_status"] == "ended",
    )


def results(server: Running, id: str) -> dict[str, Any]:
    answer = server.call("GET", f"{BATCHES}/{id}/results", headers=HEADERS)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/x-jsonl")
    lines = [json.loads(line) for line in answer.body.splitlines()]
    for line in lines:
        holds("MessageBatchIndividualResponse", line)
    found = {line["custom_id"]: line["result"] for line in lines}
    assert len(found) == len(lines)
    return found


@pytest.mark.parametrize(
    ("requests", "said"),
    [
        ([], "requests: List should have at least 1 item after validation, not 0"),
        ([request("dup"), request("dup")], "requests: custom_id's must be unique within a batch. Duplicate custom_id"),
        ([{"params": {}}], "requests.0.custom_id: Field required"),
        ([{"custom_id": "a"}], "requests.0.params: Field required"),
        ([request("x" * 65)], "requests.0.custom_id: String should have at most 64 characters"),
        ([request("a"), request("ü")], "requests.1.custom_id: String should match pattern '^[a-zA-Z0-9_-]{1,64}$'"),
        ([request(7)], "requests.0.custom_id: Input should be a valid string"),
        (["words"], "requests.0: "),
        (None, "requests: "),
    ],
)
def test_what_is_refused_at_once(idle: Running, requests: Any, said: str) -> None:
    answer = idle.post(BATCHES, {"requests": requests}, HEADERS)
    assert answer.status == 400
    told = answer.json
    assert (told["type"], told["error"]["type"]) == ("error", "invalid_request_error")
    assert told["error"]["message"].startswith(said)
    assert told["request_id"] == answer.headers["request-id"]
    assert idle.blobs() == []


def test_a_body_that_is_no_json(idle: Running) -> None:
    entry = b'{"requests":[{"custom_id":"a","params":%s}]}'
    for body in (b"", b"{", b'{"requests":[{]}', entry % b'{"n":01}', entry % b'"\xff"', entry % b"{}" + b"x"):
        answer = idle.post(BATCHES, body, HEADERS)
        assert answer.status == 400
        assert answer.json["error"]["message"].startswith("The request body is not valid JSON: ")
    assert idle.post(BATCHES, {}, HEADERS).json["error"]["message"] == "requests: Field required"
    assert idle.blobs() == []


def test_what_is_wrong_inside_params_is_an_errored_row(start: Start) -> None:
    server = start(any_model=False)
    (name,) = [each["id"] for each in server.call("GET", "/v1/models", headers=HEADERS).json["data"]][:1]
    good = {"model": name}
    bad = {
        "no-messages": request("no-messages", **good),
        "streamed": request("streamed", stream=True, **good),
        "no-limit": request("no-limit", **good),
        "strange": request("strange", mcp_servers=[{}], **good),
    }
    del bad["no-messages"]["params"]["messages"]
    del bad["no-limit"]["params"]["max_tokens"]
    batch = create(server, request("ok", "words", **good), *bad.values())
    assert batch["request_counts"]["processing"] == 5
    done = ended(server, batch["id"])
    holds("MessageBatch", done)
    counts = {"processing": 0, "succeeded": 1, "errored": 4, "canceled": 0, "expired": 0}
    assert done["request_counts"] == counts
    assert done["results_url"] == f"http://127.0.0.1:{server.port}{BATCHES}/{batch['id']}/results"
    found = results(server, batch["id"])
    message = found.pop("ok")["message"]
    assert message["content"] == [{"type": "text", "text": "words"}]
    assert (message["stop_reason"], message["usage"]["service_tier"]) == ("end_turn", "batch")
    said = {name: result["error"]["error"]["message"] for name, result in found.items()}
    assert said["no-messages"] == "messages: Field required"
    assert said["streamed"] == '"stream=True" is not supported in the Message Batches API'
    assert said["no-limit"] == "max_tokens: Field required"
    assert "mcp_servers" in said["strange"]


def test_a_body_over_the_limit(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("overnight.server.messages.MOST_BYTES", 2_000_000)
    server = start()
    rows = [request(str(at), "x" * 1000) for at in range(3000)]
    answer = server.post(BATCHES, {"requests": rows}, HEADERS)
    assert (answer.status, answer.json["error"]["type"]) == (413, "request_too_large")
    assert server.blobs() == []
    create(server, *rows[:1500])


def test_rows_written_on_several_lines_and_rows_of_odd_shapes(start: Start) -> None:
    server = start()
    odd = {"list": [1], "null": None, "choice": {**request("a")["params"], "tool_choice": {"type": [1]}}}
    rows = [request("ok", "two\nlines \u2028"), *({"custom_id": id, "params": params} for id, params in odd.items())]
    made = server.post(BATCHES, json.dumps({"requests": rows}, indent=1).encode(), HEADERS).json
    assert ended(server, made["id"])["request_counts"]["errored"] == 3
    found = results(server, made["id"])
    assert list(found) == [row["custom_id"] for row in rows]
    assert found["ok"]["message"]["content"][0]["text"] == "two\nlines \u2028"


def test_an_idempotency_key_makes_one_batch(start: Start) -> None:
    server = start(keys={"ann": "sk-ann-0001", "bob": "sk-bob-0002"})
    ann, bob = ({"x-api-key": key, "idempotency-key": "k"} for key in ("sk-ann-0001", "sk-bob-0002"))
    first = create(server, request("a"), headers=ann)
    assert create(server, request("a"), headers=ann) == first
    assert create(server, request("a"), headers=bob)["id"] != first["id"]
    assert server.post(BATCHES, {"requests": [request("b")]}, ann).status == 409
    assert [each["id"] for each in server.call("GET", BATCHES, headers=ann).json["data"]] == [first["id"]]


def test_results_are_archived_after_29_days(start: Start) -> None:
    server = start()
    batch = create(server, request("a"))
    assert ended(server, batch["id"])["archived_at"] is None
    server.clock.advance(29 * 86_400)
    shown = until(
        lambda: server.call("GET", f"{BATCHES}/{batch['id']}", headers=HEADERS).json,
        lambda shown: shown["archived_at"] is not None,
    )
    holds("MessageBatch", shown)
    assert shown["results_url"] is None
    assert server.call("GET", f"{BATCHES}/{batch['id']}/results", headers=HEADERS).status == 404
    assert server.blobs() == []


def test_results_and_deletion_wait_for_the_end(start: Start) -> None:
    upstream = Gated()
    server = start(upstream)
    batch = create(server, request("a", "wait"))
    shown = server.call("GET", f"{BATCHES}/{batch['id']}", headers=HEADERS)
    assert (shown.headers["retry-after"], shown.json["results_url"]) == ("10", None)
    early = server.call("GET", f"{BATCHES}/{batch['id']}/results", headers=HEADERS)
    assert early.status == 404
    assert early.json["error"]["message"] == f"Message Batch {batch['id']} has no available results."
    refused = server.call("DELETE", f"{BATCHES}/{batch['id']}", headers=HEADERS)
    assert (refused.status, refused.json["error"]["type"]) == (400, "invalid_request_error")
    upstream.gate.set()
    ended(server, batch["id"])
    gone = server.call("DELETE", f"{BATCHES}/{batch['id']}", headers=HEADERS)
    holds("DeletedMessageBatch", gone.json)
    missing = server.call("GET", f"{BATCHES}/{batch['id']}", headers=HEADERS)
    assert (missing.status, missing.json["error"]["type"]) == (404, "not_found_error")
    assert server.blobs() == []


def test_a_canceled_and_an_expired_batch(start: Start) -> None:
    upstream, clock = Gated(concurrency=1), MovableClock()
    server = start(upstream, clock=clock)
    batch = create(server, request("a", "wait"), request("b"))
    until(lambda: upstream.waiting, lambda waiting: waiting == 1)
    canceling = server.post(f"{BATCHES}/{batch['id']}/cancel", b"", HEADERS).json
    assert canceling["processing_status"] == "canceling"
    assert canceling["cancel_initiated_at"] is not None
    upstream.gate.set()
    done = ended(server, batch["id"])
    assert (done["request_counts"]["succeeded"], done["request_counts"]["canceled"]) == (1, 1)
    assert results(server, batch["id"])["b"] == {"type": "canceled"}
    upstream.gate.clear()
    batch = create(server, request("a", "wait"), request("b"))
    until(lambda: upstream.waiting, lambda waiting: waiting == 1)
    clock.advance(90_000)
    upstream.gate.set()
    done = ended(server, batch["id"])
    assert done["request_counts"]["expired"] == 1
    assert results(server, batch["id"])["b"] == {"type": "expired"}


def test_pages_in_both_directions(start: Start) -> None:
    server = start()
    made = [create(server, request("a"))["id"] for _ in range(3)][::-1]

    def page(query: str) -> Any:
        return server.call("GET", f"{BATCHES}?{query}", headers=HEADERS).json

    first = page("limit=2")
    assert ([each["id"] for each in first["data"]], first["has_more"]) == (made[:2], True)
    second = page(f"limit=2&after_id={first['last_id']}")
    assert ([each["id"] for each in second["data"]], second["has_more"]) == (made[2:], False)
    back = page(f"limit=2&before_id={made[2]}")
    assert ([each["id"] for each in back["data"]], back["has_more"]) == (made[:2], False)
    for query in ("limit=0", "limit=x", "after_id=msgbatch_none"):
        assert server.call("GET", f"{BATCHES}?{query}", headers=HEADERS).status == 400


def test_keys_in_both_styles_and_tenants_apart(start: Start) -> None:
    server = start(keys={"ann": "sk-ann-0001", "bob": "sk-bob-0002"})
    ann = {"x-api-key": "sk-ann-0001", "anthropic-version": "2023-06-01"}
    bob = {"authorization": "Bearer sk-bob-0002", "anthropic-version": "2026-10-21"}
    batch = create(server, request("a"), headers=ann)
    ended(server, batch["id"], ann)
    assert server.call("GET", f"{BATCHES}/{batch['id']}", headers=bob).status == 404
    assert server.call("GET", BATCHES, headers=bob).json["data"] == []
    assert server.call("GET", BATCHES, headers=ann).headers["anthropic-organization-id"] == "ann"
    refused = server.call("GET", BATCHES, headers={"x-api-key": "sk-none-0003"})
    assert (refused.status, refused.json["error"]["type"]) == (401, "authentication_error")


def test_results_outlive_a_restart(start: Start) -> None:
    server = start()
    batch = create(server, request("a"), request("b"))
    ended(server, batch["id"])
    server.stop()
    assert len(results(start(), batch["id"])) == 2


def test_the_mount_prefix_and_a_stream(idle: Running) -> None:
    params = request("a", "one two three four five six seven")["params"]
    whole = idle.post("/anthropic/v1/messages", params).json
    assert whole["content"][0]["text"] == "one two three four five six seven"
    stream = idle.post("/v1/messages", {**params, "stream": True}, HEADERS)
    assert stream.headers["content-type"].startswith("text/event-stream")
    events = [json.loads(line[6:]) for line in stream.body.decode().splitlines() if line.startswith("data: ")]
    kinds = [event["type"] for event in events]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    said = "".join(event["delta"]["text"] for event in events if event["type"] == "content_block_delta")
    assert said == "one two three four five six seven"
    assert idle.post("/v1/messages", {**params, "max_tokens": 0}, HEADERS).status == 400
    batch = idle.post(f"/anthropic{BATCHES}", {"requests": [request("a")]}, HEADERS).json
    over = until(
        lambda: idle.call("GET", f"/anthropic{BATCHES}/{batch['id']}", headers=HEADERS).json,
        lambda shown: shown["results_url"],
    )
    place = over["results_url"].removeprefix(f"http://127.0.0.1:{idle.port}")
    assert place == f"/anthropic{BATCHES}/{batch['id']}/results"
    assert idle.call("GET", place, headers=HEADERS).status == 200
    idle.call("DELETE", f"{BATCHES}/{batch['id']}", headers=HEADERS)


def test_paths_of_several_families_are_told_apart(idle: Running) -> None:
    google = {"x-goog-api-key": "any"}
    (name,) = [each["id"] for each in idle.call("GET", "/v1/models").json["data"]]
    assert idle.call("GET", "/v1/models", headers=HEADERS).json["data"][0]["type"] == "model"
    assert idle.call("GET", f"/v1/models/{name}", headers=HEADERS).json["type"] == "model"
    assert idle.call("GET", "/v1/models", headers=google).json["models"][0]["name"] == f"models/{name}"
    assert idle.call("GET", f"/gemini/v1beta/models/{name}").json["name"] == f"models/{name}"
    assert idle.call("GET", "/openai/v1/models", headers=google).json["object"] == "list"
    assert "files" in idle.call("GET", "/v1/files", headers=google).json
    assert idle.call("GET", "/v1/files").json["object"] == "list"
    assert "operations" in idle.call("GET", "/v1/batches", headers=google).json
    assert idle.call("GET", "/v1/batches").json["object"] == "list"
    for path, kind in (("/v1/messages/none", "not_found_error"), ("/v1/messages", "invalid_request_error")):
        assert idle.call("GET", path, headers=HEADERS).json["error"]["type"] == kind
    assert idle.call("GET", "/v1beta/none").json["error"]["status"] == "NOT_FOUND"


class Odd(FakeUpstream):
    """Its answers are none, where the request says so."""

    async def answer(self, endpoint: str, body: bytes) -> UpstreamReply:
        odd = {b"shape": b'{"hello":1}', b"html": b"<html>"}
        for word, told in odd.items():
            if word in body:
                return UpstreamReply(200, told)
        return await super().answer(endpoint, body)


def test_an_upstream_that_answers_something_else(start: Start) -> None:
    server = start(Odd())
    for text in ("shape", "html"):
        answer = server.post("/v1/messages", request("a", text)["params"], HEADERS)
        assert (answer.status, answer.json["error"]["type"]) == (500, "api_error")
        body = {"contents": [{"parts": [{"text": text}]}]}
        answer = server.post("/v1beta/models/m:generateContent", body)
        assert (answer.status, answer.json["error"]["status"]) == (500, "UNKNOWN")
    batch = create(server, request("a", "shape"), request("b"))
    assert ended(server, batch["id"])["request_counts"]["succeeded"] == 1
    assert results(server, batch["id"])["a"]["error"]["error"]["type"] == "api_error"
