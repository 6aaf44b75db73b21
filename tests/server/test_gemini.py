"""Google's family on the wire."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from tests.server.running import Answer, Gated, MovableClock, Running, Start, until

SPECS = Path(__file__).parent.parent / "specs" / "google" / "genai-3.4.0-batch-schemas.subset.json"
SCHEMAS = json.loads(SPECS.read_text())
HEADERS = {"x-goog-api-key": "any"}


def holds(name: str, document: Any) -> None:
    jsonschema_rs.validator_for(SCHEMAS[name]).validate(document)


def asked(text: str) -> dict[str, Any]:
    return {"contents": [{"role": "user", "parts": [{"text": text}]}], "generationConfig": {"maxOutputTokens": 20}}


def jsonl(*rows: Any) -> bytes:
    return b"".join(row if isinstance(row, bytes) else json.dumps(row).encode() + b"\n" for row in rows)


def row(key: str, text: str = "hello") -> dict[str, Any]:
    return {"key": key, "request": asked(text)}


def begin(server: Running, size: int, name: str | None = None, headers: Any = HEADERS) -> Answer:
    file = {"display_name": "in", "mime_type": "application/jsonl", **({"name": name} if name else {})}
    told = {"x-goog-upload-command": "start", "x-goog-upload-header-content-length": str(size), **headers}
    return server.post("/upload/v1beta/files", {"file": file}, told)


def chunk(server: Running, url: str, offset: int, data: bytes, command: str) -> Answer:
    path = url.removeprefix(f"http://127.0.0.1:{server.port}")
    return server.call("POST", path, data, {"x-goog-upload-offset": str(offset), "x-goog-upload-command": command})


def upload(server: Running, data: bytes, name: str | None = None, headers: Any = HEADERS) -> str:
    url = begin(server, len(data), name, headers).headers["x-goog-upload-url"]
    done = chunk(server, url, 0, data, "upload, finalize")
    assert done.headers["x-goog-upload-status"] == "final"
    return done.json["file"]["name"]


def create(server: Running, file: str, headers: Any = HEADERS, **batch: Any) -> Answer:
    told = {"batch": {"inputConfig": {"fileName": file}, "displayName": "d", **batch}}
    return server.post("/v1beta/models/m-1:batchGenerateContent", told, headers)


def ended(server: Running, name: str, headers: Any = HEADERS) -> Any:
    return until(
        lambda: server.call("GET", f"/v1beta/{name}", headers=headers).json, lambda operation: operation.get("done")
    )


def test_a_batch_from_upload_to_download(start: Start) -> None:
    server = start()
    data = jsonl(row("a", "one"), row("b", "zwei ü"))
    url = begin(server, len(data), "files/my-file").headers["x-goog-upload-url"]
    first = chunk(server, url, 0, data[:10], "upload")
    assert (first.status, first.headers["x-goog-upload-status"]) == (200, "active")
    assert chunk(server, url, 0, data[:10], "upload").status == 400  # it was taken already
    assert chunk(server, url, 0, b"", "query").headers["x-goog-upload-size-received"] == "10"
    done = chunk(server, url, 10, data[10:], "upload, finalize")
    file = done.json["file"]
    holds("File", {**file, "sizeBytes": int(file["sizeBytes"])})  # the SDK reads the text as a number
    assert (file["name"], file["sizeBytes"], file["state"]) == ("files/my-file", str(len(data)), "ACTIVE")
    assert begin(server, 5, "files/my-file").status == 409
    assert begin(server, 5, "my-other-file").status == 400
    made = create(server, "files/my-file").json
    assert made["metadata"]["state"] == "BATCH_STATE_RUNNING"
    assert made["metadata"]["batchStats"]["requestCount"] == "2"
    over = ended(server, made["name"])
    assert (over["metadata"]["state"], over["metadata"]["displayName"]) == ("BATCH_STATE_SUCCEEDED", "d")
    assert over["metadata"]["batchStats"] == {"requestCount": "2", "successfulRequestCount": "2"}
    name = over["response"]["responsesFile"]
    for path in (f"/v1/{name}:download?alt=media", f"/download/v1beta/{name}:download?alt=media"):
        answer = server.call("GET", path, headers=HEADERS)
        rows = [json.loads(line) for line in answer.body.splitlines()]
        for each in rows:
            holds("InlinedResponse", {"response": each["response"]})
        said = {each["key"]: each["response"]["candidates"][0]["content"]["parts"][0]["text"] for each in rows}
        assert said == {"a": "one", "b": "zwei ü"}
    assert server.call("GET", "/v1beta/files/my-file:download", headers=HEADERS).status == 403
    assert server.call("DELETE", f"/v1beta/{made['name']}", headers=HEADERS).json == {}
    assert server.call("DELETE", f"/v1beta/{made['name']}", headers=HEADERS).status == 404
    assert server.call("DELETE", "/v1beta/files/my-file", headers=HEADERS).json == {}
    again = server.call("DELETE", "/v1beta/files/my-file", headers=HEADERS)
    assert (again.status, again.json["error"]["status"]) == (403, "PERMISSION_DENIED")
    assert server.blobs() == []


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"{\n", "Line 1"),
        (jsonl(row("a"), b"words\n"), "Line 2"),
        (jsonl({"custom_id": "a", "request": {}}), "needs a key"),
        (jsonl(row("a"), row("a")), "Line 2"),
        (jsonl({"key": "a"}), "needs a key and a request"),
        (jsonl({"key": "a", "request": 3}), "needs a key and a request"),
        (jsonl({"key": 3, "request": {}}), "needs a key and a request"),
        (b"\n", "no requests"),
    ],
)
def test_a_bad_line_and_nothing_is_made(start: Start, data: bytes, said: str) -> None:
    server = start()
    answer = create(server, upload(server, data))
    assert (answer.status, answer.json["error"]["status"]) == (400, "INVALID_ARGUMENT")
    assert said in answer.json["error"]["message"]
    assert server.call("GET", "/v1beta/batches", headers=HEADERS).json["operations"] == []


def test_inline_requests_keep_their_metadata_and_order(start: Start) -> None:
    server = start()
    rows = [{"request": asked(text), "metadata": {"key": text, "n": 1}} for text in ("one", "two", "three")]
    rows[1]["request"]["cachedContent"] = "none of ours"
    rows.append({"request": asked("nameless")})
    told = {"batch": {"input_config": {"requests": {"requests": rows}}, "display_name": "d"}}
    made = server.post("/v1/models/m-1:batchGenerateContent", told, HEADERS).json
    over = ended(server, made["name"])
    answers = over["response"]["inlinedResponses"]["inlinedResponses"]
    assert [each.get("metadata", {}).get("key") for each in answers] == ["one", "two", "three", None]
    assert ["response" in each for each in answers] == [True, False, True, True]
    assert answers[1]["error"]["code"] == 3
    holds("InlinedResponse", answers[3])
    (listed,) = server.call("GET", "/v1/batches", headers=HEADERS).json["operations"]
    assert "inlinedResponses" not in json.dumps(listed)
    server.call("DELETE", f"/v1/{made['name']}", headers=HEADERS)
    assert server.blobs() == []


def test_answers_are_in_the_order_of_the_requests(start: Start) -> None:
    upstream = Gated()
    server = start(upstream)
    texts = ["wait", "b", "c", "wait", "e"]
    rows = [row(str(at), text) for at, text in enumerate(texts)]
    rows[2]["request"]["cachedContent"] = "none of ours"
    made = create(server, upload(server, jsonl(*rows))).json
    until(
        lambda: server.call("GET", f"/v1/{made['name']}", headers=HEADERS).json["metadata"]["batchStats"],
        lambda stats: (stats.get("successfulRequestCount"), stats.get("failedRequestCount")) == ("2", "1"),
    )
    upstream.gate.set()
    name = ended(server, made["name"])["response"]["responsesFile"]
    lines = server.call("GET", f"/v1/{name}:download", headers=HEADERS).body.splitlines()
    assert [json.loads(line)["key"] for line in lines] == ["0", "1", "2", "3", "4"]


def test_an_idempotency_key_makes_one_batch(start: Start) -> None:
    server = start()
    file = upload(server, jsonl(row("a")))
    told = {**HEADERS, "idempotency-key": "k"}
    first = create(server, file, told).json
    assert create(server, file, told).json == first
    assert create(server, file, told, displayName="another").status == 409
    inline = {"batch": {"inputConfig": {"requests": {"requests": [{"request": asked("x")}]}}}}
    made = [
        server.post("/v1/models/m-1:batchGenerateContent", inline, {**told, "idempotency-key": "i"}).json["name"]
        for _ in range(2)
    ]
    assert made[0] == made[1]
    assert len(server.call("GET", "/v1/batches", headers=HEADERS).json["operations"]) == 2


def test_files_of_one_name_are_each_tenants_own_and_outlive_a_restart(start: Start) -> None:
    keys = {"ann": "sk-ann-0001", "bob": "sk-bob-0002"}
    server = start(keys=keys)
    tenants = [{"x-goog-api-key": key} for key in keys.values()]
    for size, tenant in enumerate(tenants, start=1):
        upload(server, b"x" * size, "files/same", tenant)
    server.stop()
    again = start(keys=keys)
    sizes = [again.call("GET", "/v1beta/files/same", headers=tenant).json["sizeBytes"] for tenant in tenants]
    assert sizes == ["1", "2"]


def test_an_upload_is_begun_with_a_key_only(start: Start) -> None:
    server = start(keys={"ann": "sk-ann-0001"})
    for path in ("/upload/v1beta/files", "/upload/v1beta/files?upload_id=x"):
        answer = server.post(path, {"file": {}}, {"x-goog-upload-command": "start"})
        assert answer.status in (400, 404)
        assert "x-goog-upload-url" not in answer.headers


def test_cancel_and_expiry(start: Start) -> None:
    upstream, clock = Gated(concurrency=1), MovableClock()
    server = start(upstream, clock=clock)
    for end in ("CANCELLED", "EXPIRED"):
        upstream.gate.clear()
        made = create(server, upload(server, jsonl(row("a", "wait"), row("b")))).json
        until(lambda: upstream.waiting, lambda waiting: waiting == 1)
        if end == "CANCELLED":
            assert server.post(f"/v1beta/{made['name']}:cancel", {}, HEADERS).json == {}
        else:
            clock.advance(49 * 3600)
        upstream.gate.set()
        over = ended(server, made["name"])
        assert over["metadata"]["state"] == f"BATCH_STATE_{end}"
        assert "response" not in over
        assert ("error" in over) is (end == "CANCELLED")


def test_refusals(start: Start) -> None:
    server = start(keys={"ann": "sk-ann-0001", "bob": "sk-bob-0002"})
    ann, bob = {"x-goog-api-key": "sk-ann-0001"}, {"x-goog-api-key": "sk-bob-0002"}
    wrong = server.call("GET", "/v1beta/batches", headers={"x-goog-api-key": "none"})
    assert wrong.status == 400
    assert wrong.json["error"]["details"][0]["reason"] == "API_KEY_INVALID"
    file = upload(server, jsonl(row("a")), headers=ann)
    assert create(server, file, bob).status == 404
    made = create(server, file, ann).json
    assert server.call("GET", f"/v1beta/{made['name']}", headers=bob).status == 404
    assert server.call("GET", f"/v1beta/{made['name']}?key=sk-ann-0001").status == 200
    ended(server, made["name"], ann)
    assert server.post("/v1beta/models/m-1:sing", {}, ann).status == 404
    assert begin(server, 5, "files/Not-Good", ann).status == 400
    lost = server.call("POST", "/upload/v1beta/files?upload_id=none", b"", {"x-goog-upload-command": "upload"})
    assert lost.status == 404


def test_real_time(idle: Running) -> None:
    answer = idle.post("/gemini/v1beta/models/m-1:generateContent", asked("now"))
    assert answer.json["candidates"][0]["content"]["parts"] == [{"text": "now"}]
    assert answer.json["usageMetadata"]["promptTokenCount"] > 0
    text = "one two three four five six seven"
    stream = idle.post("/v1beta/models/m-1:streamGenerateContent?alt=sse", asked(text), HEADERS)
    pieces = [json.loads(line[6:]) for line in stream.body.decode().splitlines() if line.startswith("data: ")]
    assert "".join(piece["candidates"][0]["content"]["parts"][0]["text"] for piece in pieces) == text
    assert "usageMetadata" in pieces[-1]
    whole = idle.post("/v1beta/models/m-1:streamGenerateContent", asked(text), HEADERS).json
    assert [piece["candidates"] for piece in whole] == [piece["candidates"] for piece in pieces]
    content = {"parts": [{"text": "words"}]}
    one = idle.post("/v1beta/models/m-1:embedContent", {"content": content}, HEADERS).json
    both = idle.post("/v1beta/models/m-1:batchEmbedContents", {"requests": [{"content": content}] * 2}, HEADERS).json
    assert [each["values"] for each in both["embeddings"]] == [one["embedding"]["values"]] * 2
    bad = idle.post("/v1beta/models/m-1:generateContent", {"contents": []}, HEADERS)
    assert (bad.status, bad.json["error"]["status"]) == (400, "INVALID_ARGUMENT")


def test_embeddings_in_a_batch(start: Start) -> None:
    server = start()
    content = {"content": {"parts": [{"text": "words"}]}, "outputDimensionality": 3}
    file = upload(server, jsonl({"key": "a", "request": content}))
    told = {"batch": {"inputConfig": {"file_name": file}}}
    made = server.post("/v1beta/models/m-1:asyncBatchEmbedContent", told, HEADERS).json
    name = ended(server, made["name"])["response"]["responsesFile"]
    line = json.loads(server.call("GET", f"/v1beta/{name}:download", headers=HEADERS).body)
    assert len(line["response"]["embedding"]["values"]) == 3


def test_a_restart_keeps_what_is_there(start: Start) -> None:
    server = start()
    made = create(server, upload(server, jsonl(row("a"), row("b")))).json
    name = ended(server, made["name"])["response"]["responsesFile"]
    server.stop()
    again = start()
    assert len(again.call("GET", f"/v1/{name}:download", headers=HEADERS).body.splitlines()) == 2
