"""The bench works: with few rows, for speed is not what a test can tell."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).parents[2] / "bench"


def test_every_row_comes_out_every_way(tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    done = subprocess.run(
        [sys.executable, BENCH / "run.py", "--quick", "--into", results], check=True, stdout=subprocess.PIPE, text=True
    )
    parts = json.loads(results.read_text())["parts"]
    assert {title: len(rows) for title, rows in parts.items()} == {
        "300 documents of 1,450 bytes": 22,
        "200 rows answered in real time": 3,
    }
    for rows in parts.values():
        for row in rows:
            assert row["what"] in done.stdout
            assert row["peak"] < row["peak_limit"]
