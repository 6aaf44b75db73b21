"""Mistral's batch jobs: its own object and words for what OpenAI has as well (contracts: 8)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from overnight.types import RemoteBatch
from overnight.wire.openai import objects
from overnight.wire.openai.failures import error_failure, not_json_failure
from overnight.wire.openai.lines import without_url as input_line

__all__ = ["batch_from", "error_failure", "input_line", "not_json_failure"]

_STATES = {
    "QUEUED": "validating",
    "RUNNING": "in_progress",
    "SUCCESS": "completed",
    "FAILED": "failed",
    "TIMEOUT_EXCEEDED": "expired",
    "CANCELLATION_REQUESTED": "cancelling",
    "CANCELLED": "cancelled",
}


def batch_from(document: object) -> RemoteBatch:
    """A job as the provider sent it, read as leniently as a batch of OpenAI's. Raises ValueError where it is none."""
    given = document if isinstance(document, Mapping) else {}
    status, files, errors = given.get("status"), given.get("input_files"), given.get("errors")
    told = {
        "id": given.get("id"),
        "status": _STATES.get(status, status) if isinstance(status, str) else None,
        "created_at": given.get("created_at"),
        "completed_at": given.get("completed_at"),
        "metadata": given.get("metadata"),
        "model": given.get("model"),
        "input_file_id": files[0] if isinstance(files, list) and len(files) == 1 else None,
        "output_file_id": given.get("output_file"),
        "error_file_id": given.get("error_file"),
        "errors": {"data": errors} if isinstance(errors, list) else None,
        "request_counts": {
            "total": given.get("total_requests"),
            "completed": given.get("succeeded_requests"),  # its own `completed_requests` counts failed ones as well
            "failed": given.get("failed_requests"),
        },
    }
    batch = objects.batch_from(told)
    return replace(batch, raw_status=status) if isinstance(status, str) else batch
