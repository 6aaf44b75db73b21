"""Anthropic's family on the wire: what the provider refuses at once, what becomes an errored row, and the shapes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

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
    for body in (b"", b"{", b'{"requests":[{]}'):
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
