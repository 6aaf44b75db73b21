"""A job as a document for machines, and in a word."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from overnight.cli.words import iso

if TYPE_CHECKING:
    from overnight.api import Status
    from overnight.types import Batch


def state_word(status: Status) -> str:
    """`unplanned`, `finished`, `canceled`, `held`, `running`, or `waiting`: for somebody to run it."""
    job = status.job
    if job.planned is None:
        return "unplanned"
    if status.finished:
        return "canceled" if job.cancel_requested else "finished"
    if job.hold is not None:
        return "held"
    return "running" if status.running else "waiting"


def job_document(status: Status) -> dict[str, Any]:
    """The job with its sums; money in US dollars, times in UTC."""
    job, totals = status.job, status.totals
    return {
        "job": job.id,
        "name": job.name,
        "project": job.project,
        "tags": list(job.tags),
        "state": state_word(status),
        "running": status.running,
        "hold": None if job.hold is None else {"kind": job.hold.kind, "message": job.hold.message},
        "model": status.spec.model,
        "source": status.spec.source,
        "output": job.output,
        "account": None if job.account is None else job.account.name,
        "created_at": iso(job.created_at),
        "rows": {
            "sent_once": totals.rows,
            "succeeded": totals.succeeded,
            "failed": totals.failed,
            "to_retry": totals.backlog,
            "unknown": totals.unknown_rows,
        },
        "failures_by_kind": dict(totals.kinds),
        "labels": dict(totals.labels),
        "batches": {state.value: number for state, number in totals.batches.items()},
        "tokens": {
            "input": totals.tokens.input,
            "cached": totals.tokens.cached,
            "written": totals.tokens.written,
            "output": totals.tokens.output,
            "reasoning": totals.tokens.reasoning,
        },
        "cost_usd": None if totals.cost_unknown and not totals.cost else totals.cost / 1e12,
        "batches_of_unknown_cost": totals.cost_unknown,
    }


def batch_document(batch: Batch, results_until: float | None) -> dict[str, Any]:
    """One batch. `results_until`: until when the provider keeps its answers; `proved` false: it was taken for the
    remote one because nothing else fitted, and an answer is to tell."""
    remote, totals = batch.remote, batch.totals
    counts = totals.counts if totals is not None else remote.counts if remote is not None else None
    return {
        "batch": batch.id,
        "remote": None if remote is None else remote.id,
        "state": batch.state.value,
        "provider_status": None if remote is None else remote.raw_status,
        "proved": batch.proved,
        "model": batch.model,
        "generation": batch.shard.generation,
        "rows": batch.shard.rows,
        "submitted_at": iso(batch.submitted_at),
        "first_seen_at": iso(batch.first_seen_at),
        "latest_end": iso(None if remote is None else remote.expires_at),
        "ended_at": iso(batch.ended_at),
        "succeeded": None if counts is None else counts.succeeded,
        "errored": None if counts is None else counts.errored,
        "canceled": None if counts is None else counts.canceled,
        "expired": None if counts is None else counts.expired,
        "input_tokens": None if totals is None else totals.tokens.input,
        "output_tokens": None if totals is None else totals.tokens.output,
        "cost_usd": None if totals is None or totals.cost is None else totals.cost / 1e12,
        "results_until": iso(results_until),
        "failure": None if batch.failure is None else batch.failure.message,
    }
