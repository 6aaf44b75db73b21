from __future__ import annotations

import time

import pytest

from overnight.cli.words import cut, facts, listed, moment, plural, size, span, table

NOON = time.mktime((2026, 11, 25, 12, 0, 0, 0, 0, -1))
DAY = 86_400


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0, "today 12:00"),
        (DAY, "tomorrow 12:00"),
        (-DAY, "yesterday 12:00"),
        (3 * DAY, "28 Nov 12:00"),
        (60 * DAY, "24 Jan 2027 12:00"),
    ],
)
def test_moments_are_told_by_the_day(seconds: float, told: str) -> None:
    assert moment(NOON + seconds, NOON) == told


def test_numbers_have_their_units() -> None:
    assert [size(number) for number in (0, 999, 1500, 2_500_000, 3e12)] == [
        "0 bytes",
        "999 bytes",
        "1.5 kB",
        "2.5 MB",
        "3000.0 GB",
    ]
    assert [span(seconds) for seconds in (4.24, 187, 8109)] == ["4.2 s", "3:07", "2:15:09"]
    assert (plural(1, "batch", "batches"), plural(2000, "batch", "batches")) == ("1 batch", "2,000 batches")
    assert listed({"succeeded": 1200, "failed": 0, "to_retry": 3}) == "1,200 succeeded, 3 to retry"


def test_columns_are_set_by_what_is_seen() -> None:
    assert table(("a", "n"), [("日本", "1"), ("x", "100")], frozenset({1})).splitlines() == [
        "a       n",
        "日本    1",
        "x     100",
    ]
    assert facts([("one", "1"), ("none", ""), ("second", "2\n3")]) == "one     1\nsecond  2\n        3"


def test_a_long_text_is_cut_to_a_screen() -> None:
    assert cut("a\nb\nc\nd", 3) == "a\nb\n… 2 more lines"
    assert cut("x" * 120, 3, 10) == "xxxxxxxxx…"
