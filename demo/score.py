"""Compare `results.csv` with the labels in `articles.csv` and print how many are right, in all and per label."""

from __future__ import annotations

import csv
import sys
from collections import Counter
from pathlib import Path

HERE = Path(__file__).parent


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def main() -> int:
    """Print the table; 1 where an article has no answer."""
    labels = {row["id"]: row["label"] for row in read(HERE / "articles.csv")}
    answers = {row["id"]: row["topic"] for row in read(HERE / "results.csv") if row["status"] == "succeeded"}
    pairs = Counter((label, answers.get(id, "")) for id, label in labels.items())
    names = sorted(set(labels.values()))
    right = sum(pairs[name, name] for name in names)
    print(f"{right} of {len(labels)} right: accuracy {right / len(labels):.3f}")
    print(f"\n{'label':<12}{'articles':>9}{'right':>7}   answered as")
    for name in names:
        counts = {answer: count for (label, answer), count in pairs.items() if label == name}
        others = [f"{answer or 'no answer'} {n}" for answer, n in sorted(counts.items()) if answer != name]
        print(f"{name:<12}{sum(counts.values()):>9}{pairs[name, name]:>7}   {', '.join(others)}")
    return 0 if len(answers) == len(labels) else 1


if __name__ == "__main__":
    sys.exit(main())
