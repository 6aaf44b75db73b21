"""Together's batches: its own object and words for what OpenAI has as well (contracts: 10)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from overnight.types import RemoteBatch
from overnight.wire.openai import objects
from overnight.wire.openai.failures import error_failure, not_json_failure
from overnight.wire.openai.lines import without_url as input_line

__all__ = ["batch_from", "error_failure", "input_line", "not_json_failure"]

_STATES = {"CANCELING": "cancelling"}


def batch_from(document: object) -> RemoteBatch:
    """A job, bare or as the answer of a create holds it. It has no counters, times are text, and what is not known is
    absent. Raises ValueError where it is none."""
    given = document if isinstance(document, Mapping) else {}
    job = given.get("job", given)
    given = job if isinstance(job, Mapping) else {}
    status, error = given.get("status"), given.get("error")
    told = {
        "id": given.get("id"),
        "status": _STATES.get(status, status.lower()) if isinstance(status, str) else None,
        "created_at": _seconds(given.get("created_at")),
        "expires_at": _seconds(given.get("job_deadline")),
        "completed_at": _seconds(given.get("completed_at")),
        "model": given.get("model_id"),
        "input_file_id": given.get("input_file_id"),
        "output_file_id": given.get("output_file_id"),
        "error_file_id": given.get("error_file_id"),
        "errors": {"data": [{"message": error}]} if isinstance(error, str) else None,
    }
    batch = objects.batch_from(told)
    return replace(batch, raw_status=status) if isinstance(status, str) else batch


def _seconds(value: object) -> float | None:
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
