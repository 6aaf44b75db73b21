"""A world that dies: every call to the outside is counted, and at a chosen one the process is gone.

`Crash` is a BaseException, and once it was raised every later call of that world raises it as well, so that no
`finally` and no `except` of the product tidies up what a kill would have left.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Literal, Self

from overnight.ports import Clock

When = Literal["before", "after"]


class Crash(BaseException):
    """The process was killed here."""


class World:
    """One process's view of the outside. `at`: the number of the call (from 1; with `name`, of the calls of that name)
    at which it dies, `when` it does: before the call has an effect, or after it had all and the answer is lost."""

    def __init__(self, at: int | None = None, when: When = "before", name: str | None = None) -> None:
        self.at = at
        self.when = when
        self.name = name
        self.calls: list[str] = []
        self.dead = False
        self._opened: list[Any] = []
        self._lock = threading.Lock()

    def bury(self) -> None:
        """Close what the process left open, as the system does. A blob that was being written goes, as it does when the
        next process opens the home."""
        for port in self._opened:
            port.__exit__(None, None, None) if hasattr(port, "commit") else port.close()
        self._opened.clear()

    def wrap(self, name: str, port: Any) -> Any:
        """The port, seen from this world."""
        return _Proxy(self, name, port)

    async def arrive(self, name: str) -> None:
        """Wait here, before a call, as long as the process is stopped; a sound one never is."""

    async def depart(self, name: str) -> None:
        """The same, when the call has done what it does and the process does not know it yet."""

    def opened(self, port: Any) -> None:
        """Note what the process has open."""
        with self._lock:
            self._opened.append(port)

    def before(self, name: str) -> bool:
        """Count a call; True when the world dies right after it."""
        with self._lock:
            if self.dead:
                raise Crash(name)
            self.calls.append(name)
            if self.at is None or self.name not in {None, name}:
                return False
            if self.at != (len(self.calls) if self.name is None else self.calls.count(name)):
                return False
            if self.when == "after":
                return True
            self.dead = True
            raise Crash(name)

    def after(self, name: str, dies: bool) -> None:
        """End a call."""
        if dies or self.dead:
            self.dead = True
            raise Crash(name)


class StoppedWorld(World):
    """A process that is stopped (SIGSTOP) right before its `stop`-th call of this name, or right after it, and goes on
    at `until` (elapsed seconds). The clock must count it as a party all the time."""

    def __init__(self, name: str, stop: int, until: float, clock: Clock, side: When = "before") -> None:
        super().__init__()
        self._stops_at = name
        self._left = stop
        self._until = until
        self._clock = clock
        self._side = side

    async def arrive(self, name: str) -> None:
        """Stop when it is time."""
        if name == self._stops_at:
            self._left -= 1
            await self._stop("before")

    async def depart(self, name: str) -> None:
        """Stop when it is time."""
        if name == self._stops_at:
            await self._stop("after")

    async def _stop(self, side: When) -> None:
        if self._left == 0 and side == self._side:
            self._left = -1
            await self._clock.sleep(max(self._until - self._clock.elapsed(), 0.0))


OPENING = frozenset({"blobs.create", "blobs.open", "blobs.reader"})
"""Calls whose effect is what they return: an open file."""
_UNCOUNTED = frozenset({"find_job", "batches", "short_polling", "close"})


class _Proxy:
    def __init__(self, world: World, name: str, port: Any) -> None:
        self._world = world
        self._name = name
        self._port = port

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(self._port, attribute)
        if not callable(value) or attribute in _UNCOUNTED:
            return value
        return self._calling(f"{self._name}.{attribute}", value)

    def _calling(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        world = self._world
        if inspect.iscoroutinefunction(call):

            async def wrapped_async(*args: Any, **kwargs: Any) -> Any:
                await world.arrive(name)
                dies = world.before(name)
                try:
                    result = await call(*args, **kwargs)
                finally:
                    await world.depart(name)
                world.after(name, dies)
                return result

            return wrapped_async

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            dies = world.before(name)
            result = call(*args, **kwargs)
            if name in OPENING:
                world.opened(result)
            world.after(name, dies)
            return _Proxy(world, name, result) if hasattr(result, "read") or hasattr(result, "commit") else result

        return wrapped

    def __enter__(self) -> Self:
        self._port.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._world.dead:  # a killed process leaves its temporary files
            self._port.__exit__(kind, error, trace)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._port)
