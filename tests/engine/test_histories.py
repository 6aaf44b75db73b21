"""Histories by seed. `make prove` plays thousands."""

from __future__ import annotations

import pytest

from overnight.testing.histories import problems_of, replay

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
