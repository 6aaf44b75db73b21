"""A clock that jumps: nothing waits for real."""

from __future__ import annotations

import asyncio
import heapq
from itertools import count


class VirtualClock:
    """`ports.Clock` whose time passes only when every party sleeps. `parties` is the number of processes that are
    played at the same time; with one, a sleep returns at once and time has moved."""

    def __init__(self, start: float = 1_800_000_000.0, parties: int = 1) -> None:
        self.parties = parties
        self._start = start
        self._passed = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = count()

    def now(self) -> float:
        """Unix seconds of the play."""
        return self._start + self._passed

    def elapsed(self) -> float:
        """Seconds played."""
        return self._passed

    def advance(self, seconds: float) -> None:
        """Let time pass from outside."""
        self._passed += seconds

    async def sleep(self, seconds: float) -> None:
        """Sleep until the other parties sleep as long."""
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._passed + max(seconds, 0.0), next(self._order), future))
        self._turn()
        await future

    def leave(self) -> None:
        """A party is gone; the others do not wait for it any more."""
        self.parties -= 1
        self._turn()

    def _turn(self) -> None:
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        if self._sleepers and sum(not sleeper[2].done() for sleeper in self._sleepers) >= self.parties:
            until, _, future = heapq.heappop(self._sleepers)
            self._passed = max(self._passed, until)
            future.set_result(None)
