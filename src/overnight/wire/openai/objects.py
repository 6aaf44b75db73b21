"""Batches, files, lists and errors of the API: read (client) and built (server).

Unset fields are null, never absent, as at the provider.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from overnight.types import Counts, FileId, Outcome, RemoteBatch, RemoteId, RemoteState, Tag, Tokens
from overnight.wire.openai.failures import batch_failure

TAG_KEY = "overnight_tag"
"""Key of our tag in a batch's metadata."""

_STATES = {
    "cancelling": RemoteState.CANCELING,
    "completed": RemoteState.ENDED,
    "expired": RemoteState.ENDED,
    "cancelled": RemoteState.ENDED,
    "failed": RemoteState.FAILED,
}
_ENDS = {"completed": Outcome.SUCCEEDED, "expired": Outcome.EXPIRED, "cancelled": Outcome.CANCELED}
MOST_TOKENS = 10_000_000_000
"""No batch has more: a usage that says so says nothing."""
_TIMES = (
    "in_progress_at",
    "finalizing_at",
    "completed_at",
    "failed_at",
    "expired_at",
    "cancelling_at",
    "cancelled_at",
)


def batch_from(document: object) -> RemoteBatch:
    """A batch object as the provider sent it, read leniently: an unknown status is in progress (`raw_status` has the
    word), an empty file id is none. Raises ValueError where it is no batch at all."""
    if not isinstance(document, Mapping) or not isinstance(document.get("id"), str) or not document["id"]:
        raise ValueError("not a batch object")
    status = document.get("status")
    raw_status = status if isinstance(status, str) else "?"
    state = _STATES.get(raw_status, RemoteState.IN_PROGRESS)
    metadata = document.get("metadata")
    tag = metadata.get(TAG_KEY) if isinstance(metadata, Mapping) else None
    ended = (_time(document.get(name)) for name in ("completed_at", "failed_at", "expired_at", "cancelled_at"))
    return RemoteBatch(
        id=RemoteId(document["id"]),
        state=state,
        raw_status=raw_status,
        created_at=_time(document.get("created_at")),
        expires_at=_time(document.get("expires_at")),
        ended_at=next((at for at in ended if at is not None), None),
        tag=Tag(tag) if isinstance(tag, str) else None,
        input_file=_file(document.get("input_file_id")),
        output_file=_file(document.get("output_file_id")),
        error_file=_file(document.get("error_file_id")),
        counts=_counts(document.get("request_counts")),
        usage=_usage(document.get("usage")),
        failure=batch_failure(document.get("errors")) if state is RemoteState.FAILED else None,
        end=_ENDS.get(raw_status),
        model=_file(document.get("model")),
    )


def batch_object(
    *,
    id: str,
    endpoint: str,
    input_file_id: str,
    status: str,
    created_at: int,
    expires_at: int | None,
    completion_window: str = "24h",
    model: str | None = None,
    errors: Sequence[Mapping[str, Any]] | None = None,
    output_file_id: str | None = None,
    error_file_id: str | None = None,
    times: Mapping[str, int | None] | None = None,
    total: int = 0,
    completed: int = 0,
    failed: int = 0,
    usage: Tokens | None = None,
    metadata: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """A batch object. `times`: the `*_at` fields that are set; `errors`: entries of `code, message, param, line`."""
    given = times or {}
    tokens = usage or Tokens()
    return {
        "id": id,
        "object": "batch",
        "endpoint": endpoint,
        "model": model,
        "errors": None if errors is None else {"object": "list", "data": [dict(error) for error in errors]},
        "input_file_id": input_file_id,
        "completion_window": completion_window,
        "status": status,
        "output_file_id": output_file_id,
        "error_file_id": error_file_id,
        "created_at": created_at,
        "expires_at": expires_at,
        **{name: given.get(name) for name in _TIMES},
        "request_counts": {"total": total, "completed": completed, "failed": failed},
        "usage": {
            "input_tokens": tokens.input,
            "input_tokens_details": {"cached_tokens": tokens.cached},
            "output_tokens": tokens.output,
            "output_tokens_details": {"reasoning_tokens": tokens.reasoning},
            "total_tokens": tokens.input + tokens.output,
        },
        "metadata": None if metadata is None else dict(metadata),
    }


def file_object(
    *,
    id: str,
    size: int,
    created_at: int,
    filename: str,
    purpose: str,
    expires_at: int | None = None,
    status: str = "processed",
) -> dict[str, Any]:
    """A file object; `size` in bytes, purposes `batch` and `batch_output`."""
    return {
        "id": id,
        "object": "file",
        "bytes": size,
        "created_at": created_at,
        "expires_at": expires_at,
        "filename": filename,
        "purpose": purpose,
        "status": status,
        "status_details": None,
    }


def list_object(data: Sequence[Mapping[str, Any]], has_more: bool) -> dict[str, Any]:
    """A page of a list; the cursor of the next page is `last_id`."""
    return {
        "object": "list",
        "data": list(data),
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": has_more,
    }


def error_envelope(
    message: str, type: str = "invalid_request_error", param: str | None = None, code: str | None = None
) -> dict[str, Any]:
    """The body of every error answer."""
    return {"error": {"message": message, "type": type, "param": param, "code": code}}


def output_line(id: str, custom_id: str, status: int, request_id: str, body: bytes) -> bytes:
    """A line of an output file (2xx) or of an error file (other statuses), with its `\\n`; `body` is JSON without
    newlines."""
    return b'{"id":%s,"custom_id":%s,"response":{"status_code":%d,"request_id":%s,"body":%s},"error":null}\n' % (
        orjson.dumps(id),
        orjson.dumps(custom_id),
        status,
        orjson.dumps(request_id),
        body,
    )


def error_line(id: str, custom_id: str, code: str, message: str) -> bytes:
    """A line of an error file for a request that was not executed (`batch_expired`, `batch_cancelled`), with `\\n`."""
    return b'{"id":%s,"custom_id":%s,"response":null,"error":%s}\n' % (
        orjson.dumps(id),
        orjson.dumps(custom_id),
        orjson.dumps({"code": code, "message": message}),
    )


def _time(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _file(value: object) -> FileId | None:
    return FileId(value) if isinstance(value, str) and value else None


def _number(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _counts(value: object) -> Counts:
    if not isinstance(value, Mapping):
        return Counts()
    return Counts(_number(value.get("total")), _number(value.get("completed")), _number(value.get("failed")))


def _usage(value: object) -> Tokens | None:
    if not isinstance(value, Mapping) or not isinstance(value.get("input_tokens"), int):
        return None
    told = Tokens(
        _number(value["input_tokens"]),
        _part(value.get("input_tokens_details"), "cached_tokens"),
        _number(value.get("output_tokens")),
        _part(value.get("output_tokens_details"), "reasoning_tokens"),
    )
    return told if max(told.input, told.cached, told.output, told.reasoning) <= MOST_TOKENS else None


def _part(details: object, name: str) -> int:
    return _number(details.get(name)) if isinstance(details, Mapping) else 0
