"""The official SDK against the fake Gemini API, so that the fake is what the SDK takes for the service."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from google import genai
from google.genai import errors
from google.genai.types import JobState

from overnight.testing.gemini_fake import KEY, FakeGemini, Quirks
from overnight.testing.gemini_server import serving

MODEL = "gemini-2.5-flash"
LINES = [{"key": f"k{at}", "request": {"contents": [{"parts": [{"text": f"say {at}"}]}]}} for at in range(3)]
DATA = "".join(json.dumps(line) + "\n" for line in LINES).encode()


class Stage:
    def __init__(self, quirks: Quirks = Quirks(), version: str = "v1beta") -> None:  # noqa: B008
        self.time = 1_800_000_000.0
        self.fake = FakeGemini(lambda: self.time, quirks)
        self.version = version

    @contextmanager
    def client(self, key: str = KEY) -> Iterator[genai.Client]:
        with serving(self.fake) as url:
            options = genai.types.HttpOptions(base_url=url, api_version=self.version)
            client = genai.Client(api_key=key, http_options=options)
            yield client
            client.close()


def uploaded(client: genai.Client, data: bytes = DATA) -> genai.types.File:
    return client.files.upload(file=io.BytesIO(data), config={"mime_type": "application/jsonl", "name": "ours"})


@pytest.mark.parametrize("version", ["v1", "v1beta"])
def test_a_batch_runs_from_upload_to_delete(version: str) -> None:
    stage = Stage(version=version)
    with stage.client() as client:
        file = uploaded(client)
        assert (file.name, file.size_bytes, stage.fake.stored["ours"].data) == ("files/ours", len(DATA), DATA)
        assert [each.name for each in client.files.list()] == [file.name]
        job = client.batches.create(model=MODEL, src=file.name, config={"display_name": "d"})
        assert (job.state, job.display_name) == (JobState.JOB_STATE_PENDING, "d")
        stage.time += 30
        assert client.batches.get(name=job.name).state is JobState.JOB_STATE_RUNNING
        stage.time += 90
        done = client.batches.get(name=job.name)
        assert done.state is JobState.JOB_STATE_SUCCEEDED
        rows = [json.loads(line) for line in client.files.download(file=done.dest.file_name).splitlines()]
        assert [row["key"] for row in rows] == ["k0", "k1", "k2"]
        assert rows[1]["response"]["candidates"][0]["content"]["parts"] == [{"text": "say 1"}]
        client.batches.delete(name=job.name)
        with pytest.raises(errors.ClientError, match="404"):
            client.batches.get(name=job.name)
        client.files.delete(name=file.name)
        with pytest.raises(errors.ClientError, match="403"):  # Q-G8
            client.files.delete(name=file.name)


def test_a_large_file_goes_up_in_parts() -> None:
    stage = Stage()
    data = DATA * (9 * 1024 * 1024 // len(DATA))
    with stage.client() as client:
        uploaded(client, data)
    assert stage.fake.stored["ours"].data == data
    assert stage.fake.calls.count("piece") == 2


def test_answers_of_requests_that_came_along_stand_in_the_batch() -> None:
    stage = Stage()
    with stage.client() as client:
        asked = [{"contents": [{"parts": [{"text": "hi"}]}], "metadata": {"key": "a"}}]
        job = client.batches.create(model=MODEL, src=asked)
        stage.time += 120
        (answer,) = client.batches.get(name=job.name).dest.inlined_responses
        assert (answer.metadata, answer.response.text) == ({"key": "a"}, "hi")


def test_pages_lead_to_the_end() -> None:
    stage = Stage()
    with stage.client() as client:
        file = uploaded(client)
        made = [client.batches.create(model=MODEL, src=file.name).name for _ in range(5)]
        assert [job.name for job in client.batches.list(config={"page_size": 2})] == made[::-1]


@pytest.mark.filterwarnings("ignore:.*create_embeddings.* is experimental")
def test_embeddings() -> None:
    stage = Stage()
    data = b'{"key":"a","request":{"content":{"parts":[{"text":"x"}]},"outputDimensionality":3}}\n'
    with stage.client() as client:
        job = client.batches.create_embeddings(
            model="gemini-embedding-001", src={"file_name": uploaded(client, data).name}
        )
        stage.time += 120
        done = client.batches.get(name=job.name)
        (row,) = [json.loads(line) for line in client.files.download(file=done.dest.file_name).splitlines()]
        assert len(row["response"]["embedding"]["values"]) == 3


@pytest.mark.parametrize(
    ("quirks", "state"),
    [
        (Quirks(window=10.0), JobState.JOB_STATE_EXPIRED),
        (Quirks(fails="INTERNAL"), JobState.JOB_STATE_FAILED),
    ],
)
def test_ends_without_answers(quirks: Quirks, state: JobState) -> None:
    stage = Stage(quirks)
    with stage.client() as client:
        job = client.batches.create(model=MODEL, src=uploaded(client).name)
        stage.time += 120
        ended = client.batches.get(name=job.name)
        assert (ended.state, ended.dest) == (state, None)


def test_a_canceled_batch_ends_canceled_at_once() -> None:
    stage = Stage()
    with stage.client() as client:
        job = client.batches.create(model=MODEL, src=uploaded(client).name)
        stage.time += 25
        client.batches.cancel(name=job.name)
        assert client.batches.get(name=job.name).state is JobState.JOB_STATE_CANCELLED


def test_refusals() -> None:
    stage = Stage()
    with stage.client() as client:
        name = uploaded(client).name
        with pytest.raises(errors.ClientError, match="404 NOT_FOUND"):
            client.batches.create(model="no-such-model", src=name)
        stage.fake.stored.clear()
        bad = uploaded(client, DATA + b"no request\n").name
        with pytest.raises(errors.ClientError, match="400 INVALID_ARGUMENT"):
            client.batches.create(model=MODEL, src=bad)
    with stage.client("other") as client, pytest.raises(errors.ClientError, match="API_KEY_INVALID"):  # Q-G9
        list(client.batches.list())
    assert stage.fake.made == {}
