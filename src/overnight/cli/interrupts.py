"""Ctrl-C: the first asks to stop, the second ends at once."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Self

from overnight.cli.ends import INTERRUPTED

_FIRST = b"\nstopping after the calls under way; Ctrl-C again ends at once\n"
_SECOND = b"\x1b[?25h\nended at once; nothing is lost: the same command goes on\n"


class Interrupts:
    """Inside its `with`, SIGINT and SIGTERM set `asked`; a second one ends the process, which is safe at any moment:
    what counts is on the disk before it counts."""

    def __init__(self) -> None:
        self.asked = False
        self.on_first: Callable[[], None] | None = None
        """Called at the first signal."""
        self._before: dict[int, Any] = {}

    def stop(self) -> bool:
        """Whether the user asked to stop."""
        return self.asked

    @contextlib.contextmanager
    def off(self) -> Iterator[None]:
        """Inside, Ctrl-C raises KeyboardInterrupt, as it does by default, and so does one that came before: for
        questions."""
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            if self.asked:
                raise KeyboardInterrupt
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._caught)
        return self

    def __exit__(self, *exc: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def _caught(self, number: int, frame: FrameType | None) -> None:
        # Written past the streams: the signal may have come in the middle of one of their writes.
        with contextlib.suppress(OSError):
            os.write(2, _SECOND if self.asked else _FIRST)
        if self.asked:
            os._exit(INTERRUPTED)
        self.asked = True
        if self.on_first is not None:
            self.on_first()
