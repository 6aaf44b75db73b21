"""Jobs on Vertex AI, from the command line to the bucket and back."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from overnight.testing.vertex_fake import BUCKET, LOCATION, PROJECT, TOKEN, FakeVertex, Quirks
from overnight.testing.vertex_server import serving
from tests.cli.calling import Done, call, read_table

MODEL = "vertex/gemini-2.5-flash"


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeVertex]:
    """The service and its storage on loopback, where Google's own variables say they are."""
    fake = FakeVertex(time.time, Quirks(shuffled=True, coerces_keys=True, imports_strictly=True), takes=0.05)
    with serving(fake) as url:
        for name, value in {
            "OVERNIGHT_VERTEX_BUCKET": f"gs://{BUCKET}/batches",
            "GOOGLE_CLOUD_PROJECT": PROJECT,
            "GOOGLE_CLOUD_LOCATION": LOCATION,
            "GOOGLE_VERTEX_BASE_URL": url,
            "STORAGE_EMULATOR_HOST": url,
            "CLOUDSDK_AUTH_ACCESS_TOKEN": TOKEN,
        }.items():
            monkeypatch.setenv(name, value)
        yield fake


def run(*more: object) -> Done:
    return call("run", "rows.csv", "-m", MODEL, "-p", "Say: {{ text }}", "--key", "id", "-o", "out.csv", "--yes", *more)


def test_a_job_from_rows_to_answers(fake: FakeVertex, place: Path) -> None:
    fake.rows = lambda ordinal, attempt: "500" if ordinal == 7 and attempt == 0 else "ok"
    done = run()
    assert done.code == 0, done.err
    assert [row["answer"] for row in read_table(place / "out.csv")] == [f"Say: text {at}" for at in range(40)]
    assert fake.calls.count("create") == 2
    assert fake.executed_twice() == []
    assert fake.stored == {}, "nothing of ours is left in the bucket"
    assert all(job.source.startswith(f"gs://{BUCKET}/batches/overnight-") for job in fake.made.values())
    shown = call("show", "rows", "k7", "--json").document
    assert [attempt["kind"] for attempt in shown["attempts"]] == ["transient", None]


def test_files_stay_where_that_is_wished(fake: FakeVertex, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OVERNIGHT_VERTEX_BUCKET")
    fields = [
        "source: rows.csv",
        "key: id",
        f"model: {MODEL}",
        "prompt: {user: 'Say: {{ text }}'}",
        "batch: {rows: 20}",
    ]
    (place / "job.yaml").write_text("\n".join([*fields, "policy: {keep_remote: true}"]))
    done = call("run", "job.yaml", "-o", "out.csv", "--yes", "--vertex-bucket", f"gs://{BUCKET}")
    assert done.code == 0, done.err
    kept = [name.rpartition("/")[2] for name in fake.stored]
    assert kept.count("predictions.jsonl") == 2
    assert len(kept) == 4


def test_what_the_importer_would_refuse_is_told_before_anything_is_sent(fake: FakeVertex, place: Path) -> None:
    schema = {"type": "object", "properties": {"my answer": {"type": "string"}}, "required": ["my answer"]}
    (place / "schema.json").write_text(json.dumps(schema))
    done = run("--schema", "schema.json")
    assert done.code == 2
    assert "`generationConfig.responseJsonSchema.properties.my answer`: Vertex AI cannot import it" in done.error
    assert fake.calls == []


@pytest.mark.parametrize("name", ["OVERNIGHT_VERTEX_BUCKET", "GOOGLE_CLOUD_PROJECT"])
def test_what_is_missing_is_named(fake: FakeVertex, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delenv(name)
    done = run()
    assert done.code == 2
    assert name in done.error
    assert fake.calls == []


def test_credentials_that_are_refused_hold_nothing_back(fake: FakeVertex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDSDK_AUTH_ACCESS_TOKEN", "ya29.wrong")
    done = run()
    assert done.code == 4
    assert "the credentials were refused" in done.error
    assert "ya29" not in done.err
    assert fake.made == {}


def test_a_bucket_that_is_not_there_stops_the_job(fake: FakeVertex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVERNIGHT_VERTEX_BUCKET", "gs://nobodys-bucket")
    done = run()
    assert done.code == 4, done.err
    assert "there is no such bucket" in done.err
    assert fake.made == {}
