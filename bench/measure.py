"""CPU and memory of whole processes."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Spent:
    """What a process took, its children included: CPU and wall clock in seconds, peak memory in MB (10^6 bytes)."""

    cpu: float
    wall: float
    peak: float

    def least(self, other: Spent) -> Spent:
        """The smaller CPU and wall, the larger memory: a busy machine only ever adds to the first two."""
        return Spent(min(self.cpu, other.cpu), min(self.wall, other.wall), max(self.peak, other.peak))


def run(command: Sequence[str | Path], log: Path, environment: Mapping[str, str] | None = None) -> Spent:
    """Run it to its end. Raises where it fails, with the end of what it printed. The peak is at least that of who
    calls: the system counts what a process was before it became another."""
    begun = time.perf_counter()
    with log.open("wb") as out:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
        )
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - begun
    if process.returncode:
        told = log.read_text(errors="replace")[-2000:]
        raise SystemExit(f"{' '.join(map(str, command))}: exit code {process.returncode}\n{told}")
    return Spent(used.ru_utime + used.ru_stime, wall, used.ru_maxrss * 1024 / 1e6)
