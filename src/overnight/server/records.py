"""The documents that the server keeps: a file and a batch, and the API objects they are shown as."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from overnight.types import Counts, Tokens
from overnight.wire import openai

FILE = "file"
BATCH = "batch"
MESSAGE_BATCH = "message_batch"
GEMINI_BATCH = "gemini_batch"
GEMINI_FILE = "gemini_file"
_KINDS = {"batch": BATCH, "msgbatch": MESSAGE_BATCH, "gembatch": GEMINI_BATCH}
BATCHES = tuple(_KINDS.values())
WINDOW = 86_400  # seconds: the only completion window
RETENTION = 30 * 86_400  # seconds that files of batches are kept unless told otherwise
KEPT = {MESSAGE_BATCH: 29 * 86_400, GEMINI_BATCH: RETENTION}
"""Seconds from the create after which a batch is archived: it is shown still, its results are gone."""
OPEN = ("validating", "in_progress", "cancelling")
ENDED = ("failed", "completed", "expired", "cancelled")


class FileRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A file whose bytes are published as the blob `blob`."""

    id: str
    size: int
    created_at: int
    filename: str
    purpose: str
    expires_at: int | None

    @property
    def blob(self) -> str:
        """Name of the blob that holds the bytes."""
        return file_blob(self.id)

    def shown(self) -> dict[str, Any]:
        """The file object."""
        return openai.file_object(
            id=self.id,
            size=self.size,
            created_at=self.created_at,
            filename=self.filename,
            purpose=self.purpose,
            expires_at=self.expires_at,
        )


class GeminiFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of Google's family. Its id may be the client's choice, so its blob has a name of its own; `sha256` in
    hexadecimal."""

    id: str
    blob: str
    size: int
    created_at: int
    expires_at: int
    mime_type: str
    sha256: str
    display_name: str | None = None


class BatchRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A batch. `model` is set once the input file has been checked and found good."""

    id: str
    endpoint: str
    input_file: str
    status: str
    created_at: int
    expires_at: int
    metadata: dict[str, str] | None = None
    output_retention: int | None = None  # seconds
    model: str | None = None
    errors: list[dict[str, Any]] | None = None
    times: dict[str, int] = {}
    counts: Counts = Counts()
    tokens: Tokens = Tokens()
    output_file: str | None = None
    error_file: str | None = None
    family: str = "openai"
    display_name: str | None = None
    input_name: str | None = None  # Google's: the file whose blob is `input_file`; None: the rows came with the call

    @property
    def archived(self) -> bool:
        """The results are gone; only batches of other families than OpenAI's, whose results are no files."""
        return "archived_at" in self.times

    @property
    def results(self) -> str:
        """Name of the blob that holds the results of such a batch."""
        return file_blob(result_file_id(self.id, "output"))

    @property
    def own_blobs(self) -> tuple[str, ...]:
        """Names of the blobs that go with such a batch once it has ended."""
        inline = self.family == "gemini" and self.input_name is None
        return (self.results, file_blob(self.input_file)) if inline else (self.results,)

    def shown(self, progress: tuple[Counts, Tokens] | None = None) -> dict[str, Any]:
        """The batch object; `progress` replaces what the record knows of a batch that is running."""
        counts, tokens = progress or (self.counts, self.tokens)
        return openai.batch_object(
            id=self.id,
            endpoint=self.endpoint,
            input_file_id=self.input_file,
            status=self.status,
            created_at=self.created_at,
            expires_at=self.expires_at,
            model=self.model,
            errors=self.errors,
            output_file_id=self.output_file,
            error_file_id=self.error_file,
            times=self.times,
            total=self.counts.total,
            completed=counts.succeeded,
            failed=counts.errored,
            usage=tokens,
            metadata=self.metadata,
        )


def batch_kind(batch_id: str) -> str:
    """The kind of document that a batch of this id is: each family has its own."""
    return _KINDS[batch_id.partition("_")[0]]


def file_blob(file_id: str) -> str:
    """Name of the blob with a file's bytes."""
    return f"files/{file_id}"


def journal_blob(batch_id: str) -> str:
    """Name of a batch's journal."""
    return f"journals/{batch_id}.jsonl"


def result_file_id(batch_id: str, kind: str) -> str:
    """The id of a batch's `output` or `error` file: the same however often the files are made."""
    return f"file-{hashlib.sha256(f'{batch_id} {kind}'.encode()).hexdigest()[:24]}"


def encode(record: FileRecord | GeminiFile | BatchRecord) -> bytes:
    """The record as the store keeps it."""
    return msgspec.json.encode(record)


_files = msgspec.json.Decoder(FileRecord)
_gemini_files = msgspec.json.Decoder(GeminiFile)
_batches = msgspec.json.Decoder(BatchRecord)


def decode_file(doc: bytes) -> FileRecord:
    """The record of a stored document."""
    return _files.decode(doc)


def decode_gemini_file(doc: bytes) -> GeminiFile:
    """The record of a stored document."""
    return _gemini_files.decode(doc)


def decode_batch(doc: bytes) -> BatchRecord:
    """The record of a stored document."""
    return _batches.decode(doc)
