"""The official SDK in Vertex mode against the fake, so that the fake is what the SDK takes for the service."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import google.oauth2.credentials
import pytest
from google import genai
from google.genai import errors
from google.genai.types import JobState

from overnight.testing.vertex_fake import BUCKET, LOCATION, PROJECT, TOKEN, FakeVertex, Quirks
from overnight.testing.vertex_server import serving
from overnight.wire.custom_ids import custom_id

MODEL = "gemini-2.5-flash"
REAL = Quirks(coerces_keys=True, folders_collide=True, imports_strictly=True)
SOURCE = f"gs://{BUCKET}/in.jsonl"


class Stage:
    def __init__(self, quirks: Quirks = REAL, keys: tuple[str, ...] = ("k1", "000002", "k3")) -> None:
        self.time = 1_800_000_000.0
        self.fake = FakeVertex(lambda: self.time, quirks)
        rows = [{"key": key, "request": {"contents": [{"role": "user", "parts": [{"text": key}]}]}} for key in keys]
        self.fake.stored[SOURCE] = "".join(json.dumps(row) + "\n" for row in rows).encode()

    @contextmanager
    def client(self, token: str = TOKEN, project: str = PROJECT) -> Iterator[genai.Client]:
        credentials = google.oauth2.credentials.Credentials(token)
        with serving(self.fake) as url:
            options = genai.types.HttpOptions(base_url=url)
            client = genai.Client(
                vertexai=True, project=project, location=LOCATION, credentials=credentials, http_options=options
            )
            yield client
            client.close()

    def rows(self, folder: str) -> list[dict]:
        return [
            json.loads(line)
            for name in sorted(self.fake.stored)
            if name.startswith(folder)
            for line in self.fake.stored[name].splitlines()
        ]


def test_a_batch_runs_from_create_to_delete() -> None:
    stage = Stage()
    with stage.client() as client:
        job = client.batches.create(model=MODEL, src=SOURCE, config={"display_name": "d", "dest": f"gs://{BUCKET}/out"})
        assert job.state is JobState.JOB_STATE_PENDING
        stage.time += 120
        done = client.batches.get(name=job.name)
        assert (done.state, done.done, done.display_name) == (JobState.JOB_STATE_SUCCEEDED, True, "d")
        assert done.completion_stats.successful_count == 3
        rows = stage.rows(done.output_info.gcs_output_directory)
        # Q-V1: an id that looks like a number is no string any more.
        assert [row["key"] for row in rows] == ["k1", 2, "k3"]
        assert all(row["response"]["candidates"][0]["content"]["parts"] for row in rows)
        found = list(client.batches.list(config={"page_size": 1, "filter": 'display_name:"d*"'}))
        assert [each.name for each in found] == [job.name]
        assert list(client.batches.list(config={"filter": 'display_name="other"'})) == []
        deleted = client.batches.delete(name=job.name)
        assert deleted.done
        with pytest.raises(errors.ClientError, match="does not exist"):
            client.batches.get(name=job.name)


def test_pages_lead_to_the_end() -> None:
    stage = Stage()
    with stage.client() as client:
        made = [client.batches.create(model=MODEL, src=SOURCE).name for _ in range(5)]
        listed = [job.name for job in client.batches.list(config={"page_size": 2})]
        assert listed == made[::-1]


def test_a_canceled_batch_ends_canceled_and_cannot_be_canceled_again() -> None:
    stage = Stage()
    with stage.client() as client:
        job = client.batches.create(model=MODEL, src=SOURCE)
        stage.time += 25
        client.batches.cancel(name=job.name)
        assert client.batches.get(name=job.name).state is JobState.JOB_STATE_CANCELLED
        with pytest.raises(errors.ClientError, match="FAILED_PRECONDITION"):
            client.batches.cancel(name=job.name)


def test_a_job_that_succeeded_in_part_is_never_done_for_the_sdk() -> None:
    stage = Stage(Quirks(partial_every=2), tuple("k" + custom_id("aaaaaaaa", at, 0) for at in range(3)))
    with stage.client() as client:
        job = client.batches.create(model=MODEL, src=SOURCE)
        stage.time += 120
        seen = client.batches.get(name=job.name)
        assert seen.state is JobState.JOB_STATE_PARTIALLY_SUCCEEDED
        assert not seen.done  # Q-V2


def test_jobs_of_the_same_instant_and_prefix_overwrite_each_other() -> None:
    stage = Stage()
    stage.fake.stored[f"gs://{BUCKET}/other.jsonl"] = stage.fake.stored[SOURCE].replace(b"k1", b"k9")
    with stage.client() as client:
        dest = {"dest": f"gs://{BUCKET}/out"}
        first = client.batches.create(model=MODEL, src=SOURCE, config=dest)
        client.batches.create(model=MODEL, src=f"gs://{BUCKET}/other.jsonl", config=dest)
        stage.time += 120
        folder = client.batches.get(name=first.name).output_info.gcs_output_directory
        assert stage.rows(folder)[0]["key"] == "k9"  # Q-V3


def test_a_file_that_cannot_be_imported_fails_the_whole_job() -> None:
    stage = Stage()
    stage.fake.stored[SOURCE] += b'{"key":"k4","request":{"generationConfig":{"responseSchema":{"$defs":{"a":1}}}}}\n'
    with stage.client() as client:
        job = client.batches.create(model=MODEL, src=SOURCE)
        failed = client.batches.get(name=job.name)
        assert failed.state is JobState.JOB_STATE_FAILED
        assert (failed.error.code, "Failed to import data" in failed.error.message) == (3, True)
        assert stage.fake.executions == []


def test_refusals() -> None:
    stage = Stage()
    with stage.client() as client, pytest.raises(errors.ClientError, match="NOT_FOUND"):
        client.batches.create(model="no-such-model", src=SOURCE)
    with stage.client("other") as client, pytest.raises(errors.ClientError, match="UNAUTHENTICATED"):
        client.batches.create(model=MODEL, src=SOURCE)
    with stage.client(project="other") as client, pytest.raises(errors.ClientError, match="PERMISSION_DENIED"):
        client.batches.create(model=MODEL, src=SOURCE)
    assert stage.fake.made == {}
