"""One job, unchanged but for its model, through every dialect: same rows, same order, same answers."""

from __future__ import annotations

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
