"""Batches at the fake Anthropic, and everything that it can do besides its best."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from overnight.testing.anthropic_rows import Row
from overnight.types import Counts
from overnight.wire import anthropic as wire

_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
PATTERN = "^[a-zA-Z0-9_-]{1,64}$"
OVER = frozenset({"completed", "cancelled", "expired"})


@dataclass(frozen=True, slots=True)
class Quirks:
    """What the provider does besides its best: each field a switch. Q-A1 to Q-A8 were seen at the real one, or reported
    of it.

    Fields that hold numbers of calls count calls of that kind from 0. `*_every` n: each row whose ordinal plus one is a
    multiple of n, at its first attempt; 0: none.
    """

    list_lag: float = 0.0  # Q-A1: seconds that a fresh batch is in no list and 404
    results_lag: float = 0.0  # Q-A1: seconds after the end in which results are 404
    all_fail: bool = False  # Q-A2: every row errored
    empty_results: bool = False  # Q-A2: an empty body, though all rows ran
    missing_every: int = 0  # Q-A2: rows in no line, though they ran
    error_every: int = 0  # rows errored (500)
    foreign_url: bool = False  # Q-A3: `results_url` names a host that nobody can reach
    counters_move: bool = False  # Q-A4: counts follow the rows; else they stay 0 until the end
    most_bytes: int = 256_000_000  # Q-A5: of a create
    cache_hits: float = 0.64  # Q-A7: the share of rows that read a marked prefix from the cache
    least_cached: int = 1_024  # Q-A7: tokens of the shortest prefix that is kept
    spend_limit_after: int | None = None  # Q-A8: creates that pass before every further one meets the spend limit
    spend_rows_after: int | None = None  # Q-A8: the same of rows
    window: float = 86_400.0  # seconds to expiry
    cancel_takes: float = 25.0  # seconds in canceling
    finalizing: float = 0.0  # seconds from the last row to the end
    cancel_refused: bool = True  # 400 for the cancel of a batch that is over (unverified); else 200
    lost_creates: frozenset[int] = frozenset()  # accepted, the answer lost
    failed_creates: frozenset[int] = frozenset()  # accepted, answered 500
    late_creates: Mapping[int, float] = field(default_factory=dict)  # no answer; it arrives seconds later
    cut_downloads: frozenset[int] = frozenset()  # end half way
    cut_cleanly: bool = False  # and look whole: a shorter length is announced
    bursts: frozenset[int] = frozenset()  # of all calls: answered 529, nothing done
    names_account: bool = True  # organisation and workspace in the answers' headers
    home: str | None = None  # names itself our own server of this home


@dataclass(slots=True)
class FakeBatch:
    """A batch as the provider keeps it."""

    id: str
    account: str
    created_at: float
    rows: list[Row]
    window: float
    status: str = "in_progress"
    times: dict[str, float] = field(default_factory=dict)
    done: int = 0  # rows whose turn has come
    lines: list[bytes] = field(default_factory=list)
    succeeded: int = 0
    errored: int = 0
    cancel_at: float | None = None

    @property
    def over(self) -> bool:
        """Whether its results can be had."""
        return self.status in OVER

    @property
    def expires_at(self) -> float:
        """When it ends, finished or not."""
        return self.created_at + self.window

    @property
    def ended_at(self) -> float | None:
        """When it was over."""
        return self.times[f"{self.status}_at"] if self.over else None

    def counts(self) -> Counts:
        """Requests by outcome."""
        left = len(self.rows) - self.done
        canceled, expired = (left if self.status == status else 0 for status in ("cancelled", "expired"))
        return Counts(len(self.rows), self.succeeded, self.errored, canceled, expired)

    def document(self, quirks: Quirks, root: str) -> dict[str, Any]:
        """The batch object; `root` is where the API is reached."""
        told = self.counts() if self.over or quirks.counters_move else Counts(total=len(self.rows))
        canceling = self.cancel_at is not None
        host = "http://results.invalid" if quirks.foreign_url else root
        return wire.batch_object(
            id=self.id,
            status="ended" if self.over else "canceling" if canceling else "in_progress",
            created_at=self.created_at,
            expires_at=self.expires_at,
            processing=told.total - told.succeeded - told.errored - told.canceled - told.expired,
            succeeded=told.succeeded,
            errored=told.errored,
            canceled=told.canceled,
            expired=told.expired,
            ended_at=self.ended_at,
            cancel_initiated_at=self.cancel_at,
            results_url=f"{host}/v1/messages/batches/{self.id}/results" if self.over else None,
        )


def rows_of(requests: Iterable[Any]) -> list[Row]:
    """The entries of a create's list. Raises ValueError with the provider's words for the first that is none."""
    rows: dict[str, Row] = {}
    for number, entry in enumerate(requests):
        where = f"requests.{number}.custom_id"
        custom_id = entry.get("custom_id") if isinstance(entry, Mapping) else None
        if not isinstance(custom_id, str):
            raise ValueError(f"{where}: Field required")
        if len(custom_id) > 64:
            raise ValueError(f"{where}: String should have at most 64 characters")
        if not _ID.fullmatch(custom_id):
            raise ValueError(f"{where}: String should match pattern '{PATTERN}'")
        if custom_id in rows:
            known = "custom_id's must be unique within a batch. Duplicate custom_id found:"
            raise ValueError(f"requests: {known} {custom_id}")
        params = entry.get("params")
        rows[custom_id] = Row(custom_id, params if isinstance(params, Mapping) else {})
    if not rows:
        raise ValueError("requests: List should have at least 1 item after validation, not 0")
    return list(rows.values())
