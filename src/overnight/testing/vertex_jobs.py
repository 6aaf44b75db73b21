"""The life of a job at the fake Vertex AI: everything follows from when it was created and what the clock says now."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from overnight.testing.vertex_rows import Row
from overnight.wire import vertex as wire

OPEN: Final = frozenset({"pending", "in_progress", "finalizing", "cancelling"})
_STATES: Final = {
    "pending": "PENDING",
    "in_progress": "RUNNING",
    "finalizing": "RUNNING",
    "cancelling": "CANCELLING",
    "completed": "SUCCEEDED",
    "partial": "PARTIALLY_SUCCEEDED",
    "cancelled": "CANCELLED",
    "expired": "EXPIRED",
    "failed": "FAILED",
}
_NUMBER: Final = re.compile(rb'"-?[0-9]+(\.[0-9]+)?"')
_LEGAL: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Quirks:
    """What the service does besides its best: each field a switch. Q-V1 to Q-V5 were seen at the real one.

    Fields that hold numbers of calls count calls of that kind from 0. `*_every` n: each row whose ordinal plus one is
    a multiple of n; 0: none.
    """

    coerces_keys: bool = False  # Q-V1: a key that looks like a number comes back as one
    shuffled: bool = False  # Q-V1: answers in another order
    partial_every: int = 0  # Q-V2: rows that are lost, and the job ends PARTIALLY_SUCCEEDED
    folders_collide: bool = False  # Q-V3: jobs of the same instant and prefix overwrite each other
    imports_strictly: bool = False  # Q-V4: the importer's limits fail the whole job
    no_total: bool = False  # Q-V5: no totalTokenCount
    files: int = 1  # that the predictions of a job are spread over
    queue: float = 0.0  # seconds in PENDING
    window: float = 345_600.0  # seconds to expiry; shorter than `takes`: a part is done
    cancel_takes: float = 0.0  # seconds in CANCELLING
    finalizing: float = 0.0  # seconds from the last row to the end
    missing_every: int = 0  # rows that ran and are in no file, while the job says SUCCEEDED
    error_every: int = 0  # rows refused with a 500
    export_fails: bool = False  # FAILED with code 13 after all rows ran: paid, and nothing came back
    no_bucket_access: bool = False  # FAILED with code 7: the service agent may not write
    lost_creates: frozenset[int] = frozenset()  # accepted, the answer lost
    failed_creates: frozenset[int] = frozenset()  # accepted, answered 500
    repeated_creates: frozenset[int] = frozenset()  # accepted twice
    late_creates: Mapping[int, float] = field(default_factory=dict)  # no answer; it arrives seconds later
    list_lag: float = 0.0  # seconds that a fresh job is in no list and 404
    cut_downloads: frozenset[int] = frozenset()  # reads of objects that end half way
    bursts: frozenset[int] = frozenset()  # of all calls: answered 503, nothing done
    home: str | None = None  # names itself our own server of this home


@dataclass(slots=True)
class FakeJob:
    """A job as the service keeps it. `done`: rows whose turn has come."""

    id: str
    parent: str  # projects/<number>/locations/<location>
    account: str
    asked: Mapping[str, Any]
    created_at: float
    window: float
    status: str = "pending"
    times: dict[str, float] = field(default_factory=dict)
    error: dict[str, Any] | None = None
    rows: list[Row] = field(default_factory=list)
    done: int = 0
    output: list[bytes] = field(default_factory=list)
    succeeded: int = 0
    failed: int = 0
    folder: str | None = None
    cancel_at: float | None = None

    @property
    def name(self) -> str:
        """Its resource name."""
        return f"{self.parent}/batchPredictionJobs/{self.id}"

    @property
    def expires_at(self) -> float:
        """When it ends, finished or not."""
        return self.created_at + self.window

    @property
    def model(self) -> str:
        """The model without its publisher."""
        return str(self.asked["model"]).rpartition("/")[2]

    @property
    def source(self) -> str:
        """The object that holds its requests, `gs://bucket/name`."""
        return str(self.asked["inputConfig"]["gcsSource"]["uris"][0])

    def document(self) -> dict[str, Any]:
        """The job."""
        over = self.status not in OPEN
        counted = self.status in {"completed", "partial", "expired"}
        return wire.job_object(
            name=self.name,
            asked=self.asked,
            state=f"JOB_STATE_{_STATES[self.status]}",
            created_at=self.created_at,
            updated_at=max([self.created_at, *self.times.values()]),
            started_at=self.times.get("in_progress_at"),
            ended_at=max(self.times.values()) if over else None,
            output_directory=self.folder,
            error=self.error,
            succeeded=self.succeeded if counted else None,
            failed=self.failed,
            incomplete=len(self.rows) - self.done if self.status == "expired" else -1,
        )

    def fail(self, at: float, code: int, message: str) -> None:
        """It ends without answers."""
        self.status, self.error = "failed", {"code": code, "message": message}
        self.times["failed_at"] = at


class CannotImport(Exception):
    """The importer refuses the file."""


def rows_of(data: bytes, quirks: Quirks) -> Iterator[Row]:
    """The rows of an input file. Raises `CannotImport`."""
    types: dict[str, type] = {}
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            document = orjson.loads(line)
        except orjson.JSONDecodeError:
            raise CannotImport(f"row {number} is no JSON") from None
        if not isinstance(document, dict) or not isinstance(document.get("request"), dict):
            raise CannotImport(f"row {number} has no request")
        if quirks.imports_strictly:
            _check(document["request"], "request", 1, types)
        key = document.get("key", document.get("custom_id"))
        told = orjson.dumps(key)
        if quirks.coerces_keys and isinstance(key, str) and _NUMBER.fullmatch(told):
            told = orjson.dumps(float(key) if "." in key else int(key))
        yield Row(told, str(key).removeprefix("k"), document["request"])


def _check(value: Any, path: str, depth: int, types: dict[str, type]) -> None:
    """As a table would take it: this is no copy of what the client looks for, but what the service was seen to do."""
    kind = float if type(value) is int else type(value)
    if value is not None and types.setdefault(path, kind) is not kind:
        raise CannotImport(f"Field {path} has changed type")
    if value is None and types.get(path) is list:
        raise CannotImport(f"Field {path}: null for a repeated field")
    if isinstance(value, list):
        for each in value:
            _check(each, f"{path}[]", depth, types)
    if isinstance(value, dict):
        if not value or depth > 15:
            raise CannotImport(f"Unsupported empty or too deeply nested field: {path}")
        for name, each in value.items():
            if not _LEGAL.fullmatch(name):
                raise CannotImport(f'Invalid field name "{name}"')
            _check(each, f"{path}.{name}", depth + isinstance(each, dict | list), types)
