"""The life of a batch and what can go wrong with it, as the google-genai SDK tells it: `google_story.py URL`."""

import json
import sys
import tempfile
import time
from pathlib import Path

from google import genai
from google.genai import errors, types, version

client = genai.Client(api_key="any", http_options={"base_url": sys.argv[1]})


def until_over(name):
    for _ in range(600):
        job = client.batches.get(name=name)
        if job.state.name in {"JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED"}:
            return job
        time.sleep(0.05)
    raise AssertionError(job)


def refused(status, call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except errors.ClientError as error:
        if error.code == status:
            return error
        raise
    raise AssertionError(f"{status} was expected")


def contents(text):
    return {"contents": [{"role": "user", "parts": [{"text": text}]}], "generationConfig": {"maxOutputTokens": 20}}


path = Path(tempfile.mkdtemp(), "in.jsonl")
rows = [{"key": name, "request": contents(text)} for name, text in (("a", "one"), ("b", "two"))]
path.write_text("".join(json.dumps(row) + "\n" for row in rows))
file = client.files.upload(file=path, config=types.UploadFileConfig(display_name="in", mime_type="application/jsonl"))
assert client.files.get(name=file.name).size_bytes == path.stat().st_size
job = client.batches.create(model="m-1", src=file.name, config={"display_name": "d"})
done = until_over(job.name)
assert done.state.name == "JOB_STATE_SUCCEEDED", done
assert done.display_name == "d"
data = client.files.download(file=done.dest.file_name)
answers = {
    row["key"]: row["response"]["candidates"][0]["content"]["parts"][0]["text"]
    for row in map(json.loads, data.decode().splitlines())
}
assert answers == {"a": "one", "b": "two"}, answers
assert job.name in {each.name for each in client.batches.list(config={"page_size": 1})}

inline = client.batches.create(model="m-1", src=[types.InlinedRequest(contents="three", metadata={"key": "c"})])
over = until_over(inline.name)
(answer,) = over.dest.inlined_responses
assert answer.response.text == "three"

client.batches.delete(name=inline.name)
refused(404, client.batches.get, name=inline.name)
refused(404, client.batches.get, name="batches/none")
client.files.delete(name=file.name)

said = client.models.generate_content(model="m-1", contents="now", config={"max_output_tokens": 20})
assert said.text == "now"
assert said.usage_metadata.prompt_token_count > 0
pieces = client.models.generate_content_stream(model="m-1", contents="in pieces", config={"max_output_tokens": 20})
assert "".join(piece.text or "" for piece in pieces) == "in pieces"
vectors = client.models.embed_content(model="m-1", contents=["one", "two"])
assert len(vectors.embeddings) == 2
sys.stdout.write(f"google-genai {version.__version__}\n")
