"""`python -m overnight.testing.prove`: thousands of histories, and real kills of the real command.

Exit code 0: nothing was found. 1: what was found is printed, each with the command that plays it again.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from overnight.testing.histories import problems_of, replay
from overnight.testing.kills import FACES, campaign

CHUNK = 10
LINES = 500  # seeds between two lines that say how far it is


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m overnight.testing.prove", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3000, help="histories to play (3000)")
    parser.add_argument("--first", type=int, default=0, help="first seed of histories and kills (0)")
    parser.add_argument("--kills", type=int, default=50, help="kills of real processes (50)")
    parser.add_argument("--jobs", type=int, default=2, help="histories at the same time (2)")
    parser.add_argument("--seed", type=int, help="play the history of this seed only, and keep its folder")
    asked = parser.parse_args(arguments)
    if asked.seed is not None:
        return _play_one(asked.seed)
    found = _histories(range(asked.first, asked.first + asked.seeds), asked.jobs)
    return 1 if found + _kills(asked.first, asked.kills) else 0


def _play_one(seed: int) -> int:
    root = Path(tempfile.mkdtemp(prefix=f"history-{seed}-"))
    problems = problems_of(seed, root)
    _say(*problems, f"seed {seed}: {'wrong' if problems else 'all is right'}; its folder is {root}")
    return 1 if problems else 0


def _histories(seeds: range, jobs: int) -> int:
    """Play them; how many are wrong."""
    began, wrong = time.monotonic(), 0
    for played, (seed, problems) in enumerate(_played(seeds, jobs), 1):
        if problems:
            wrong += 1
            _say(f"seed {seed}:", *(f"    {problem.rstrip()}" for problem in problems), f"  again: {replay(seed)}")
        if played % LINES == 0 or played == len(seeds):
            _say(f"histories: {played:,} of {len(seeds):,}, {wrong} wrong, {time.monotonic() - began:,.0f} s")
    return wrong


def _played(seeds: range, jobs: int) -> Iterator[tuple[int, list[str]]]:
    # A fresh interpreter each: the loops and threads of this one stay out of it.
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from zip(seeds, pool.map(problems_of, seeds, chunksize=CHUNK), strict=True)


def _kills(seed: int, kills: int) -> int:
    """Kill so often; how many trials went wrong. Their folders stay."""
    if kills <= 0:
        return 0
    root = Path(tempfile.mkdtemp(prefix="kills-"))
    trials = asyncio.run(campaign(seed, root, kills))
    for trial in trials:
        _say(
            f"job {trial.seed} ({trial.face.name}): {trial.kills} kills "
            f"({len(trial.server_kills)} of them met the server), {trial.lives} processes, {len(trial.found)} faults; "
            f"{trial.repeated} requests in flight at the server ran again"
        )
        if trial.found:
            again = (
                f"python -m overnight.testing.prove --seeds 0 --first {trial.seed} --kills {trial.most * len(FACES)}"
            )
            _say(*(f"    {fault}" for fault in trial.found), f"  again: {again}", f"  its folder is {trial.root}")
    return sum(bool(trial.found) for trial in trials)


def _say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
