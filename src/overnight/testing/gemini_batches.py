"""Files and batches at the fake Gemini, and everything that it can do besides its best."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from overnight.testing.gemini_rows import Row
from overnight.types import Counts
from overnight.wire import gemini as wire

OPEN: Final = frozenset({"pending", "in_progress", "finalizing"})
_STATES: Final = {
    "pending": "PENDING",
    "in_progress": "RUNNING",
    "finalizing": "RUNNING",
    "completed": "SUCCEEDED",
    "cancelled": "CANCELLED",
    "expired": "EXPIRED",
    "failed": "FAILED",
}
KEPT: Final = 172_800.0  # seconds that an uploaded file stays
ROOT: Final = "https://generativelanguage.googleapis.com"


@dataclass(frozen=True, slots=True)
class Quirks:
    """What the provider does besides its best: each field a switch. Q-G1 to Q-G9 were seen at the real one, or reported
    of it; Q-G6, Q-G7 and Q-G9 have no switch, for it always does so.

    Fields that hold numbers of calls count calls of that kind from 0. `*_every` n: each row whose ordinal plus one is a
    multiple of n, at its first attempt; 0: none.
    """

    inline: bool = False  # Q-G1: answers stand in the operation instead of a file
    shuffled: bool = False  # Q-G1: in another order
    keyless_every: int = 0  # Q-G2: rows that ran, and whose answers lost their key
    pending: float = 0.0  # Q-G3: seconds in PENDING
    window: float = 172_800.0  # Q-G3: seconds to EXPIRED, which has no results
    all_fail: bool = False  # Q-G4: every row INVALID_ARGUMENT in a batch that SUCCEEDED
    revived_after: float | None = None  # Q-G5: seconds after which a canceled batch SUCCEEDED all the same
    gone: int = 403  # Q-G8: what the delete of a file that is gone is answered with
    cancel_code: int = 13  # of the error of a canceled batch; 1 was reported as well
    cancel_keeps: bool = False  # a canceled batch has a file of what was finished
    cancel_takes: float = 0.0  # seconds from the wish to cancel to CANCELLED
    finalizing: float = 0.0  # seconds from the last row to the end
    missing_every: int = 0  # rows in no line, though they ran
    error_every: int = 0  # rows refused with a 500
    fails: str | None = None  # the whole batch ends FAILED with this google.rpc status, and nothing ran
    lost_creates: frozenset[int] = frozenset()  # accepted, the answer lost
    failed_creates: frozenset[int] = frozenset()  # accepted, answered 500
    repeated_creates: frozenset[int] = frozenset()  # accepted twice
    full_creates: frozenset[int] = frozenset()  # 429 RESOURCE_EXHAUSTED: too much waits already
    late_creates: Mapping[int, float] = field(default_factory=dict)  # no answer; it arrives seconds later
    lost_pieces: frozenset[int] = frozenset()  # of uploads: stored, the answer lost
    cut_pieces: frozenset[int] = frozenset()  # a part of it stored, no answer
    forgotten_pieces: frozenset[int] = frozenset()  # the upload is not known any more
    file_lag: float = 0.0  # seconds that a fresh file cannot be seen
    list_lag: float = 0.0  # seconds that a fresh batch is in no list and 404
    docs_path_only: bool = False  # downloads only where the documentation says, not where the SDK looks
    cut_downloads: frozenset[int] = frozenset()  # end half way
    cut_cleanly: bool = False  # and look whole: a shorter length is announced
    bursts: frozenset[int] = frozenset()  # of all calls: answered 503, nothing done
    home: str | None = None  # names itself our own server of this home


@dataclass(frozen=True, slots=True)
class FakeFile:
    """A stored file; `id` without `files/`."""

    id: str
    account: str
    data: bytes
    created_at: float
    mime_type: str = "application/jsonl"
    display_name: str | None = None
    source: str = "UPLOADED"

    def document(self, root: str) -> dict[str, Any]:
        """The file object; `root` is where the API is reached."""
        return wire.file_object(
            id=self.id,
            size=len(self.data),
            created_at=self.created_at,
            expires_at=self.created_at + KEPT,
            mime_type=self.mime_type,
            sha256=hashlib.sha256(self.data).hexdigest().encode(),
            base_url=root,
            display_name=self.display_name,
            source=self.source,
        )


@dataclass(slots=True)
class FakeUpload:
    """A file on its way."""

    account: str
    about: Mapping[str, Any]
    data: bytearray = field(default_factory=bytearray)
    final: bool = False


@dataclass(slots=True)
class FakeBatch:
    """A batch as the provider keeps it; `id` without `batches/`, `input_file` with `files/`. `done`: rows whose turn
    has come."""

    id: str
    account: str
    model: str
    endpoint: str
    rows: list[Row]
    input_file: str | None
    display_name: str | None
    created_at: float
    window: float
    status: str = "pending"
    times: dict[str, float] = field(default_factory=dict)
    done: int = 0
    lines: list[bytes] = field(default_factory=list)
    succeeded: int = 0
    failed: int = 0
    cancel_at: float | None = None
    error: dict[str, Any] | None = None
    responses_file: str | None = None
    inlined: list[dict[str, Any]] | None = None

    @property
    def over(self) -> bool:
        """Whether it has ended, as far as it is known."""
        return self.status not in OPEN

    @property
    def expires_at(self) -> float:
        """When it ends, finished or not."""
        return self.created_at + self.window

    def document(self, listed: bool = False) -> dict[str, Any]:
        """The operation; a list shows no answers."""
        times = [self.created_at, *self.times.values()]
        return wire.operation(
            id=self.id,
            model=self.model,
            state=_STATES[self.status],
            created_at=self.created_at,
            updated_at=max(times),
            ended_at=self.times[f"{self.status}_at"] if self.over else None,
            display_name=self.display_name,
            input_file=self.input_file,
            responses_file=self.responses_file,
            inlined=None if listed else self.inlined,
            counts=Counts(len(self.rows), self.succeeded, self.failed),
            error=self.error,
            embeddings=self.endpoint == "embedContent",
        )


def rows_of(data: bytes) -> Iterator[Row]:
    """The rows of an input file: only `key` names one. Raises ValueError for a line that is no request."""
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            document = orjson.loads(line)
        except orjson.JSONDecodeError:
            raise ValueError(f"Invalid JSON in line {number} of the input file.") from None
        request = document.get("request") if isinstance(document, dict) else None
        if not isinstance(request, dict):
            raise ValueError(f"Line {number} of the input file has no request.")
        key = document.get("key")
        yield Row(key if isinstance(key, str) else None, request)


def inline_rows_of(requests: Any) -> Iterator[Row]:
    """The rows of a create that brings its requests along."""
    for each in requests:
        key = (each.get("metadata") or {}).get("key")
        yield Row(key if isinstance(key, str) else None, each["request"])
