"""What every fake provider keeps: a log of what ran, which tells the truth whatever its answers say, and how batches go
on by the clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from overnight.types import PicoUSD, Tokens


class NoAnswer(Exception):
    """The caller gets no answer: the connection is closed. What was asked may have been done."""


@dataclass(frozen=True, slots=True)
class Execution:
    """A row that ran, or was refused when its turn came (`tokens` None, cost 0)."""

    batch: str
    custom_id: str
    row: tuple[str, int]  # run tag and ordinal; without such an id, the id and 0
    at: float
    word: str
    tokens: Tokens | None
    cost: int  # pico-dollars
    account: str


class Books:
    """The log of executions, and of calls by their names; batches that were made, and files that are there, by id."""

    def __init__(self) -> None:
        self.executions: list[Execution] = []
        self.calls: list[str] = []
        self.made: dict[str, Any] = {}
        self.stored: dict[str, Any] = {}

    def executed_twice(self) -> list[str]:
        """Custom ids that ran more than once: paid twice for the same request."""
        ran = Counter(done.custom_id for done in self.executions if done.tokens is not None)
        return sorted(custom_id for custom_id, times in ran.items() if times > 1)

    def answered_twice(self) -> list[tuple[str, int]]:
        """Rows (run tag, ordinal) with more than one good answer that was handed out."""
        good = Counter(done.row for done in self.executions if done.word == "ok")
        return sorted(row for row, times in good.items() if times > 1)

    def invoice(self, account: str | None = None) -> PicoUSD:
        """What all rows that ran cost, of one account or all."""
        return PicoUSD(sum(done.cost for done in self.executions if account in (None, done.account)))

    def paid_batches(self) -> list[str]:
        """Batches in which something ran."""
        return sorted({done.batch for done in self.executions if done.tokens is not None})


class Running(Protocol):
    """A batch on its way. `done`: rows whose turn has come; `times` by name, `in_progress_at` among them."""

    status: str
    times: dict[str, float]
    done: int
    cancel_at: float | None

    @property
    def rows(self) -> Sequence[Any]:
        """What it holds."""

    @property
    def expires_at(self) -> float:
        """When it ends, finished or not."""


class Pace(Protocol):
    """How long a provider takes."""

    @property
    def cancel_takes(self) -> float:
        """Seconds from the wish to cancel to the end."""

    @property
    def finalizing(self) -> float:
        """Seconds from the last row to the end."""


Lived = TypeVar("Lived", bound=Running)


def advance(
    batch: Lived,
    now: float,
    pace: Pace,
    takes: float,
    run: Callable[[Lived, Any, float], None],
    finish: Callable[[Lived], None],
) -> None:
    """Bring a batch in progress to where it is at `now`: `run` is called for every row whose turn has come, `finish`
    once when it is over (`completed`, `cancelled` or `expired`). Rows take equal parts of `takes` seconds."""
    start = batch.times["in_progress_at"]
    cancel = batch.cancel_at if batch.cancel_at is not None else float("inf")
    last = min(now, batch.expires_at, cancel)
    count = len(batch.rows)
    while batch.done < count and (at := start + takes * ((batch.done + 1) / count)) <= last:
        row = batch.rows[batch.done]
        batch.done += 1
        run(batch, row, at)
    complete_at = start + takes
    if batch.cancel_at is not None and cancel < min(complete_at, batch.expires_at):
        if now >= cancel + pace.cancel_takes:
            _end(batch, "cancelled", cancel + pace.cancel_takes, finish)
        return
    if batch.done == count and complete_at <= batch.expires_at:
        if now >= complete_at + pace.finalizing:
            _end(batch, "completed", complete_at + pace.finalizing, finish)
        elif now >= complete_at:
            batch.status = "finalizing"
            batch.times["finalizing_at"] = complete_at
    elif now >= batch.expires_at:
        _end(batch, "expired", batch.expires_at, finish)


def _end(batch: Lived, status: str, at: float, finish: Callable[[Lived], None]) -> None:
    batch.times[f"{status}_at"] = at
    batch.status = status
    finish(batch)
