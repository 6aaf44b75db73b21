"""What the preview expects of the prompt cache beside what is billed, over two thousand rows and the real command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench"


def test_what_the_cache_brings_is_expected_billed_and_booked(tmp_path: Path) -> None:
    figures = tmp_path / "caching.json"
    command = [sys.executable, BENCH / "caching.py", "--rows", "2000", "--into", figures]
    subprocess.run(command, check=True, stdout=subprocess.PIPE)
    told = json.loads(figures.read_text())
    billed = told["billed_read"], told["billed_written"]
    assert billed == (told["booked_read"], told["booked_written"])
    assert billed[0] == pytest.approx(0.64 * sum(billed), rel=0.1)  # the share of rows that the fake lets read
    least, most = told["expected_read"]
    assert least < billed[0] < most
    assert told["shared"] == pytest.approx(sum(billed), rel=0.1)
