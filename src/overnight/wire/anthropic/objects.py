"""Batches, their lists, errors and result lines of the API: read (client) and built (server).

Unset fields are null, never absent, as at the provider; times are RFC 3339 in UTC with microseconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from overnight.types import Counts, FileId, Outcome, RemoteBatch, RemoteId, RemoteState

RESULTS = "results:"
"""What our name of a batch's results starts with; the batch's id follows."""
_STATES = {"canceling": RemoteState.CANCELING, "ended": RemoteState.ENDED}
_OUTCOMES = ("succeeded", "errored", "canceled", "expired")


def batch_from(document: object) -> RemoteBatch:
    """A batch object as the provider sent it, read leniently: an unknown status is in progress (`raw_status` has the
    word). Its results are the output file. Raises ValueError where it is no batch at all."""
    if not isinstance(document, Mapping) or not isinstance(document.get("id"), str) or not document["id"]:
        raise ValueError("not a batch object")
    status = document.get("processing_status")
    raw_status = status if isinstance(status, str) else "?"
    state = _STATES.get(raw_status, RemoteState.IN_PROGRESS)
    ended = state is RemoteState.ENDED
    counts = _counts(document.get("request_counts"))
    return RemoteBatch(
        id=RemoteId(document["id"]),
        state=state,
        raw_status=raw_status,
        created_at=seconds(document.get("created_at")),
        expires_at=seconds(document.get("expires_at")),
        ended_at=seconds(document.get("ended_at")),
        output_file=FileId(RESULTS + document["id"]) if ended else None,
        counts=counts,
        end=_end(counts) if ended else None,
    )


def batch_object(
    *,
    id: str,
    status: str,
    created_at: float,
    expires_at: float,
    processing: int = 0,
    succeeded: int = 0,
    errored: int = 0,
    canceled: int = 0,
    expired: int = 0,
    ended_at: float | None = None,
    cancel_initiated_at: float | None = None,
    archived_at: float | None = None,
    results_url: str | None = None,
) -> dict[str, Any]:
    """A message batch; times in unix seconds, statuses `in_progress`, `canceling`, `ended`. The counts always add up to
    the number of requests."""
    return {
        "id": id,
        "type": "message_batch",
        "processing_status": status,
        "request_counts": {
            "processing": processing,
            "succeeded": succeeded,
            "errored": errored,
            "canceled": canceled,
            "expired": expired,
        },
        "created_at": rfc3339(created_at),
        "expires_at": rfc3339(expires_at),
        "ended_at": None if ended_at is None else rfc3339(ended_at),
        "cancel_initiated_at": None if cancel_initiated_at is None else rfc3339(cancel_initiated_at),
        "archived_at": None if archived_at is None else rfc3339(archived_at),
        "results_url": results_url,
    }


def list_object(data: Sequence[Mapping[str, Any]], has_more: bool) -> dict[str, Any]:
    """A page of a list; the cursor of the next page is `last_id`."""
    return {
        "data": list(data),
        "has_more": has_more,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
    }


def deleted_object(id: str) -> dict[str, Any]:
    """What a batch that was deleted leaves."""
    return {"id": id, "type": "message_batch_deleted"}


def error_envelope(
    type: str, message: str, request_id: str | None = None, details: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The body of every error answer, and of an errored row; `type` is one of `failures.STATUSES`."""
    error: dict[str, Any] = {"type": type, "message": message}
    if details is not None:
        error["details"] = dict(details)
    return {"type": "error", "error": error, "request_id": request_id}


def succeeded_line(custom_id: str, message: bytes) -> bytes:
    """A result line, with its `\\n`, of a request that was answered; `message` is JSON without newlines."""
    return _line(custom_id, b'{"type":"succeeded","message":%s}' % message)


def errored_line(custom_id: str, error: Mapping[str, Any]) -> bytes:
    """A result line of a request that failed; `error` is an `error_envelope`."""
    return _line(custom_id, b'{"type":"errored","error":%s}' % orjson.dumps(error))


def canceled_line(custom_id: str) -> bytes:
    """A result line of a request that was canceled before it ran."""
    return _line(custom_id, b'{"type":"canceled"}')


def expired_line(custom_id: str) -> bytes:
    """A result line of a request whose batch expired before it ran."""
    return _line(custom_id, b'{"type":"expired"}')


def rfc3339(at: float) -> str:
    """`2026-09-02T20:08:22.123456Z`."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def seconds(value: object) -> float | None:
    """Unix seconds of an RFC 3339 time, None where it is none."""
    if not isinstance(value, str):
        return None
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return None
    return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()


def _line(custom_id: str, result: bytes) -> bytes:
    return b'{"custom_id":%s,"result":%s}\n' % (orjson.dumps(custom_id), result)


def _counts(value: object) -> Counts:
    if not isinstance(value, Mapping):
        return Counts()
    told = [_number(value.get(name)) for name in _OUTCOMES]
    return Counts(sum(told) + _number(value.get("processing")), *told)


def _number(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _end(counts: Counts) -> Outcome:
    """A canceled or expired batch is told by its rows only."""
    if counts.expired:
        return Outcome.EXPIRED
    return Outcome.CANCELED if counts.canceled else Outcome.SUCCEEDED
