"""`overnight providers`: what is known of each."""

from __future__ import annotations

from pathlib import Path

import pytest

from overnight.core.catalog import PROVIDERS
from tests.cli.calling import call


def test_every_provider_is_in_every_table(place: Path) -> None:
    tables = call("providers").out.split("\n\n")
    assert len(tables) == 3
    for table in tables:
        assert [line.split()[0] for line in table.strip().splitlines()[1:]] == list(PROVIDERS)


def test_all_of_it_for_machines(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROQ_API_KEY", "gsk-secret")
    done = call("providers", "--json")
    every = {each["name"]: each for each in done.document}
    assert "gsk-secret" not in done.out
    assert list(every) == list(PROVIDERS)
    for name, each in every.items():
        known = PROVIDERS[name]
        assert each["kinds"] == list(known.kinds)
        assert each["limits"]["requests"] == known.limits.rows
        assert all(each[part]["what"] for part in ("expired", "canceled", "lost_submission", "answers_stay"))
    assert (every["groq"]["key"], every["local"]["key"]) == ("present", "not needed")
    assert every["groq"]["variables"]["GROQ_API_KEY"] == {"what": "key", "set": True}
    assert every["anthropic"]["lost_submission"]["known_by"] == "count"
    assert every["azure"]["expired"]["expires"] is False
    assert every["gemini"]["expired"]["finished_rows_kept"] is False


def test_one_in_detail(place: Path) -> None:
    said = call("providers", "gemini").out
    assert "nothing is given back: all rows would be bought again" in said
    assert "GEMINI_API_KEY, GOOGLE_API_KEY" in said
    assert call("providers", "gemini", "--json").document["dialect"] == "gemini"


def test_one_of_the_settings(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = place / "settings.toml"
    file.write_text('[providers.acme]\nlike = "together"\nbase_url = "https://acme.example/v1"\nrows = 7\n')
    monkeypatch.setenv("OVERNIGHT_CONFIG", str(file))
    acme = call("providers", "acme", "--json").document
    assert (acme["like"], acme["limits"]["requests"], acme["key"]) == ("together", 7, "not needed")
    assert acme["lost_submission"]["known_by"] == "file"


def test_one_that_is_not_there(place: Path) -> None:
    done = call("providers", "acme")
    assert done.code == 2
    assert done.error.startswith("no provider acme: there are anthropic, azure, fake, ")
