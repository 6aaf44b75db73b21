"""The command line against Google's Gemini API, from end to end."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from overnight.testing.gemini_fake import KEY, FakeGemini, Quirks
from overnight.testing.gemini_server import serving
from overnight.types import Endpoint
from tests.cli.calling import Done, call, read_table


class Gemini:
    """A provider on loopback, and the command line of a job for it."""

    def __init__(self, fake: FakeGemini, url: str) -> None:
        self.fake = fake
        self.url = url

    def run(self, *more: object, model: str = "gemini/gemini-2.5-flash", prompt: str = "Say: {{ text }}") -> Done:
        where = ("-m", model, "--base-url", self.url)
        return call("run", "rows.csv", *where, "-p", prompt, "--key", "id", *more)


@pytest.fixture
def gemini(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gemini]:
    monkeypatch.delenv("GOOGLE_API_KEY", raising=False)
    monkeypatch.delenv("GOOGLE_GEMINI_BASE_URL", raising=False)
    monkeypatch.setenv("GEMINI_API_KEY", KEY)
    fake = FakeGemini(time.time, takes=0.05)
    with serving(fake) as url:
        yield Gemini(fake, url)


def test_a_job_runs_from_end_to_end(gemini: Gemini, place: Path) -> None:
    done = gemini.run("-o", "out.csv", "--yes")
    assert done.code == 0, done.err
    rows = read_table(place / "out.csv")
    assert [(row["id"], row["status"], row["answer"]) for row in rows] == [
        (f"k{number}", "succeeded", f"Say: text {number}") for number in range(40)
    ]
    assert gemini.fake.executed_twice() == []
    assert gemini.fake.calls.count("create") == 1
    assert gemini.fake.stored == {}, "our input file is deleted in the end"
    assert "delete_batch" not in gemini.fake.calls
    shown = call("show", "rows", "k7", "--json").document
    assert shown["request"]["request"]["contents"] == [{"role": "user", "parts": [{"text": "Say: text 7"}]}]


def test_embeddings_run_from_end_to_end(gemini: Gemini, place: Path) -> None:
    done = gemini.run(
        *("--set", "endpoint=embeddings", "--set", "parameters.dimensions=3", "-o", "out.jsonl", "--yes"),
        model="gemini/gemini-embedding-001",
        prompt="{{ text }}",
    )
    assert done.code == 0, done.err
    rows = [json.loads(line) for line in (place / "out.jsonl").read_text().splitlines()]
    assert len(rows) == 40
    assert all(len(row["answer"]) == 3 for row in rows)
    (batch,) = gemini.fake.made.values()
    assert (batch.endpoint, batch.model) == (Endpoint.EMBED, "gemini-embedding-001")


def test_labels_are_a_schema_that_is_enforced(gemini: Gemini, place: Path) -> None:
    done = gemini.run("--labels", "good,bad", "--set", "parameters.reasoning_effort=none", "-o", "out.csv", "--yes")
    assert done.code == 0, done.err
    assert {row["answer"] for row in read_table(place / "out.csv")} <= {"good", "bad"}
    (batch,) = gemini.fake.made.values()
    config = batch.rows[0].body["generationConfig"]
    assert config["responseMimeType"] == "application/json"
    assert "good" in json.dumps(config["responseJsonSchema"])
    assert config["thinkingConfig"] == {"thinkingBudget": 0}


def test_errors_of_rows_are_shown_with_all_that_came(gemini: Gemini) -> None:
    gemini.fake.rows = lambda ordinal, attempt: "400" if ordinal == 3 else "ok"
    assert gemini.run("--yes").code == 3
    (attempt,) = call("show", "rows", "k3", "--json").document["attempts"]
    assert (attempt["outcome"], attempt["kind"]) == ("errored", "permanent")
    assert attempt["answer"]["error"] == {"code": 3, "message": "Refused: gemini-2.5-flash"}


def test_a_batch_that_expired_gives_nothing_and_all_would_be_bought_again_only_when_asked(gemini: Gemini) -> None:
    gemini.fake.quirks = Quirks(pending=900, window=0.02)
    done = gemini.run("--yes")
    assert done.code == 5, done.err
    assert "of a batch that is not through after 48 hours nothing comes back, whatever ran" in done.err
    assert "40 of the 40 rows that ended failed the same way: expired" in done.err
    assert gemini.fake.calls.count("create") == 1


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--set", "parameters.verbosity=low"), "`parameters.verbosity`: generateContent does not take it"),
        (("--set", "endpoint=responses"), "batches of gemini have no responses"),
        (("--set", "prompt.cache=true"), "prompt.cache"),
        (("--set", "betas=[x]"), "`betas`: the API of gemini has no such thing"),
    ],
)
def test_what_cannot_be_said_is_an_error_before_anything_is_sent(
    gemini: Gemini, more: tuple[str, ...], said: str
) -> None:
    done = gemini.run(*more, "--yes")
    assert done.code == 2
    assert said in done.error
    assert gemini.fake.calls == []


def test_a_missing_key_names_both_variables(gemini: Gemini, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GEMINI_API_KEY")
    done = call("run", "rows.csv", "-m", "gemini/gemini-2.5-flash", "-p", "{{ text }}", "--yes")
    assert done.code == 2
    assert "GEMINI_API_KEY or GOOGLE_API_KEY" in done.error


def test_the_variables_of_the_sdk_say_where_the_api_is(gemini: Gemini, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", gemini.url)
    monkeypatch.setenv("GEMINI_API_KEY", "another key")
    done = call("run", "rows.csv", "-m", "gemini/gemini-2.5-flash", "-p", "{{ text }}", "--key", "id", "--yes")
    assert done.code == 4
    assert "the API key was refused" in done.err
    assert "another key" not in done.err
