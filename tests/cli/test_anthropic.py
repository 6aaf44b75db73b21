"""The command line against Anthropic's way of doing batches, from end to end."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from overnight.cli.progress import shown
from overnight.testing.anthropic_fake import KEY, FakeAnthropic
from overnight.testing.anthropic_server import serving
from overnight.testing.examples import a_batch, a_job, a_shard
from overnight.types import BatchState, Counts, JobTotals, JobView, RemoteBatch, RemoteId, RemoteState
from tests.cli.calling import Done, call, read_table


class Claude:
    """A provider on loopback, and the command line of a job for it."""

    def __init__(self, fake: FakeAnthropic, url: str) -> None:
        self.fake = fake
        self.url = url

    def run(self, *more: object) -> Done:
        model = ("-m", "anthropic/claude-haiku-4-5", "--base-url", self.url)
        return call("run", "rows.csv", *model, "-p", "Say: {{ text }}", "--key", "id", *more)


@pytest.fixture
def claude(monkeypatch: pytest.MonkeyPatch) -> Iterator[Claude]:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    monkeypatch.delenv("ANTHROPIC_BASE_URL", raising=False)
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", KEY)
    fake = FakeAnthropic(time.time, takes=0.05)
    with serving(fake) as url:
        yield Claude(fake, url)


def test_a_job_runs_from_end_to_end(claude: Claude, place: Path) -> None:
    done = claude.run("-o", "out.csv", "--yes")
    assert done.code == 0, done.err
    rows = read_table(place / "out.csv")
    assert [(row["id"], row["status"], row["answer"]) for row in rows] == [
        (f"k{number}", "succeeded", f"Say: text {number}") for number in range(40)
    ]
    assert claude.fake.executed_twice() == []
    assert claude.fake.calls.count("create") == 1
    assert "delete" not in claude.fake.calls
    shown = call("show", "rows", "k7", "--json").document
    assert shown["request"]["params"]["messages"] == [{"role": "user", "content": "Say: text 7"}]


def test_labels_are_a_schema_that_is_enforced(claude: Claude, place: Path) -> None:
    done = claude.run("--labels", "good,bad", "-o", "out.csv", "--yes")
    assert done.code == 0, done.err
    assert {row["answer"] for row in read_table(place / "out.csv")} <= {"good", "bad"}
    format = call("show", "rows", "k0", "--json").document["request"]["params"]["output_config"]["format"]
    assert format["type"] == "json_schema"
    assert "good" in json.dumps(format["schema"])


def test_errors_of_rows_are_shown_with_all_that_came_and_what_would_be_sent_again(claude: Claude) -> None:
    claude.fake.rows = lambda ordinal, attempt: "400" if ordinal == 3 else "ok"
    assert claude.run("--yes").code == 3
    shown = call("show", "rows", "k3", "--json").document
    assert shown["request"]["params"]["model"] == "claude-haiku-4-5"
    (attempt,) = shown["attempts"]
    assert (attempt["outcome"], attempt["kind"]) == ("errored", "permanent")
    assert attempt["answer"]["result"]["error"]["error"]["message"] == "model: claude-haiku-4-5"
    assert "msg_" in call("show", "rows", "k4").out  # of an answer, the id that its provider knows it by


def test_what_would_be_asked_is_shown_before(claude: Claude) -> None:
    done = claude.run("--dry-run", "--set", "prompt.system=Be brief.", "--set", "prompt.cache=true", "--json")
    assert done.code == 0, done.err
    params = done.document["first_request"]["params"]
    assert params["system"] == [
        {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    ]
    assert "under 1,024 nothing is kept" in done.document["notes"][-1]
    assert claude.fake.calls == []


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--set", "parameters.seed=1"), "`parameters.seed`: /v1/messages does not take it"),
        (("--set", "parameters.temperature=1.5"), "`parameters.temperature`: Anthropic takes 0 to 1"),
        (("--set", "endpoint=embeddings"), "batches of anthropic have no embeddings"),
        (("--set", "prompt.cache=true"), "prompt.cache: no system message or example is the same in every row"),
    ],
)
def test_what_cannot_be_said_is_an_error_before_anything_is_sent(
    claude: Claude, more: tuple[str, ...], said: str
) -> None:
    done = claude.run(*more, "--yes")
    assert done.code == 2
    assert said in done.error
    assert claude.fake.calls == []


def test_a_missing_key_names_both_variables(claude: Claude, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_AUTH_TOKEN")
    done = call("run", "rows.csv", "-m", "anthropic/claude-haiku-4-5", "-p", "{{ text }}", "--yes")
    assert done.code == 2
    assert "ANTHROPIC_API_KEY or ANTHROPIC_AUTH_TOKEN" in done.error


def test_progress_is_told_by_time_where_nothing_is_counted() -> None:
    now = time.time()
    remote = RemoteBatch(
        RemoteId("msgbatch_1"),
        RemoteState.IN_PROGRESS,
        "in_progress",
        now - 21_600,
        now + 64_800,
        counts=Counts(total=10),
    )
    batch = replace(a_batch("b", a_shard("s"), BatchState.IN_PROGRESS), remote=remote)
    view = JobView(a_job(), (batch,), (), None, JobTotals(rows=10), None, 0)
    assert "(25% of 24:00:00 passed; nothing is counted yet)" in shown(view).latest
    moving = replace(batch, remote=replace(remote, counts=Counts(total=10, succeeded=1)))
    assert "passed" not in shown(replace(view, open=(moving,))).latest
