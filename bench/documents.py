"""The documents that are measured: made from seeds, the same on every machine, kept in `bench/.data`."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import orjson

DATA = Path(__file__).parent / ".data"
LONG, SHORT = 1_450, 200
"""Bytes of a document."""

_ENGLISH = (
    "the of and to in a is that for it as was with be by on not he this are or his from at which but have an had they "
    "you were their one all we can her has there been if more when will would who so no out up into than them some "
    "delivery order customer product quality service support price market report government minister company growth "
    "quarter season match coach player league album film actor director network phone software screen update battery "
    "election party vote council budget tax inflation bank shares profit analyst forecast export harvest river bridge "
    "hospital school teacher student research climate energy storm coast island museum painting concert orchestra"
)
_FOREIGN = "café Zürich naïve São Ångström façade Dvořák jalapeño €40 “quoted” it’s — Łódź smörgåsbord 東京 データ"


@dataclass(frozen=True, slots=True)
class Documents:
    """Files with the same rows: `id`, `title`, `text`."""

    rows: int
    jsonl: Path
    csv: Path


def documents(rows: int, size: int, seed: int = 7) -> Documents:
    """So many documents of about `size` bytes of text; made where they are missing."""
    stem = f"{rows}x{size}-{seed}"
    made = Documents(rows, DATA / f"{stem}.jsonl", DATA / f"{stem}.csv")
    if not made.csv.exists():
        DATA.mkdir(exist_ok=True)
        unfinished = made.csv.with_suffix(".tmp")
        with made.jsonl.open("wb") as lines, unfinished.open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow(("id", "title", "text"))
            for number, (title, text) in enumerate(_texts(rows, size, seed)):
                name = f"doc-{number:07d}"
                lines.write(orjson.dumps({"id": name, "title": title, "text": text}) + b"\n")
                table.writerow((name, title, text))
        unfinished.rename(made.csv)
    return made


def _texts(rows: int, size: int, seed: int) -> Iterator[tuple[str, str]]:
    """Titles and texts: three of four texts hold characters beyond ASCII, a fifth have paragraphs."""
    random = Random(seed)
    plain = [_sentence(random, 0) for _ in range(3_000)]
    foreign = [_sentence(random, 2) for _ in range(1_000)]
    for _ in range(rows):
        found, length, paragraph = list[str](), 0, 4 if random.random() < 0.2 else size
        if random.random() < 0.75:
            found.append(random.choice(foreign))
            length = len(found[0].encode())
        while length < size:
            sentence = random.choice(plain)
            found.append(sentence)
            length += len(sentence) + 2
        parts = (" ".join(found[at : at + paragraph]) for at in range(0, len(found), paragraph))
        text = "\n\n".join(parts).encode()[:size].decode(errors="ignore")
        yield found[-1][:60].rstrip("., "), text


def _sentence(random: Random, foreign: int) -> str:
    words = random.choices(_ENGLISH.split(), k=random.randint(6, 22))
    for _ in range(foreign):
        words[random.randrange(1, len(words))] = random.choice(_FOREIGN.split())
    if random.random() < 0.2:
        words[2] += ","
    return " ".join(words).capitalize() + "."
