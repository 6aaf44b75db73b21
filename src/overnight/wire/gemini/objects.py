"""Operations (batches), files and errors of the API: read (client) and built (server).

A batch is a long-running operation whose `metadata` says all of it. Counts are 64-bit integers, and so texts; zeros are
left out.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from overnight.types import Counts, Failure, FailureKind, FileId, Outcome, RemoteBatch, RemoteId, RemoteState, Tag
from overnight.wire.gemini.answers import field, number
from overnight.wire.gemini.failures import STATUSES, ErrorFields, fields_from, kind_of, row_message

INLINE = "inline:"
"""Begins the id of answers that stand in the operation itself, which have no file."""

_STATES: Mapping[str, RemoteState] = {
    "SUCCEEDED": RemoteState.ENDED,
    "PARTIALLY_SUCCEEDED": RemoteState.ENDED,
    "FAILED": RemoteState.FAILED,
    "CANCELLED": RemoteState.ENDED,
    "EXPIRED": RemoteState.ENDED,
}
_ENDS: Mapping[str, Outcome] = {
    "SUCCEEDED": Outcome.SUCCEEDED,
    "PARTIALLY_SUCCEEDED": Outcome.SUCCEEDED,
    "CANCELLED": Outcome.CANCELED,
    "EXPIRED": Outcome.EXPIRED,
}
_TYPE = "type.googleapis.com/google.ai.generativelanguage.v1main."


def batch_from(document: object) -> RemoteBatch:
    """An operation as the provider sent it, read leniently: an unknown state is in progress. Raises ValueError where it
    is no operation of a batch."""
    name = document.get("name") if isinstance(document, Mapping) else None
    if not isinstance(document, Mapping) or not isinstance(name, str) or not name.startswith("batches/"):
        raise ValueError("not a batch operation")
    told = document.get("metadata")
    metadata: Mapping[str, Any] = told if isinstance(told, Mapping) else {}
    raw_status = str(field(metadata, "state") or "?")
    word = raw_status.removeprefix("BATCH_STATE_").removeprefix("JOB_STATE_")
    error = fields_from(document.get("error"))
    state = _STATES.get(word, RemoteState.IN_PROGRESS)
    if word not in _STATES and document.get("done") is True and error is not None:
        state = RemoteState.FAILED
    output = _output(document, metadata)
    stats = field(metadata, "batchStats")
    created = _time(field(metadata, "createTime"))
    tag = field(metadata, "displayName")
    return RemoteBatch(
        id=RemoteId(name),
        state=state,
        raw_status=raw_status,
        created_at=created,
        ended_at=_time(field(metadata, "endTime")) if state is not RemoteState.IN_PROGRESS else None,
        tag=Tag(tag) if isinstance(tag, str) else None,
        input_file=_file(field(field(metadata, "inputConfig"), "fileName")),
        output_file=output,
        counts=Counts(
            total=number(field(stats, "requestCount")),
            succeeded=number(field(stats, "successfulRequestCount")),
            errored=number(field(stats, "failedRequestCount")),
        ),
        failure=_failure(error) if state is RemoteState.FAILED else None,
        end=_ENDS.get(word),
        model=_model(field(metadata, "model")),
    )


def inlined_lines(document: Mapping[str, Any]) -> list[bytes]:
    """The answers that stand in an operation, as lines of an answer file. A row whose key did not come back has none,
    and the line says so by lacking one."""
    response = field(document, "response") or field(field(document, "metadata"), "output")
    rows = field(field(response, "inlinedResponses"), "inlinedResponses")
    if rows is None:
        rows = field(field(response, "inlinedEmbedContentResponses"), "inlinedResponses")
    lines = []
    for row in rows if isinstance(rows, list) else ():
        line = {name: row[name] for name in ("response", "error") if name in row}
        key = field(field(row, "metadata"), "key")
        if isinstance(key, str):
            line["key"] = key
        lines.append(orjson.dumps(line) + b"\n")
    return lines


def operation(
    *,
    id: str,
    model: str,
    state: str,
    created_at: float,
    updated_at: float,
    ended_at: float | None = None,
    display_name: str | None = None,
    input_file: str | None = None,
    responses_file: str | None = None,
    inlined: Sequence[Mapping[str, Any]] | None = None,
    counts: Counts | None = None,
    error: Mapping[str, Any] | None = None,
    embeddings: bool = False,
) -> dict[str, Any]:
    """A batch's operation. `id` without `batches/`, `state` without its prefix, `inlined`: rows of
    `{response | error, metadata}`, which a list leaves out."""
    kind = "EmbedContentBatch" if embeddings else "GenerateContentBatch"
    output: dict[str, Any] = {}
    if responses_file is not None:
        output["responsesFile"] = responses_file
    if inlined is not None:
        output["inlinedResponses"] = {"inlinedResponses": list(inlined)}
    counts = counts or Counts()
    left = counts.total - counts.succeeded - counts.errored
    stats = {
        "requestCount": counts.total,
        "successfulRequestCount": counts.succeeded,
        "failedRequestCount": counts.errored,
        "pendingRequestCount": left if ended_at is None else 0,
    }
    metadata: dict[str, Any] = {"@type": f"{_TYPE}{kind}", "model": f"models/{model}"}
    if display_name is not None:
        metadata["displayName"] = display_name
    if input_file is not None:
        metadata["inputConfig"] = {"fileName": input_file}
    if output:
        metadata["output"] = output
    metadata |= {
        "createTime": stamp(created_at),
        "updateTime": stamp(updated_at),
        "batchStats": {name: str(count) for name, count in stats.items() if count > 0},
        "state": f"BATCH_STATE_{state}",
        "name": f"batches/{id}",
    }
    document: dict[str, Any] = {"name": f"batches/{id}", "metadata": metadata}
    if ended_at is not None:
        metadata["endTime"] = stamp(ended_at)
        document["done"] = True
        if error is not None:
            document["error"] = dict(error)
        elif output:
            document["response"] = {"@type": f"{_TYPE}{kind}Output", **output}
    return document


def file_object(
    *,
    id: str,
    size: int,
    created_at: float,
    expires_at: float,
    mime_type: str,
    sha256: bytes,
    base_url: str,
    display_name: str | None = None,
    source: str = "UPLOADED",
) -> dict[str, Any]:
    """A file; `id` without `files/`, `sha256` in hexadecimal as the API's bytes. `base_url` begins its address."""
    document = {
        "name": f"files/{id}",
        "mimeType": mime_type,
        "sizeBytes": str(size),
        "createTime": stamp(created_at),
        "updateTime": stamp(created_at),
        "expirationTime": stamp(expires_at),
        "sha256Hash": base64.b64encode(sha256).decode("ascii"),
        "uri": f"{base_url}/v1beta/files/{id}",
        "state": "ACTIVE",
        "source": source,
    }
    if display_name is not None:
        document["displayName"] = display_name
    return document


def error_object(status: int, message: str, word: str | None = None, reason: str | None = None) -> dict[str, Any]:
    """The error of an envelope; `word` is the google.rpc status, by default the first that has this HTTP status."""
    other = "INVALID_ARGUMENT" if 400 <= status < 500 else "UNKNOWN"
    told = word or next((name for name, code in STATUSES.items() if code == status), other)
    error: dict[str, Any] = {"code": status, "message": message, "status": told}
    if reason is not None:
        kind = "type.googleapis.com/google.rpc.ErrorInfo"
        error["details"] = [{"@type": kind, "reason": reason, "domain": "googleapis.com"}]
    return error


def error_envelope(status: int, message: str, word: str | None = None, reason: str | None = None) -> dict[str, Any]:
    """The body of every error answer."""
    return {"error": error_object(status, message, word, reason)}


def response_line(key: str, body: bytes) -> bytes:
    """A line of an answer file, with its `\\n`."""
    return b'{"response":%s,"key":%s}\n' % (body, orjson.dumps(key))


def error_line(key: str, code: int, message: str) -> bytes:
    """A line of a row that was not answered, with its `\\n`; `code` is a google.rpc number."""
    return b'{"error":%s,"key":%s}\n' % (orjson.dumps({"code": code, "message": message}), orjson.dumps(key))


def stamp(seconds: float) -> str:
    """RFC 3339 with microseconds and `Z`."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _failure(error: ErrorFields | None) -> Failure:
    if error is None:
        return Failure(FailureKind.TRANSIENT, "the batch failed and says no reason")
    kind = kind_of(error)
    if kind is FailureKind.CANCELED:
        kind = FailureKind.TRANSIENT
    if error.word == "NOT_FOUND":
        kind = FailureKind.FILE
    return Failure(
        kind, f"the batch failed: {row_message(error)}", code=error.reason or error.word, status=error.status
    )


def _output(document: Mapping[str, Any], metadata: Mapping[str, Any]) -> FileId | None:
    for place in (document.get("response"), field(metadata, "output")):
        named = _file(field(place, "responsesFile"))
        if named is not None:
            return named
        for kind in ("inlinedResponses", "inlinedEmbedContentResponses"):
            if field(place, kind) is not None:
                return FileId(f"{INLINE}{document['name']}")
    return None


def _model(value: object) -> str | None:
    return value.removeprefix("models/") if isinstance(value, str) and value else None


def _file(value: object) -> FileId | None:
    return FileId(value) if isinstance(value, str) and value else None


def _time(value: object) -> float | None:
    """Unix seconds of an RFC 3339 time, whose fraction may have nine digits."""
    try:
        return datetime.fromisoformat(value).timestamp() if isinstance(value, str) else None
    except ValueError:
        return None
