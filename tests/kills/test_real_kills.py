"""The real command and the real server under SIGKILL. `make prove` kills more often."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from overnight.testing.kills import campaign

KILLS = 12


@pytest.mark.slow
def test_killed_at_random_moments_no_row_is_lost_and_no_batch_is_paid_twice(tmp_path: Path) -> None:
    trials = asyncio.run(campaign(0, tmp_path, KILLS))
    assert [fault for trial in trials for fault in trial.found] == []
    assert sum(trial.kills for trial in trials) == KILLS
