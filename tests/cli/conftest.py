from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from overnight.testing.openai_fake import KEY, FakeOpenAI
from overnight.testing.openai_server import serving
from tests.cli.calling import Done, call, write_rows


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with forty rows, a home of its own, and no settings from outside."""
    import os

    for name in [name for name in os.environ if name.startswith(("OVERNIGHT_", "OPENAI_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("OVERNIGHT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("OVERNIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OVERNIGHT_POLL", "0.02")
    monkeypatch.setenv("OVERNIGHT_VISIBILITY", "0.05")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    write_rows(folder / "rows.csv", 40)
    return folder


@dataclass
class Pipeline:
    """A provider on loopback, and the command line of a job for it."""

    fake: FakeOpenAI
    url: str

    def job(self, *more: object, source: str = "rows.csv") -> tuple[object, ...]:
        return (
            source, "-m", "openai/gpt-5.4-mini", "--base-url", self.url, "-p", "Say: {{ text }}", "--key", "id", *more,
        )  # fmt: skip

    def run(self, *more: object) -> Done:
        return call("run", *self.job(*more), "--yes")


@pytest.fixture
def pipeline() -> Iterator[Pipeline]:
    fake = FakeOpenAI(time.time, takes=0.05)
    with serving(fake) as url:
        yield Pipeline(fake, url)


Rows = Callable[[int, int], str]
