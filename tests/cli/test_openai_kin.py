"""The command line against APIs made after OpenAI's, end to end: keys and addresses from variables and the file."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from overnight.testing.openai_fake import KEY, FakeOpenAI
from overnight.testing.openai_flavours import FLAVOURS
from overnight.testing.openai_server import serving
from tests.cli.calling import call, read_table


@pytest.mark.parametrize(
    ("model", "flavour", "key", "base_url", "more"),
    [
        ("azure/my-deployment", "azure", "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT", {}),
        (
            "azure/my-deployment",
            "azure, dated",
            "AZURE_OPENAI_API_KEY",
            "AZURE_OPENAI_ENDPOINT",
            {"OPENAI_API_VERSION": "2025-03-01-preview"},
        ),
        ("mistral/mistral-small-latest", "mistral", "MISTRAL_API_KEY", "MISTRAL_BASE_URL", {}),
        ("groq/openai/gpt-oss-20b", "groq", "GROQ_API_KEY", "GROQ_BASE_URL", {}),
        ("together/meta-llama/Llama-3.3-70B-Instruct-Turbo", "together", "TOGETHER_API_KEY", "TOGETHER_BASE_URL", {}),
    ],
)
def test_a_job_from_rows_to_answers(
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    model: str,
    flavour: str,
    key: str,
    base_url: str,
    more: dict[str, str],
) -> None:
    fake = FakeOpenAI(time.time, takes=0.05, flavour=FLAVOURS[flavour])
    with serving(fake) as url:
        host = url.removesuffix(fake.flavour.root)
        for name, value in {key: KEY, base_url: host + "/v1" * (flavour == "together"), **more}.items():
            monkeypatch.setenv(name, value)
        arguments = ("-m", model, "-p", "Say: {{ text }}", "--key", "id", "-o", "out.csv", "--yes")
        done = call("run", "rows.csv", *arguments)
    assert done.code == 0, done.err
    rows = read_table(place / "out.csv")
    assert [(row["id"], row["status"], row["answer"]) for row in rows] == [
        (f"k{number}", "succeeded", f"Say: text {number}") for number in range(40)
    ]
    assert fake.executed_twice() == []
    assert not fake.stored
    (batch,) = fake.made.values()
    assert batch.rows[0].body["model"] == model.partition("/")[2]


def test_a_provider_of_the_settings_file(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeOpenAI(time.time, takes=0.05, flavour=FLAVOURS["groq"])
    with serving(fake) as url:
        file = place / "settings.toml"
        file.write_text(f'[providers.acme]\nlike = "groq"\nbase_url = "{url}"\nkey = "ACME_KEY"\nrows = 15\n')
        monkeypatch.setenv("OVERNIGHT_CONFIG", str(file))
        arguments = ("-m", "acme/fast", "-p", "Say: {{ text }}", "--key", "id", "-o", "out.csv", "--yes")
        assert "set the environment variable ACME_KEY" in call("run", "rows.csv", *arguments).err
        monkeypatch.setenv("ACME_KEY", KEY)
        done = call("run", "rows.csv", *arguments)
    assert done.code == 0, done.err
    assert {row["status"] for row in read_table(place / "out.csv")} == {"succeeded"}
    assert fake.calls.count("create") == 3


def test_azure_without_an_endpoint(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "k")
    for name in ("AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    done = call("run", "rows.csv", "-m", "azure/x", "-p", "{{ text }}", "--yes")
    assert done.code == 2
    assert "azure needs its base URL: set AZURE_OPENAI_ENDPOINT or AZURE_OPENAI_BASE_URL" in done.err
