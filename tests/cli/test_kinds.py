"""Moderations, legacy completions and images from end to end."""

from __future__ import annotations

import base64
import csv
import json
from pathlib import Path
from typing import Any

import pytest

from overnight.testing.openai_rows import picture
from tests.cli.calling import call, read_table
from tests.cli.conftest import Pipeline


def run(pipeline: Pipeline, kind: str, *more: object, model: str = "m-1", prompt: str = "{{ text }}") -> None:
    where = ("-m", f"openai/{model}", "--base-url", pipeline.url, "--endpoint", kind)
    done = call("run", "rows.csv", *where, "-p", prompt, "--key", "id", "--yes", *more)
    assert done.code == 0, done.err


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_moderations_have_two_columns(pipeline: Pipeline, place: Path) -> None:
    run(pipeline, "moderations", "-o", "out.jsonl", prompt="violent {{ text }}")
    rows = lines(place / "out.jsonl")
    assert [(row["flagged"], row["scores"]) for row in rows] == [(True, {"violence": 0.9})] * 40
    assert "answer" not in rows[0]
    run(pipeline, "moderations", "-o", "out.csv")
    assert {(row["flagged"], row["scores"]) for row in read_table(place / "out.csv")} == {("false", '{"violence":0.0}')}


def test_legacy_completions_have_a_limit_and_a_text(pipeline: Pipeline, place: Path) -> None:
    run(pipeline, "completions", "-o", "out.csv", "--set", "parameters.temperature=0", prompt="Say {{ text }}")
    assert [row["answer"] for row in read_table(place / "out.csv")] == [f"Say text {number}" for number in range(40)]
    (batch,) = pipeline.fake.made.values()
    assert batch.rows[0].body == {"model": "m-1", "prompt": "Say text 0", "temperature": 0, "max_tokens": 1024}


def test_images_are_files_beside_the_table(pipeline: Pipeline, place: Path) -> None:
    run(pipeline, "images", "-o", "out.csv", "--set", "parameters.size=1024x1024")
    rows = read_table(place / "out.csv")
    assert [row["answer"] for row in rows] == [f"out.images/k{number}.png" for number in range(40)]
    for number, row in enumerate(rows):
        assert (place / row["answer"]).read_bytes() == picture(f"text {number}")
    assert len(list((place / "out.images").iterdir())) == 40
    told = call("results", "rows").out.splitlines()
    answer = json.loads(told[0])["answer"]
    assert answer == "data:image/png;base64," + base64.b64encode(picture("text 0")).decode()
    shown = call("show", "rows", "k3").out
    assert "b64_json" in shown


def test_keys_that_are_no_names_of_files(pipeline: Pipeline, place: Path) -> None:
    keys = ["../up", "a/b", "a-b", "A", "a", "", ".", "é" * 200, "con.png"]
    with (place / "rows.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["id", "text"], *([key, f"text {at}"] for at, key in enumerate(keys) if key)])
    run(pipeline, "images", "-o", "out.jsonl")
    answers = [row["answer"] for row in lines(place / "out.jsonl")]
    assert answers[:5] == [
        "out.images/up~1.png",
        "out.images/a-b~2.png",
        "out.images/a-b.png",
        "out.images/A~4.png",
        "out.images/a.png",
    ]
    assert len({answer.lower() for answer in answers}) == len(keys) - 1
    assert len(list((place / "out.images").iterdir())) == len(keys) - 1
    assert {path.name for path in place.iterdir() if path.suffix == ".png"} == set()


def test_edits_send_the_images_they_edit(pipeline: Pipeline, place: Path) -> None:
    (place / "one.png").write_bytes(picture("one"))
    run(pipeline, "image_edits", "-o", "out.csv", "--set", 'prompt.images=["one.png"]')
    (batch,) = pipeline.fake.made.values()
    sent = "data:image/png;base64," + base64.b64encode(picture("one")).decode()
    assert batch.rows[0].body == {"model": "m-1", "prompt": "text 0", "images": [{"image_url": sent}]}
    assert (place / "out.images" / "k0.png").exists()


@pytest.mark.parametrize(
    ("kind", "more", "told"),
    [
        ("image_edits", (), "`prompt.images`: OpenAI edits images: give at least one"),
        ("images", ("--system", "x"), "images have none; leave it out"),
        ("moderations", ("--labels", "a,b"), "moderations have none; leave it out"),
        ("images", ("--set", "parameters.temperature=1"), "/v1/images/generations does not take it"),
        ("moderations", ("-m", "groq/x"), "batches of groq have no moderations; they have chat"),
        ("images", ("-m", "local/smollm2"), "batches of local have no images"),
    ],
)
def test_what_a_kind_does_not_have(pipeline: Pipeline, kind: str, more: tuple[str, ...], told: str) -> None:
    where = ("-m", "openai/m-1", "--base-url", pipeline.url, "--endpoint", kind)
    done = call("run", "rows.csv", *where, "-p", "{{ text }}", "--yes", *more)
    assert (done.code, told in done.err) == (2, True), done.err
