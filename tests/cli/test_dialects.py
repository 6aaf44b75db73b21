"""One job, unchanged but for its model, through every dialect: same rows, same order, same answers."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from overnight.server.keys import Keys
from overnight.testing.vertex_fake import BUCKET, LOCATION, PROJECT, TOKEN, FakeVertex
from overnight.testing.vertex_server import serving
from overnight.upstreams.fake import FakeUpstream
from tests.cli.calling import call, read_table
from tests.server.running import MovableClock, Running

JOB = """\
source: rows.csv
key: id
prompt:
  system: Repeat what is said.
  examples: [{user: a, assistant: b}]
  user: 'Say: {{ text }}'
parameters: {max_output_tokens: 50, temperature: 0}
policy: {poll: 0.05, visibility: 0.2}
"""


@pytest.fixture
def servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """Base URLs by provider: our own server, and for Vertex AI the fake."""
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.setenv(name, "any")
    server = Running(tmp_path / "server", FakeUpstream(), MovableClock(), Keys(), any_model=True)
    own = f"http://127.0.0.1:{server.port}"
    try:
        with serving(FakeVertex(time.time, takes=0.05)) as url:
            for name, value in {
                "OVERNIGHT_VERTEX_BUCKET": f"gs://{BUCKET}/batches",
                "GOOGLE_CLOUD_PROJECT": PROJECT,
                "GOOGLE_CLOUD_LOCATION": LOCATION,
                "STORAGE_EMULATOR_HOST": url,
                "CLOUDSDK_AUTH_ACCESS_TOKEN": TOKEN,
            }.items():
                monkeypatch.setenv(name, value)
            yield {"openai": f"{own}/v1", "anthropic": own, "gemini": own, "vertex": url}
    finally:
        server.stop()


PICTURES = """\
source: pictures.csv
key: id
prompt:
  user: '{{ text }}'
  images: ['{{ picture }}']
  documents: ['{{ paper }}']
parameters: {max_output_tokens: 50}
rows: {on_bad: skip}
policy: {poll: 0.05, visibility: 0.2}
"""


@pytest.mark.parametrize("provider", ["openai", "anthropic", "gemini"])
def test_images_and_documents_reach_the_model(servers: dict[str, str], place: Path, provider: str) -> None:
    (place / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(30))
    (place / "b.pdf").write_bytes(b"%PDF-1.7 /Type /Page")
    (place / "secret").write_text("root:x:0:0")
    (place / "job.yaml").write_text(PICTURES)
    (place / "pictures.csv").write_text(
        "id,picture,paper,text\n1,a.png,b.pdf,one\n2,https://x.example/a.jpg,,two\n3,secret,,no\n"
    )
    run = ("run", "job.yaml", "--base-url", servers[provider], "-o", "out.csv", "--yes", "--model")
    done = call(*run, f"{provider}/m")
    assert done.code == 0, done.err  # the row without a picture is skipped by the job's own rule
    table = read_table(place / "out.csv")
    assert [(row["status"], row["answer"]) for row in table] == [
        ("succeeded", "one"),
        ("succeeded", "two"),
        ("skipped", ""),
    ]
    sent = json.dumps(call("show", "pictures", "1", "--json").document["request"])
    assert base64.b64encode(b"%PDF-1.7 /Type /Page").decode() in sent


def test_every_dialect_says_the_same(servers: dict[str, str], place: Path) -> None:
    (place / "job.yaml").write_text(JOB)
    tables = {}
    for provider, url in servers.items():
        output = f"{provider}.csv"
        done = call("run", "job.yaml", "--model", f"{provider}/m", "--base-url", url, "-o", output, "--yes")
        assert done.code == 0, done.err
        tables[provider] = read_table(place / output)
    said = {name: [(row["id"], row["status"], row["answer"]) for row in table] for name, table in tables.items()}
    assert said["openai"] == [(f"k{at}", "succeeded", f"Say: text {at}") for at in range(40)]
    assert [name for name in said if said[name] != said["openai"]] == []
