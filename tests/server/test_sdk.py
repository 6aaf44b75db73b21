"""The official SDK, unmodified, against the server; every object validated against the published schemas."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import openai
import pytest

from tests.server.running import Gated, MovableClock, Start, chat_line, create, ended, jsonl, rows, until, upload

SPECS = Path(__file__).parent.parent / "specs" / "openai"


def without_nulls(value: Any) -> Any:
    """The published schemas of batches and files know no null where the API sends one."""
    if isinstance(value, dict):
        return {name: without_nulls(item) for name, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def holds(name: str, document: Any) -> None:
    schemas = json.loads((SPECS / "openapi.batch-files-uploads.subset.json").read_text())["components"]
    schema = {"$ref": f"#/components/schemas/{name}", "components": schemas}
    jsonschema_rs.validator_for(schema).validate(document if name == "ErrorResponse" else without_nulls(document))


def test_a_batch_from_upload_to_results(start: Start) -> None:
    client = start().client()
    uploaded = client.files.create(
        file=("größe.jsonl", jsonl([chat_line("a"), chat_line("b ü/—", "Grüße"), chat_line("c", n=2)])),
        purpose="batch",
        expires_after={"anchor": "created_at", "seconds": 3600},
    )
    assert (uploaded.filename, uploaded.purpose, uploaded.status) == ("größe.jsonl", "batch", "processed")
    assert uploaded.expires_at == uploaded.created_at + 3600
    assert client.files.retrieve(uploaded.id) == uploaded
    batch = client.batches.create(
        input_file_id=uploaded.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        metadata={"k": "v"},
        output_expires_after={"anchor": "created_at", "seconds": 7200},
    )
    assert batch.status == "validating"
    assert batch.expires_at == batch.created_at + 86400
    assert batch.metadata == {"k": "v"}
    done = ended(client, batch.id)
    assert done.status == "completed"
    assert done.model == "m-1"
    assert done.request_counts.to_dict() == {"total": 3, "completed": 2, "failed": 1}
    assert None not in (done.in_progress_at, done.finalizing_at, done.completed_at)
    good, bad = rows(client, done.output_file_id), rows(client, done.error_file_id)
    assert (set(good), set(bad)) == ({"a", "b ü/—"}, {"c"})
    assert good["b ü/—"]["response"]["body"]["choices"][0]["message"]["content"] == "Grüße"
    assert bad["c"]["response"]["status_code"] == 400
    assert bad["c"]["error"] is None
    used = [row["response"]["body"]["usage"] for row in good.values()]
    assert done.usage.input_tokens == sum(usage["prompt_tokens"] for usage in used)
    assert done.usage.total_tokens == sum(usage["total_tokens"] for usage in used)
    output = client.files.retrieve(done.output_file_id)
    assert (output.purpose, output.expires_at - output.created_at) == ("batch_output", 7200)
    assert output.bytes == len(client.files.content(output.id).read())
    lines = json.loads((SPECS / "batch-line-schemas.2025-06.json").read_text())["BatchRequestOutput"]
    for row in (*good.values(), *bad.values()):
        jsonschema_rs.validator_for(lines).validate(without_nulls(row))


def test_objects_hold_to_the_published_schemas_with_nulls_for_what_is_unset(start: Start) -> None:
    server = start()
    client = server.client()
    batch = create(client, [chat_line("a")])
    ended(client, batch.id)
    shown = server.call("GET", f"/v1/batches/{batch.id}").json
    holds("Batch", shown)
    for name in ("errors", "error_file_id", "failed_at", "expired_at", "cancelling_at", "cancelled_at", "metadata"):
        assert shown[name] is None
    holds("OpenAIFile", server.call("GET", f"/v1/files/{shown['input_file_id']}").json)
    holds("ListFilesResponse", server.call("GET", "/v1/files").json)
    holds("ListBatchesResponse", server.call("GET", "/v1/batches").json)
    holds("ErrorResponse", server.call("GET", "/v1/batches/none").json)
    holds("DeleteFileResponse", server.call("DELETE", f"/v1/files/{shown['input_file_id']}").json)


@pytest.mark.parametrize("endpoint", ["/v1/responses", "/v1/embeddings"])
def test_the_other_endpoints(start: Start, endpoint: Any) -> None:
    client = start().client()
    line = {"custom_id": "a", "method": "POST", "url": endpoint, "body": {"model": "m", "input": "text"}}
    batch = client.batches.create(input_file_id=upload(client, [line]), endpoint=endpoint, completion_window="24h")
    done = ended(client, batch.id)
    body = rows(client, done.output_file_id)["a"]["response"]["body"]
    assert body["object"] == {"/v1/responses": "response", "/v1/embeddings": "list"}[endpoint]
    assert done.usage.input_tokens > 0


def test_real_time_calls(start: Start) -> None:
    client = start().client()
    chat = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
    assert chat.choices[0].message.content == "hi"
    assert client.responses.create(model="m", input="hi").output_text == "hi"
    assert len(client.embeddings.create(model="m", input=["a", "b"], dimensions=4).data[1].embedding) == 4
    assert [model.id for model in client.models.list()] == ["fake"]
    assert client.models.retrieve("fake").object == "model"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("org/other")
    with pytest.raises(openai.BadRequestError, match="stream"):
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}], stream=True)
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="m", messages=[])


def test_real_time_requests_of_unknown_models(start: Start) -> None:
    client = start(any_model=False).client()
    with pytest.raises(openai.NotFoundError) as told:
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
    assert told.value.code == "model_not_found"


def test_lists_are_paged(start: Start) -> None:
    client = start().client()
    ids = [upload(client, [chat_line(str(i))]) for i in range(5)]
    assert [file.id for file in client.files.list()] == ids[::-1]
    assert [file.id for file in client.files.list(limit=2, order="asc")] == ids
    assert [file.id for file in client.files.list(purpose="user_data")] == []
    page = client.files.list(limit=2, after=ids[3])
    assert ([file.id for file in page.data], page.has_more) == ([ids[2], ids[1]], True)
    batches = [
        client.batches.create(input_file_id=i, endpoint="/v1/chat/completions", completion_window="24h").id for i in ids
    ]
    assert [batch.id for batch in client.batches.list(limit=2)] == batches[::-1]
    for name in ("files", "batches"):
        with pytest.raises(openai.BadRequestError):
            client.get(f"/{name}?after=nothing", cast_to=object)
        with pytest.raises(openai.BadRequestError):
            client.get(f"/{name}?limit=0", cast_to=object)


def test_a_deleted_file_is_gone_but_its_open_batch_goes_on(start: Start) -> None:
    upstream = Gated()
    server = start(upstream)
    client = server.client()
    file_id = upload(client, [chat_line("a", "wait"), chat_line("b", "wait")])
    batch = client.batches.create(input_file_id=file_id, endpoint="/v1/chat/completions", completion_window="24h")
    until(lambda: upstream.waiting, lambda waiting: waiting == 2)
    assert client.files.delete(file_id).deleted
    for call in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(openai.NotFoundError):
            call(file_id)
    upstream.gate.set()
    done = ended(client, batch.id)
    assert done.request_counts.completed == 2
    until(lambda: server.blobs(), lambda names: names == [f"files/{done.output_file_id}"])


def test_cancel_with_a_part_done(start: Start) -> None:
    upstream = Gated()
    client = start(upstream).client()
    lines = [chat_line(f"quick-{i}") for i in range(20)] + [chat_line(f"slow-{i}", "wait") for i in range(50)]
    batch = create(client, lines)
    running = until(lambda: client.batches.retrieve(batch.id), lambda b: b.request_counts.completed == 20)
    assert running.status == "in_progress"
    assert running.request_counts.total == 70
    assert running.usage.output_tokens > 0
    until(lambda: upstream.waiting, lambda waiting: waiting == 8)
    canceling = client.batches.cancel(batch.id)
    assert canceling.status == "cancelling"
    assert client.batches.cancel(batch.id).cancelling_at == canceling.cancelling_at
    upstream.gate.set()
    done = ended(client, batch.id)
    assert done.status == "cancelled"
    assert done.cancelled_at is not None
    assert done.request_counts.to_dict() == {"total": 70, "completed": 28, "failed": 0}
    good, bad = rows(client, done.output_file_id), rows(client, done.error_file_id)
    assert (len(good), len(bad)) == (28, 42)
    assert {row["error"]["code"] for row in bad.values()} == {"batch_cancelled"}
    assert set(good) | set(bad) == {line["custom_id"] for line in lines}
    with pytest.raises(openai.ConflictError, match="Cannot cancel a batch with status 'cancelled'"):
        client.batches.cancel(batch.id)
    with pytest.raises(openai.NotFoundError, match="No batch found with id 'batch_none'"):
        client.batches.cancel("batch_none")


def test_expiry_with_a_part_done(start: Start) -> None:
    upstream, clock = Gated(), MovableClock()
    client = start(upstream, clock=clock).client()
    batch = create(client, [chat_line("quick"), *(chat_line(f"slow-{i}", "wait") for i in range(20))])
    until(lambda: client.batches.retrieve(batch.id), lambda b: b.request_counts.completed == 1)
    until(lambda: upstream.waiting, lambda waiting: waiting == 8)
    clock.advance(86_401)
    # The drain limit of those that hang runs by the same clock.
    until(lambda: clock.advance(31), lambda _: client.batches.retrieve(batch.id).status == "expired")
    done = ended(client, batch.id)
    assert done.expired_at is not None
    assert done.request_counts.to_dict() == {"total": 21, "completed": 1, "failed": 0}
    assert {row["error"]["code"] for row in rows(client, done.error_file_id).values()} == {"batch_expired"}
    assert set(rows(client, done.output_file_id)) == {"quick"}


def test_files_expire(start: Start) -> None:
    server = start()
    client = server.client()
    batch = ended(client, create(client, [chat_line("a")]).id)
    kept = client.files.create(file=("x.txt", b"x"), purpose="user_data").id
    server.clock.advance(30 * 86_400 + 1)
    for file_id in (batch.input_file_id, batch.output_file_id):
        with pytest.raises(openai.NotFoundError):
            client.files.content(file_id)
    assert [file.id for file in client.files.list()] == [kept]
    until(lambda: server.blobs(), lambda names: names == [f"files/{kept}"])
