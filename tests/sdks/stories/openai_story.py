"""The life of a batch and what can go wrong with it, as the openai SDK tells it: `openai_story.py URL`."""

import json
import sys
import time

import openai

client = openai.OpenAI(base_url=sys.argv[1] + "/v1", api_key="any", max_retries=0)


def line(name, text="hello", **more):
    messages = [{"role": "user", "content": text}]
    body = {"model": "m-1", "messages": messages, "max_tokens": 20, **more}
    return json.dumps({"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": body})


def until_over(batch_id):
    for _ in range(600):
        batch = client.batches.retrieve(batch_id)
        if batch.status in {"completed", "failed", "expired", "cancelled"}:
            return batch
        time.sleep(0.05)
    raise AssertionError(batch)


def refused(kind, call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was expected")


data = "\n".join([line("a", "one"), line("b", "two"), line("c", n=2)]).encode()
uploaded = client.files.create(file=("in.jsonl", data), purpose="batch")
assert client.files.retrieve(uploaded.id).filename == "in.jsonl"
assert uploaded.id in {each.id for each in client.files.list(purpose="batch")}
batch = client.batches.create(
    input_file_id=uploaded.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={"k": "v"}
)
assert batch.id in {each.id for each in client.batches.list(limit=1)}
done = until_over(batch.id)
assert done.status == "completed", done
assert (done.request_counts.completed, done.request_counts.failed) == (2, 1)
good = [json.loads(row) for row in client.files.content(done.output_file_id).text.splitlines()]
bad = [json.loads(row) for row in client.files.content(done.error_file_id).text.splitlines()]
answers = {row["custom_id"]: row["response"]["body"]["choices"][0]["message"]["content"] for row in good}
assert answers == {"a": "one", "b": "two"}, answers
assert [row["custom_id"] for row in bad] == ["c"]

assert refused(openai.ConflictError, client.batches.cancel, batch.id).status_code == 409
assert refused(openai.NotFoundError, client.batches.retrieve, "batch_none").status_code == 404
assert refused(openai.NotFoundError, client.files.retrieve, "file-none").status_code == 404
wrong = {"input_file_id": uploaded.id, "endpoint": "/v1/nothing", "completion_window": "24h"}
assert refused(openai.BadRequestError, client.batches.create, **wrong).status_code == 400

spoilt = client.files.create(file=("bad.jsonl", line("a").encode() + b"\n" + line("a").encode()), purpose="batch")
failed = until_over(
    client.batches.create(input_file_id=spoilt.id, endpoint="/v1/chat/completions", completion_window="24h").id
)
assert failed.status == "failed"
assert failed.errors.data[0].code == "duplicate_custom_id"

said = client.chat.completions.create(model="m-1", messages=[{"role": "user", "content": "now"}], max_tokens=9)
assert said.choices[0].message.content == "now"
vector = client.embeddings.create(model="m-1", input="words")
assert len(vector.data[0].embedding) > 1
assert client.models.list().data is not None
client.files.delete(uploaded.id)
assert refused(openai.NotFoundError, client.files.retrieve, uploaded.id).status_code == 404
sys.stdout.write(f"openai {openai.__version__}\n")
