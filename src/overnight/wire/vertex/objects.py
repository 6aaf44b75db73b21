"""Batch prediction jobs: read (client) and built (fake). Names, states and fields as in contracts 5.1 and 5.2."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from overnight.types import Counts, FileId, Outcome, RemoteBatch, RemoteId, RemoteState, Tag
from overnight.wire.vertex.failures import job_failure, ran_in_vain

TAG_LABEL: Final = "overnight_tag"
"""Label that holds our tag."""

_STATES: Final = {
    "JOB_STATE_CANCELLING": RemoteState.CANCELING,
    "JOB_STATE_SUCCEEDED": RemoteState.ENDED,
    "JOB_STATE_PARTIALLY_SUCCEEDED": RemoteState.ENDED,
    "JOB_STATE_CANCELLED": RemoteState.ENDED,
    "JOB_STATE_EXPIRED": RemoteState.ENDED,
    "JOB_STATE_FAILED": RemoteState.FAILED,
}
_ENDS: Final = {
    "JOB_STATE_SUCCEEDED": Outcome.SUCCEEDED,
    "JOB_STATE_PARTIALLY_SUCCEEDED": Outcome.SUCCEEDED,
    "JOB_STATE_CANCELLED": Outcome.CANCELED,
    "JOB_STATE_EXPIRED": Outcome.EXPIRED,
}
_LABEL = re.compile(r"[a-z0-9_-]{1,63}")
_PUBLISHED = "publishers/google/models/"


def batch_from(document: object) -> RemoteBatch:
    """A job as the service sent it, read leniently: an unknown state is in progress (`raw_status` has the word), a
    negative count is none. A job that failed when its answers were to be written has ended: its rows ran. The id is the
    last part of the job's name. Raises ValueError where it is no job at all."""
    if not isinstance(document, Mapping) or not isinstance(document.get("name"), str) or not document["name"]:
        raise ValueError("not a batch prediction job")
    raw_status = document["state"] if isinstance(document.get("state"), str) else "?"
    state = _STATES.get(raw_status, RemoteState.IN_PROGRESS)
    failure = job_failure(document.get("error")) if state is RemoteState.FAILED else None
    if failure is not None and ran_in_vain(document.get("error")):
        state = RemoteState.ENDED
    tag, model = _at(document, "labels", TAG_LABEL), document.get("model")
    uris = _at(document, "inputConfig", "gcsSource", "uris")
    source = uris[0] if isinstance(uris, list) and uris else None
    folder = _at(document, "outputInfo", "gcsOutputDirectory")
    return RemoteBatch(
        id=RemoteId(document["name"].rpartition("/")[2]),
        state=state,
        raw_status=raw_status,
        created_at=seconds(document.get("createTime")),
        ended_at=seconds(document.get("endTime")),
        tag=Tag(tag) if isinstance(tag, str) else None,
        input_file=FileId(source) if isinstance(source, str) and source else None,
        output_file=FileId(folder.rstrip("/") + "/") if isinstance(folder, str) and folder else None,
        counts=_counts(document.get("completionStats")),
        failure=failure,
        end=_ENDS.get(raw_status),
        model=model.removeprefix(_PUBLISHED) if isinstance(model, str) and model else None,
    )


def create_body(
    *, model: str, input_uri: str, output_prefix: str, display_name: str, labels: Mapping[str, str]
) -> dict[str, Any]:
    """What asks for a job. A model without a slash is one that Google publishes; labels that the service would refuse
    are left out."""
    return {
        "displayName": display_name,
        "model": model if "/" in model else _PUBLISHED + model,
        "inputConfig": {"instancesFormat": "jsonl", "gcsSource": {"uris": [input_uri]}},
        "outputConfig": {"predictionsFormat": "jsonl", "gcsDestination": {"outputUriPrefix": output_prefix}},
        "labels": {name: value for name, value in labels.items() if is_label(name) and is_label(value)},
    }


def job_object(
    *,
    name: str,
    asked: Mapping[str, Any],
    state: str,
    created_at: float,
    updated_at: float,
    started_at: float | None = None,
    ended_at: float | None = None,
    output_directory: str | None = None,
    error: Mapping[str, Any] | None = None,
    succeeded: int | None = None,
    failed: int | None = None,
    incomplete: int | None = None,
) -> dict[str, Any]:
    """A job: `asked` as it was created, and what became of it. Counts None: there are no statistics (yet)."""
    counts = {"successfulCount": succeeded, "failedCount": failed, "incompleteCount": incomplete}
    stats = {"completionStats": {field: str(count or 0) for field, count in counts.items()}}
    return {
        "name": name,
        **{
            field: asked[field]
            for field in ("displayName", "model", "inputConfig", "outputConfig", "labels")
            if asked.get(field)
        },
        **({} if output_directory is None else {"outputInfo": {"gcsOutputDirectory": output_directory}}),
        "state": state,
        **({} if error is None else {"error": dict(error)}),
        **({} if succeeded is None else stats),
        "createTime": timestamp(created_at),
        **({} if started_at is None else {"startTime": timestamp(started_at)}),
        **({} if ended_at is None else {"endTime": timestamp(ended_at)}),
        "updateTime": timestamp(updated_at),
        "modelVersionId": "1",
    }


def list_object(jobs: Sequence[Mapping[str, Any]], next_page: str | None) -> dict[str, Any]:
    """A page of jobs; one without jobs has no field of them."""
    return {
        **({"batchPredictionJobs": list(jobs)} if jobs else {}),
        **({} if next_page is None else {"nextPageToken": next_page}),
    }


def result_line(custom_id: bytes, request: bytes, response: bytes, processed: str) -> bytes:
    """A line of the predictions for a row that was answered, with its `\\n`. Everything but the last is JSON; so is the
    id, as it came in."""
    return b'{"key":%s,"status":"","processed_time":"%s","request":%s,"response":%s}\n' % (
        custom_id,
        processed.encode(),
        request,
        response,
    )


def error_line(custom_id: bytes, request: bytes, status: str, processed: str) -> bytes:
    """A line of the predictions for a row that was refused, with its `\\n`."""
    return b'{"key":%s,"status":%s,"processed_time":"%s","request":%s}\n' % (
        custom_id,
        orjson.dumps(status),
        processed.encode(),
        request,
    )


def is_label(text: str) -> bool:
    """Whether the service takes it as key or value of a label."""
    return _LABEL.fullmatch(text) is not None


def seconds(text: object) -> float | None:
    """Unix seconds of a time as Google writes it (nanoseconds and all), None where it is none."""
    if not isinstance(text, str):
        return None
    try:
        return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text)).timestamp()
    except ValueError:
        return None


def timestamp(at: float) -> str:
    """A time as Google writes it, in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _at(document: object, *path: str) -> Any:
    for name in path:
        document = document.get(name) if isinstance(document, Mapping) else None
    return document


def _counts(stats: object) -> Counts:
    succeeded, failed, left = (_count(stats, name) for name in ("successfulCount", "failedCount", "incompleteCount"))
    return Counts(total=succeeded + failed + left, succeeded=succeeded, errored=failed)


def _count(stats: object, name: str) -> int:
    value = stats.get(name) if isinstance(stats, Mapping) else None
    try:
        return max(0, int(value)) if isinstance(value, str | int) else 0
    except ValueError:
        return 0
