"""`overnight doctor --live` against every fake: what it sends, what it finds, and that it leaves nothing."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from overnight.testing import (
    anthropic_fake,
    anthropic_server,
    gemini_fake,
    gemini_server,
    openai_fake,
    openai_server,
    vertex_fake,
    vertex_server,
)
from overnight.testing.openai_fake import FakeOpenAI, Quirks
from overnight.testing.openai_flavours import FLAVOURS
from tests.cli.calling import Done, call, command

DEAR = ("--max-cost", "1")


@dataclass
class Stage:
    fake: Any
    provider: str

    def look(self, *more: object) -> Done:
        return call("doctor", "--live", self.provider, *DEAR, "--yes", "--poll", "0.05", *more)


@contextmanager
def openai(
    set_env: Callable[[str, str], None], flavour: str = "openai", quirks: Quirks | None = None
) -> Iterator[Stage]:
    name = flavour.partition(",")[0]
    fake = FakeOpenAI(time.time, quirks or Quirks(), takes=0.2, flavour=FLAVOURS[flavour])
    variable = {"azure": "AZURE_OPENAI"}.get(name, name.upper())
    with openai_server.serving(fake) as url:
        set_env(f"{variable}_API_KEY", openai_fake.KEY)
        set_env(f"{variable}_BASE_URL", url)
        if "dated" in flavour:
            set_env("OPENAI_API_VERSION", "2025-03-01-preview")
        yield Stage(fake, name)


@contextmanager
def anthropic(set_env: Callable[[str, str], None]) -> Iterator[Stage]:
    fake = anthropic_fake.FakeAnthropic(time.time, anthropic_fake.Quirks(cancel_takes=0.1), takes=0.2)
    with anthropic_server.serving(fake) as url:
        set_env("ANTHROPIC_API_KEY", anthropic_fake.KEY)
        set_env("ANTHROPIC_BASE_URL", url)
        yield Stage(fake, "anthropic")


@pytest.mark.parametrize("flavour", ["openai", "azure", "azure, dated", "mistral", "groq", "together"])
def test_all_facts_hold_at_apis_made_after_openais(place: Path, monkeypatch: pytest.MonkeyPatch, flavour: str) -> None:
    with openai(monkeypatch.setenv, flavour) as stage:
        done = stage.look("--json", *(("--model", "deployment") if "azure" in flavour else ()))
        assert done.code == 0, done.out + done.err
        facts = {fact["what"]: fact["held"] for fact in done.document["facts"]}
        assert facts["a batch of a file that was deleted runs nothing"]
        assert facts["every row comes back once, by its own id"]
        assert facts[f"a batch is found by its {'file' if flavour == 'together' else 'mark'}"]
        assert facts["its counters count its rows"] is (None if flavour == "together" else True)
        assert stage.fake.stored == {}
        assert stage.fake.calls.count("create") == 3
        assert len([done for done in stage.fake.executions if done.tokens is not None]) <= 4
        assert list((place.parent / "home").rglob("live/*")) == []


def test_all_facts_hold_at_anthropic(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_AUTH_TOKEN", raising=False)
    with anthropic(monkeypatch.setenv) as stage:
        done = stage.look("--json")
        assert done.code == 0, done.out + done.err
        facts = {fact["what"]: fact["held"] for fact in done.document["facts"]}
        assert facts["a batch is found by its number of rows"]
        assert facts["the first answer tells whose batch it is"]
        assert stage.fake.calls.count("create") == 2


@pytest.mark.parametrize("provider", ["gemini", "vertex"])
def test_all_facts_hold_at_google(place: Path, monkeypatch: pytest.MonkeyPatch, provider: str) -> None:
    fake: Any
    if provider == "gemini":
        fake, served = (made := gemini_fake.FakeGemini(time.time, takes=0.2)), gemini_server.serving(made)
    else:
        fake, served = (made := vertex_fake.FakeVertex(time.time, takes=0.2)), vertex_server.serving(made)
    monkeypatch.delenv("GOOGLE_API_KEY", raising=False)
    with served as url:
        for name, value in {
            "GEMINI_API_KEY": gemini_fake.KEY,
            "GOOGLE_GEMINI_BASE_URL": url,
            "OVERNIGHT_VERTEX_BUCKET": f"gs://{vertex_fake.BUCKET}/batches",
            "GOOGLE_CLOUD_PROJECT": vertex_fake.PROJECT,
            "GOOGLE_CLOUD_LOCATION": vertex_fake.LOCATION,
            "GOOGLE_VERTEX_BASE_URL": url,
            "STORAGE_EMULATOR_HOST": url,
            "CLOUDSDK_AUTH_ACCESS_TOKEN": vertex_fake.TOKEN,
        }.items():
            monkeypatch.setenv(name, value)
        done = Stage(fake, provider).look("--json")
        assert done.code == 0, done.out + done.err
        facts = {fact["what"]: fact["held"] for fact in done.document["facts"]}
        assert facts["a batch is found by its mark"]
        assert facts["every row comes back once, by its own id"]
        assert fake.stored == {}


def test_facts_that_do_not_hold_are_said(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with openai(monkeypatch.setenv, quirks=Quirks(all_fail=True)) as stage:
        done = stage.look()
        assert done.code == 1
        assert "did not   rows are answered: permanent" in done.out
        assert "held      every row comes back once, by its own id: 2 rows" in done.out
        assert stage.fake.stored == {}


def test_a_batch_that_is_listed_late(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with openai(monkeypatch.setenv, quirks=Quirks(list_lag=2.0)) as stage:
        done = stage.look("--visibility", "0.5")
        assert done.code == 1
        assert "did not   a batch is found by its mark: not listed in time" in done.out


def test_a_create_whose_answer_is_lost_is_found_and_not_repeated(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with openai(monkeypatch.setenv, quirks=Quirks(lost_creates=frozenset({0}))) as stage:
        done = stage.look("--visibility", "0.5")
        assert done.code == 0
        assert "held      a batch whose answer was lost is found" in done.out
        assert stage.fake.calls.count("create") == 3
        assert stage.fake.stored == {}


def test_a_wrong_key_ends_it(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with openai(monkeypatch.setenv) as stage:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong")
        done = stage.look()
        assert done.code == 1
        assert "did not   the key is accepted" in done.out
        assert stage.fake.calls.count("upload") == 0


def test_what_a_dead_check_left_is_removed_by_the_next(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with openai(monkeypatch.setenv) as stage:
        upload = stage.fake.upload
        stage.fake.delete_file = lambda key, id: (_ for _ in ()).throw(openai_fake.Refusal("no", status=400))
        assert stage.look().code == 1
        left = len(stage.fake.stored)
        assert left
        assert upload == stage.fake.upload
        del stage.fake.delete_file
        done = stage.look()
        assert done.code == 0, done.out
        assert "held      what an earlier check left is removed" in done.out
        assert all("live" not in file.filename for file in stage.fake.stored.values())


def test_nothing_is_sent_that_may_cost_too_much(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with openai(monkeypatch.setenv) as stage:
        done = call("doctor", "--live", "openai", "--yes")
        assert done.code == 2
        assert "its price is not known: the dearest of any list is assumed" in done.error
        assert stage.fake.calls == []


def test_a_known_price_is_a_bound(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    done = call("doctor", "--live", "openai", "--max-cost", "0", "--yes")
    assert done.code == 2
    assert done.error.startswith("the check may cost $0.00")
    assert "not known" not in done.error


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (("openai", *DEAR), "nobody can be asked here: add --yes to send it"),
        (("acme",), "no provider acme"),
        (("azure", "--yes"), "azure has no model that everybody has: name one with --model"),
        (("mistral", *DEAR, "--yes"), "no key for mistral: set the environment variable MISTRAL_API_KEY"),
    ],
)
def test_what_is_missing_is_said(
    place: Path, monkeypatch: pytest.MonkeyPatch, argv: tuple[str, ...], told: str
) -> None:
    monkeypatch.delenv("MISTRAL_API_KEY", raising=False)
    done = call("doctor", "--live", *argv)
    assert (done.code, told in done.err) == (2, True), done.err


def test_ctrl_c_cancels_and_removes_what_was_made(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with openai(monkeypatch.setenv) as stage:
        stage.fake.takes = 1e6
        stage.fake.quirks = replace(stage.fake.quirks, window=1e7)
        argv = command("doctor", "--live", "openai", *DEAR, "--yes", "--poll", "0.05", "--visibility", "1")
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as check:
            assert check.stdout is not None
            while "deleted runs nothing" not in check.stdout.readline():
                pass
            check.send_signal(signal.SIGINT)
            rest, said = check.communicate(timeout=30)
        assert check.returncode not in {0, 1}, said
        assert "held      everything of the check is removed" in rest, said
        assert {batch.status for batch in stage.fake.made.values()} == {"cancelled", "failed"}
        assert stage.fake.stored == {}
