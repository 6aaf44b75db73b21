"""Numbers, money, times and tables as people read them."""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta


def plural(number: int, noun: str, nouns: str | None = None) -> str:
    """`1 row`, `2,000 rows`."""
    return f"{number:,} {noun if number == 1 else nouns or noun + 's'}"


def listed(counts: Mapping[str, int]) -> str:
    """`1,200 succeeded, 3 failed`: what is not zero."""
    return ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items() if count)


def size(number: float) -> str:
    """Bytes: `812 bytes`, `1.4 MB`."""
    if number < 1000:
        return f"{number:.0f} bytes"
    for unit in ("kB", "MB", "GB"):
        number /= 1000
        if number < 1000 or unit == "GB":
            break
    return f"{number:.1f} {unit}"


def span(seconds: float) -> str:
    """How long: `4.2 s`, `3:07`, `2:15:09`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def moment(at: float | None, now: float | None = None) -> str:
    """Local time: `today 18:05`, `tomorrow 06:10`, `yesterday 23:59`, else `28 Nov 06:10`; nothing for None."""
    if at is None:
        return ""
    when = datetime.fromtimestamp(at).astimezone()
    today = datetime.fromtimestamp(time.time() if now is None else now).astimezone().date()
    days = {today - timedelta(1): "yesterday", today: "today", today + timedelta(1): "tomorrow"}
    day = days.get(when.date())
    if day is None:
        day = f"{when.day} {when:%b}" if when.year == today.year else f"{when.day} {when:%b %Y}"
    return f"{day} {when:%H:%M}"


def iso(at: float | None) -> str | None:
    """UTC for machines: `2026-11-25T06:10:00Z`."""
    return None if at is None else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def table(head: Sequence[str], rows: Iterable[Sequence[str]], right: frozenset[int] = frozenset()) -> str:
    """Columns set by width, two blanks apart; those in `right` are numbers."""
    cells = [list(head), *map(list, rows)]
    widths = [max(_width(row[at]) for row in cells) for at in range(len(head))]
    lines = []
    for row in cells:
        padded = (_pad(cell, widths[at], at in right) for at, cell in enumerate(row))
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def facts(rows: Iterable[tuple[str, str]]) -> str:
    """Names and what they are, two columns; later lines of a value stand under its first."""
    given = [(name, value) for name, value in rows if value]
    width = max((len(name) for name, _ in given), default=0)
    return "\n".join(f"{name:<{width}}  {value}".replace("\n", "\n" + " " * (width + 2)) for name, value in given)


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def _pad(text: str, width: int, right: bool) -> str:
    blanks = " " * (width - _width(text))
    return blanks + text if right else text + blanks


def cut(text: str, lines: int, columns: int = 100) -> str:
    """The start of a text that fits on a screen."""
    kept = [line if len(line) <= columns else f"{line[: columns - 1]}…" for line in text.splitlines()]
    if len(kept) > lines:
        kept = [*kept[: lines - 1], f"… {plural(len(kept) - lines + 1, 'more line')}"]
    return "\n".join(kept)
