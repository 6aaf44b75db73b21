"""Sums over a job's batches, made by the database: a few rows come back, whatever the job's size."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, Connection, Row, and_, bindparam, func, select

from overnight.stores.schema import batches, shards, tallies
from overnight.types import FINAL_STATES, OPEN_STATES, BatchState, JobId, JobTotals, PicoUSD, Tokens

# The statements are made once: building them takes ten times as long as SQLite takes to answer.

_b = batches.c
_job: BindParameter[str] = bindparam("job")

WAITING = and_(_b.backlog_taken.is_(False), _b.retryable > 0)
"""Batches with retryable rows that no follow-up has taken."""

UNCLEANED = and_(_b.cleaned.is_(False), _b.state.in_(sorted(FINAL_STATES)), _b.submitted_at.is_not(None))
"""Batches that are over and may have left files at the provider (an upload whose answer was lost has no file id)."""

_counts = _b.duplicate_of.is_(None)  # the rows of a duplicate are another batch's; its money is its own

_NOT_TAKEN = frozenset({BatchState.ABSENT, BatchState.FAILED})
"""What was sent in these states did not run."""


def _sum(value: ColumnElement[Any], *only: ColumnElement[bool]) -> ColumnElement[Any]:
    return func.coalesce(func.sum(value).filter(*only) if only else func.sum(value), 0)


_BY_STATE = (
    select(
        _b.state,
        func.count().label("batches"),
        _sum(_b.rows, _b.submitted_at.is_not(None)).label("sent"),
        _sum(_b.ended, _counts).label("ended"),
        _sum(_b.succeeded, _counts).label("succeeded"),
        _sum(_b.retryable, _counts, _b.backlog_taken.is_(False)).label("backlog"),
        _sum(_b.ended - _b.succeeded - _b.taken, _counts).label("unsuccessful"),
        _sum(_b.input_tokens).label("input"),
        _sum(_b.cached_tokens).label("cached"),
        _sum(_b.output_tokens).label("output"),
        _sum(_b.reasoning_tokens).label("reasoning"),
        _sum(_b.written_tokens).label("written"),
        _sum(_b.cost).label("cost"),
        func.count().filter(_b.ended.is_not(None), _b.cost.is_(None)).label("cost_unknown"),
        _sum(_b.unknown_rows).label("unknown_rows"),
        _sum(_b.tokens_ceiling).label("tokens_ceiling"),
        _sum(_b.max_output).label("max_output"),
        func.count().filter(UNCLEANED).label("uncleaned"),
    )
    .where(_b.job_id == _job)
    .group_by(_b.state)
    .order_by(_b.state)
)

_original = batches.alias("original")

_FIRST_ROWS = select(_sum(shards.c.rows)).where(shards.c.job_id == _job, shards.c.generation == 0)

_TWIN_ROWS = (
    select(_sum(shards.c.rows))
    .select_from(batches.join(shards, _b.shard_id == shards.c.id).join(_original, _original.c.id == _b.duplicate_of))
    .where(_b.job_id == _job, _b.duplicate_of.is_not(None))
    .where(shards.c.generation == 0, _original.c.shard_id != shards.c.id)
)

_TALLIED = (
    select(tallies.c.about, tallies.c.name, _sum(tallies.c.rows))
    .where(tallies.c.job_id == _job)
    .group_by(tallies.c.about, tallies.c.name)
    .order_by(tallies.c.about, tallies.c.name)
)


def job_totals(connection: Connection, job_id: JobId) -> JobTotals:
    """The sums of one job."""
    by_state = {BatchState(row.state): row for row in connection.execute(_BY_STATE, {"job": job_id}).all()}
    kinds, labels = _tallied(connection, job_id)
    every = by_state.values()
    backlog = _total(every, "backlog")
    still_open = [row for state, row in by_state.items() if state in OPEN_STATES]
    tokens = Tokens(*(_total(every, name) for name in ("input", "cached", "output", "reasoning", "written")))
    return JobTotals(
        batches={state: row.batches for state, row in by_state.items()},
        rows=_rows(connection, job_id),
        sent=_total((row for state, row in by_state.items() if state not in _NOT_TAKEN), "sent"),
        ended=_total(every, "ended"),
        succeeded=_total(every, "succeeded"),
        backlog=backlog,
        failed=_total(every, "unsuccessful") - backlog,
        kinds=kinds,
        labels=labels,
        tokens=tokens,
        cost=PicoUSD(_total(every, "cost")),
        cost_unknown=_total(every, "cost_unknown"),
        unknown_rows=_total(every, "unknown_rows"),
        open_tokens=_total(still_open, "tokens_ceiling"),
        open_max_output=_total(still_open, "max_output"),
        uncleaned=_total(every, "uncleaned"),
    )


def _total(rows: Iterable[Row[Any]], name: str) -> int:
    return sum(int(getattr(row, name)) for row in rows)  # PostgreSQL's sums are decimals


def _rows(connection: Connection, job_id: JobId) -> int:
    """Rows of first-round shards, without shards of duplicates: those hold the rows of another shard."""
    first, twins = (connection.execute(query, {"job": job_id}).scalar_one() for query in (_FIRST_ROWS, _TWIN_ROWS))
    return int(first) - int(twins)


def _tallied(connection: Connection, job_id: JobId) -> tuple[dict[str, int], dict[str, int]]:
    """Rows by kind of failure, and by label."""
    found: dict[str, dict[str, int]] = {"kind": {}, "label": {}}
    for about, name, rows in connection.execute(_TALLIED, {"job": job_id}):
        found[about][name] = int(rows)
    return found["kind"], found["label"]
