"""How a job goes on, while it does: a live picture on a terminal, lines elsewhere. Nothing for what is over at once."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from overnight.cli.asking import say
from overnight.cli.words import listed, moment, plural, span

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.live import Live

    from overnight.core.decide import Decision
    from overnight.data.planning import Summary
    from overnight.types import JobView

PATIENCE: Final = 2.0
"""Seconds of silence: what takes no longer shows no progress."""
QUIET: Final = 30.0
"""Most seconds between two lines."""
BUSY: Final = 10.0
"""Least seconds between two lines, however much happens."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What is worth telling of a view."""

    job: str
    rows: int
    done: int
    outcomes: dict[str, int]
    batches: dict[str, int]
    tokens: tuple[int, int]
    money: str
    latest: str

    def line(self) -> str:
        """All of it in one line."""
        parts = [f"{self.done:,} of {plural(self.rows, 'row')} done", listed(self.outcomes), self._batches()]
        return "; ".join(part for part in (*parts, self.money, self.latest) if part)

    def facts(self) -> Iterator[tuple[str, str]]:
        """All of it in a few."""
        yield "rows", f"{self.done:,} of {self.rows:,}   {listed(self.outcomes)}"
        yield "batches", listed(self.batches)
        if any(self.tokens):
            yield "tokens", f"{self.tokens[0]:,} in, {self.tokens[1]:,} out   {self.money}"
        if self.latest:
            yield "ends", self.latest

    def _batches(self) -> str:
        return f"batches: {listed(self.batches)}" if self.batches else ""


def shown(view: JobView) -> Shown:
    """The view's figures; what a provider counts in open batches counts as done."""
    from overnight.core.cost import dollars

    totals = view.totals
    seen = [batch.remote.counts for batch in view.open if batch.remote is not None]
    answered = sum(counts.succeeded + counts.errored for counts in seen)
    ends = [batch.remote.expires_at for batch in view.open if batch.remote is not None and batch.remote.expires_at]
    money = "" if not totals.ended else dollars(totals.cost) + (" and more" if totals.cost_unknown else "")
    if totals.cost_unknown and not totals.cost:
        money = "cost unknown"
    ended = totals.succeeded + totals.failed
    rows = max(totals.rows, ended + totals.backlog)  # rows that were mended may have been in no batch before
    return Shown(
        job=view.job.id,
        rows=rows,
        done=min(ended + answered, rows),
        outcomes={
            "succeeded": totals.succeeded,
            "failed": totals.failed,
            "to be sent again": totals.backlog,
            "answered, not collected": answered,
        },
        batches={state.value: number for state, number in totals.batches.items()},
        tokens=(totals.tokens.input, totals.tokens.output),
        money=money,
        latest=f"at the latest {moment(max(ends))}{_passed(view)}" if ends else "",
    )


def _passed(view: JobView) -> str:
    """Where the provider counts nothing before a batch has ended, time is all that tells how it goes on."""
    from overnight.types import Counts

    silent = [
        (remote.created_at, remote.expires_at)
        for batch in view.open
        if (remote := batch.remote) is not None and remote.counts == Counts(total=remote.counts.total)
    ]
    times = [(began, ends) for began, ends in silent if began is not None and ends is not None]
    if not times or len(silent) < len(view.open):
        return ""
    began, ends = min(times)
    share = min(max(0.0, time.time() - began) / max(1.0, ends - began), 1.0)
    return f" ({share:.0%} of {span(ends - began)} passed; nothing is counted yet)"


class Progress:
    """Hears of every look at the job. `looked`: something was heard, so the provider has answered."""

    def __init__(self, first: str) -> None:
        """`first`: what is shown until something is heard."""
        self.looked = False
        self._began = time.monotonic()
        self._first = first
        self._shown: Shown | None = None
        self._live: Live | None = None
        self._told: Shown | None = None
        self._told_at = self._began
        self._console: Console | None = None

    def look(self, view: JobView, decision: Decision | None = None) -> None:
        """The job as it is now."""
        self.looked = True
        self._shown = shown(view)
        self._tell()

    def planned(self, summary: Summary) -> None:
        """So much of the source is read and written as requests."""
        self._first = f"planning: {plural(summary.rows, 'row')} read, {plural(summary.requests, 'request')} written"
        self._tell()

    @contextmanager
    def showing(self) -> Iterator[None]:
        """Inside, what is heard is shown; what stands on the terminal is cleared in the end."""
        if _terminal():
            from rich.console import Console
            from rich.live import Live

            console = Console(stderr=True, highlight=False)
            with Live(_Picture(self), console=console, transient=True, refresh_per_second=4):
                yield
        else:
            yield

    @property
    def elapsed(self) -> float:
        """Seconds since it was made."""
        return time.monotonic() - self._began

    def facts(self) -> list[tuple[str, str]]:
        """What the picture holds now; empty while there is nothing to be patient about."""
        if self.elapsed < PATIENCE:
            return []
        if self._shown is None:
            return [("", f"{self._first}   {span(self.elapsed)}")]
        return [("job", f"{self._shown.job}   {span(self.elapsed)}"), *self._shown.facts()]

    def share(self) -> float | None:
        """How much is done, 0 to 1."""
        return None if self._shown is None else self._shown.done / max(self._shown.rows, 1)

    def _tell(self) -> None:
        """A line where there is no terminal: when something changed, or it has been quiet for long."""
        if _terminal() or self.elapsed < PATIENCE:
            return
        since = time.monotonic() - self._told_at
        changed = self._shown != self._told
        if since >= QUIET or (changed and (since >= BUSY or self._told is None)):
            self._told, self._told_at = self._shown, time.monotonic()
            text = self._first if self._shown is None else f"{self._shown.job}: {self._shown.line()}"
            say(f"{time.strftime('%H:%M:%S')} {text}")


def _terminal() -> bool:
    """Whether a live picture can be drawn."""
    import os

    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


class _Picture:
    """The live picture, drawn anew several times a second so that the time goes on."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        grid = Table.grid(padding=(0, 2))
        for name, value in self._progress.facts():
            grid.add_row(Text(name, "bold"), Text(value))
        yield grid
        share = self._progress.share()
        if share is not None and self._progress.elapsed >= PATIENCE:
            yield ProgressBar(total=1, completed=share, width=min(60, options.max_width))
