"""The life of a batch at the fake OpenAI: everything follows from when it was created and what the clock says now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from overnight.testing.openai_flavours import OPENAI, Flavour
from overnight.testing.openai_rows import Row, prompt_tokens
from overnight.types import Tokens
from overnight.wire import openai as wire

OPEN = frozenset({"validating", "in_progress", "finalizing", "cancelling"})


@dataclass(frozen=True, slots=True)
class Quirks:
    """What the provider does besides its best: each field a switch. Q-O1 to Q-O15 were seen at the real
    one, or reported of it.

    Fields that hold numbers of calls count calls of that kind from 0. `*_every` n: each row whose ordinal plus one is
    a multiple of n; 0: none.
    """

    all_fail: bool = False  # Q-O1: completed, no output file, every row 400 in the error file
    missing_every: int = 0  # Q-O2: rows in no file, while the counts say completed
    zero_every: int = 0  # Q-O2: rows with status_code 0
    error_every: int = 0  # Q-O3: rows in the error file (500)
    overlap_every: int = 0  # Q-O3, broken: rows in both files
    file_lag: float = 0.0  # Q-O4: seconds that a fresh file is not seen, by GET and by a batch
    token_limit: int | None = None  # Q-O5: enqueued tokens; beyond, a batch is accepted and then fails
    token_limit_at_create: bool = False  # Q-O5: beyond, create answers 429
    window: float = 86_400.0  # Q-O6: seconds to expiry; shorter than `takes`: a part is done
    cancel_loses: bool = False  # Q-O7: what was finished is billed and lost, and completed reset to 0
    cancel_takes: float = 0.0  # Q-O8: seconds in cancelling
    empty_ids: bool = False  # Q-O9: "" for file ids that are not there
    model_missing: bool = False  # Q-O10: every row 404
    quota_after: int | None = None  # Q-O11: rows that run before every further one meets the billing limit
    cancel_conflict: bool = True  # Q-O12: 409 for the cancel of a batch that is over
    repeated_creates: frozenset[int] = frozenset()  # Q-O13: accepted twice
    validating: float = 0.0  # Q-O14: seconds; 0: never seen
    finalizing: float = 0.0  # Q-O14: seconds in finalizing
    most_bytes: int = 209_715_200  # Q-O15: of a file
    most_rows: int = 50_000  # Q-O15: of a batch
    too_large: Literal["upload", "create", "validation"] = "validation"  # Q-O15: where it is refused
    lost_uploads: frozenset[int] = frozenset()  # stored, the answer lost
    lost_creates: frozenset[int] = frozenset()  # accepted, the answer lost
    failed_creates: frozenset[int] = frozenset()  # accepted, answered 500
    late_creates: Mapping[int, float] = field(default_factory=dict)  # no answer; it arrives seconds later
    late_orphans: Literal["fail", "drop"] = "fail"  # what becomes of a late create whose file was deleted
    list_lag: float = 0.0  # seconds that a fresh batch is in no list and 404
    cut_downloads: frozenset[int] = frozenset()  # end half way
    cut_cleanly: bool = False  # and look whole: a shorter length is announced
    bursts: frozenset[int] = frozenset()  # of all calls: answered 503, nothing done
    names_account: bool = True  # `openai-organization` and `openai-project` in the answers
    pending: float = 0.0  # Azure: seconds until a file is processed; a batch made of it earlier is refused
    home: str | None = None  # names itself our own server of this home


@dataclass(slots=True)
class FakeBatch:
    """A batch as the provider keeps it."""

    id: str
    account: str
    endpoint: str
    input_file: str
    metadata: Mapping[str, str] | None
    created_at: float
    data: bytes | None  # None: its input file cannot be seen
    window: float
    status: str = "validating"
    times: dict[str, float] = field(default_factory=dict)
    errors: list[dict[str, Any]] | None = None
    rows: list[Row] = field(default_factory=list)
    done: int = 0  # rows whose turn has come
    output: list[bytes] = field(default_factory=list)
    error: list[bytes] = field(default_factory=list)
    output_file: str | None = None
    error_file: str | None = None
    completed: int = 0
    failed: int = 0
    usage: Tokens = Tokens()
    cancel_at: float | None = None

    @property
    def expires_at(self) -> float:
        """When it ends, finished or not."""
        return self.created_at + self.window

    @property
    def enqueued(self) -> int:
        """Prompt tokens that count against the account's limit."""
        return sum(prompt_tokens(row.body) for row in self.rows) if self.status in OPEN else 0

    def document(self, quirks: Quirks) -> dict[str, Any]:
        """The batch object."""
        absent = "" if quirks.empty_ids else None
        model = self.rows[0].body.get("model") if self.rows else None
        return wire.batch_object(
            id=self.id,
            endpoint=self.endpoint,
            input_file_id=self.input_file,
            status=self.status,
            created_at=int(self.created_at),
            expires_at=int(self.created_at + quirks.window),
            model=str(model) if model else None,
            errors=self.errors,
            output_file_id=self.output_file or absent,
            error_file_id=self.error_file or absent,
            times={name: int(at) for name, at in self.times.items()},
            total=len(self.rows),
            completed=self.completed,
            failed=self.failed,
            usage=self.usage,
            metadata=self.metadata,
        )

    def fail(self, at: float, error: dict[str, Any]) -> None:
        """Validation found something: nothing runs, the counts stay 0."""
        self.status, self.errors, self.rows = "failed", [error], []
        self.times["failed_at"] = at


def validation_error(batch: FakeBatch, quirks: Quirks, flavour: Flavour = OPENAI) -> dict[str, Any] | None:
    """The first thing wrong with the input file, or None; then `batch.rows` are its rows."""
    if batch.data is None:
        message = f"Cannot find file {batch.input_file}, or organization {batch.account} does not have access to it."
        return _entry("invalid_request", message, "file_id")
    if len(batch.data) > quirks.most_bytes:
        message = f"The batch input file is larger than the {quirks.most_bytes} maximum for the model"
        return _entry("invalid_request", message)
    try:
        batch.rows = list(_checked_rows(batch.data, batch.endpoint, flavour))
    except _Invalid as invalid:
        return invalid.entry
    if not batch.rows:
        return _entry("empty_file", "The batch input file is empty.")
    if len(batch.rows) > quirks.most_rows:
        return _entry("invalid_request", f"The batch input file has more than {quirks.most_rows} requests.")
    return None


def token_limit_error(model: object, account: str, limit: int) -> dict[str, Any]:
    """The words of the enqueued-token limit."""
    return _entry(
        "token_limit_exceeded",
        f"Enqueued token limit reached for {model} in organization {account}. Limit: {limit:,} enqueued tokens. "
        "Please try again once some in_progress batches have been completed.",
    )


class _Invalid(Exception):
    def __init__(self, entry: dict[str, Any]) -> None:
        super().__init__(entry["code"])
        self.entry = entry


def _checked_rows(data: bytes, endpoint: str, flavour: Flavour) -> Iterator[Row]:
    seen: set[str] = set()
    first_model: object = None
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            document = orjson.loads(line)
        except orjson.JSONDecodeError:
            document = None
        if not isinstance(document, dict):
            raise _Invalid(_entry("invalid_json_line", "This line is not parseable as valid JSON.", None, number))
        custom_id, body = document.get("custom_id"), document.get("body")
        if not isinstance(custom_id, str):
            raise _Invalid(_entry("missing_required_parameter", "Missing custom_id.", "custom_id", number))
        if custom_id in seen:
            raise _Invalid(_entry("duplicate_custom_id", "The custom_id is not unique.", "custom_id", number))
        if flavour.lines_name_url and flavour.endpoint(document.get("url")) != endpoint:
            message = "The URL provided for this request does not prefix-match the batch endpoint"
            raise _Invalid(_entry("invalid_url", message, "url", number))
        if not isinstance(body, dict) or not body.get("model"):
            raise _Invalid(_entry("invalid_request", "Missing model.", "body.model", number))
        first_model = first_model or body["model"]
        if body["model"] != first_model:
            raise _Invalid(_entry("mismatched_model", "More than one model in the file.", "body.model", number))
        if body.get("stream"):
            raise _Invalid(_entry("streaming_unsupported", "Streaming is not supported.", "body.stream", number))
        seen.add(custom_id)
        yield Row(custom_id, body)


def _entry(code: str, message: str, param: str | None = None, line: int | None = None) -> dict[str, Any]:
    return {"code": code, "message": message, "param": param, "line": line}
