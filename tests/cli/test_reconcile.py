"""A submission that nothing tells from others, held and decided by the command, against a workspace on loopback that
others use as well."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from overnight.testing.anthropic_fake import KEY, Quirks
from overnight.testing.anthropic_server import serving
from overnight.testing.anthropic_shared import SharedAnthropic
from tests.cli.calling import Done, call, read_table, write_rows

ROWS = 5


@pytest.fixture
def workspace(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[SharedAnthropic, str]]:
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    fake = SharedAnthropic(time.time, takes=3_600.0)
    with serving(fake) as url:
        yield fake, url


def submitted(url: str, *more: object) -> Done:
    write_rows(Path("few.csv"), ROWS)
    asked = ("-m", "anthropic/claude-haiku-4-5", "--base-url", url, "-p", "Say: {{ text }}", "--key", "id")
    return call("submit", "few.csv", *asked, "--yes", "--json", *more)


def test_a_held_submission_is_listed_and_adopted(workspace: tuple[SharedAnthropic, str]) -> None:
    fake, url = workspace
    fake.quirks = Quirks(lost_creates=frozenset({0}))
    fake.neighbor(ROWS, lasts=7_200.0)
    done = submitted(url)
    assert done.code == 0
    assert "overnight reconcile few" in done.err
    (theirs,) = fake.neighbors
    (ours,) = set(fake.made) - fake.neighbors
    (held,) = call("status", "few", "--json").document["batch_list"]
    assert held["state"] == "held"
    assert ours in held["failure"]
    assert f"{theirs} (in_progress)" in call("status", "few").out
    listed = call("reconcile", "few", "--json").document["held"]
    assert [(each["batch"], [one["remote"] for one in each["may_be"]]) for each in listed] == [
        (held["batch"], [theirs, ours])
    ]
    assert f"may be {ours}: in_progress" in call("reconcile", "few").out
    adopted = call("reconcile", "few", "--adopt", held["batch"], ours, "--yes")
    assert adopted.code == 0
    assert "nothing is to be decided" in adopted.err
    assert f"taken for {ours}" in call("status", "few").out
    assert not call("status", "few", "--json").document["batch_list"][0]["proved"]
    canceled = call("cancel", "few")
    assert "until an answer tells that it is ours" in canceled.err
    fake.takes = 0.0
    assert call("watch", "few").code == 0
    call("results", "few", "-o", "out.csv")
    assert [row["status"] for row in read_table(Path("out.csv"))] == ["succeeded"] * ROWS
    assert len(fake.executions) == ROWS
    assert fake.wronged() == []


def test_a_held_submission_is_declared_absent(workspace: tuple[SharedAnthropic, str]) -> None:
    fake, url = workspace
    fake.quirks = Quirks(late_creates={0: 1e9})
    for _ in range(2):
        fake.neighbor(ROWS, lasts=7_200.0)
    submitted(url)
    (held,) = call("status", "few", "--json").document["batch_list"]
    assert call("reconcile", "few", "--absent", held["batch"], "--yes").code == 0
    fake.takes = 0.0
    assert call("watch", "few").code == 0
    assert len(fake.executions) == ROWS
    assert fake.calls.count("create") == 2
    assert fake.wronged() == []


def test_another_key_finds_nothing_and_so_decides_nothing(
    workspace: tuple[SharedAnthropic, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, url = workspace
    fake.quirks = Quirks(lost_creates=frozenset({0}))
    fake.neighbor(ROWS, lasts=7_200.0)
    submitted(url)
    (held,) = call("status", "few", "--json").document["batch_list"]
    fake.accounts = {**fake.accounts, "sk-ant-other": "wrkspc-other"}
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-other")
    for asked in ((), ("--absent", held["batch"], "--yes")):
        refused = call("reconcile", "few", *asked)
        assert refused.code == 2
        assert "belongs to the account" in refused.error
