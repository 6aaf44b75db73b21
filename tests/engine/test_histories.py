"""Histories by seed. `make prove` plays thousands."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from overnight.testing.histories import history, problems_of, replay
from overnight.testing.prove import main

SEEDS = 300
PART = 10


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, SEEDS, PART))
def test_the_books_agree_whatever_happens(first: int) -> None:
    found = [
        f"seed {seed}, again by `{replay(seed)}`:\n" + "\n".join(problems)
        for seed in range(first, first + PART)
        if (problems := problems_of(seed))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("seed", [1, 9, 33])
def test_a_seed_is_the_same_history_whenever_it_is_played(tmp_path: Path, seed: int) -> None:
    one, again = (history(seed, tmp_path / name) for name in ("one", "again"))
    assert one.stage.fake.calls == again.stage.fake.calls
    assert one.stage.clock.elapsed() == again.stage.clock.elapsed()
    assert (one.stage.lives, one.verdict.ends) == (again.stage.lives, again.verdict.ends)


def test_the_command_that_is_printed_plays_the_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    _, _, module, *arguments = replay(3).split()
    assert module == "overnight.testing.prove"
    assert main(arguments) == 0
    told = capsys.readouterr().out
    assert told.startswith("seed 3: all is right; its folder is ")
    assert (Path(told.split()[-1]) / "answers.csv").exists()
