"""The seams: what the engine and the data plane ask of the outside. Protocols only, no behaviour.

`Provider` (a batch API), `Upstream` (a real-time API), `Store` and `StoreReader` (jobs and batches),
`ObjectStore` (what the server keeps), `Blobs` and `Journal` (files), `Clock`.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol, Self

from overnight.types import (
    Account,
    Batch,
    BatchId,
    FileId,
    Job,
    JobId,
    JobTotals,
    JobView,
    Limits,
    Proof,
    RemoteBatch,
    RemoteId,
    Segment,
    Shard,
    Tag,
)

# ---------------------------------------------------------------------------------------------- time


class Clock(Protocol):
    """Time, injected everywhere."""

    def now(self) -> float:
        """Wall clock: unix seconds."""

    def elapsed(self) -> float:
        """Seconds that really passed since some start; runs on while the machine sleeps, never jumps."""

    async def sleep(self, seconds: float) -> None:
        """Return after that many seconds of elapsed time."""


# ------------------------------------------------------------------------------------------- provider


@dataclass(frozen=True, slots=True)
class Submission:
    """All that a create call needs. `file_id` None: the API has no input file, the requests go with the call."""

    file_id: FileId | None
    filename: str
    model: str
    endpoint: str
    tag: Tag
    metadata: Mapping[str, str]
    content: Callable[[], BinaryIO]  # the shard
    size: int  # of the shard, in bytes
    rows: int


@dataclass(frozen=True, slots=True)
class Search:
    """What a batch that may have been made would be known by. `since`, `until`: its creation by the provider's clock,
    unix seconds, without any allowance for skew."""

    tag: Tag
    file_id: FileId | None
    since: float
    until: float = math.inf
    filename: str = ""
    rows: int = 0


DOWNLOAD_SHORT = "download_short"
"""Code of a failed download whose file came several times in the same way and is not what its object says."""


class Provider(Protocol):
    """A batch API, seen by one account. Every method raises `ProviderError` with a `Failure`;
    `failure.proves_refusal` is True only where the provider certainly took nothing."""

    name: str
    dialect: str
    limits: Limits
    proof: Proof
    short_polling: bool
    """The server named itself ours, so that short polling and visibility delays are safe."""

    async def identify(self, known_batch: RemoteId | None, known_file: FileId | None, known: Account | None) -> Account:
        """The account behind the key. Where the API names none and `known` is given, it is that account exactly
        when the batch or file known to be ours can be seen; otherwise an account without organisation."""

    async def upload(self, content: Callable[[], BinaryIO], size: int, filename: str) -> FileId | None:
        """Store a batch input file; `content` may be called again by a retry that is safe. None where the API has no
        input files."""

    async def create(self, submission: Submission) -> RemoteBatch:
        """Create a batch: one POST, never repeated below this call."""

    async def find(self, search: Search) -> Sequence[RemoteBatch]:
        """Every batch that carries the tag or was made of the file, created at or after `since` (five minutes are
        allowed for skew): oldest first. Where the proof is `count`: every batch of that many requests created in the
        window, whoever made it. Complete, or it raises."""

    async def first_id(self, remote: RemoteBatch) -> str | None:
        """The custom id of one answer of an ended batch, None where it has none. Asked only where the proof is
        `count`."""

    async def find_files(self, filename: str) -> Sequence[FileId]:
        """Our input files of that name. Complete, or it raises."""

    async def status(self, ids: Sequence[RemoteId]) -> Mapping[RemoteId, RemoteBatch]:
        """The batches as they are now, by list call where that is cheaper; an id that is not found is left out."""

    async def download(self, file_id: FileId, into: BlobWriter) -> None:
        """Write the file's bytes. Raises when what came is not whole (length, last line), after three tries; with the
        code `DOWNLOAD_SHORT` where it is the provider's file that is so: then `into` holds all that there is."""

    async def cancel(self, remote_id: RemoteId) -> RemoteBatch | None:
        """Ask to cancel; None where the batch is already over."""

    async def delete_file(self, file_id: FileId) -> None:
        """Delete; a file that is gone counts as deleted."""

    async def delete_batch(self, remote_id: RemoteId) -> None:
        """Delete the record of an ended batch, where the API can; one that is gone counts as deleted."""

    async def close(self) -> None:
        """Close connections."""


# ------------------------------------------------------------------------------------------- upstream


@dataclass(frozen=True, slots=True)
class UpstreamReply:
    """Answer of a real-time API: status, body as JSON bytes, request id, and how long to wait before another try."""

    status: int
    body: bytes
    request_id: str | None = None
    retry_after: float | None = None


class Upstream(Protocol):
    """A real-time API: one request at a time."""

    name: str
    concurrency: int
    """Requests that it serves well at the same time."""

    async def answer(self, endpoint: str, body: bytes) -> UpstreamReply:
        """POST one request body to the endpoint (`/v1/chat/completions`). Raises `ProviderError` where no whole answer
        came; then the request may have run."""

    async def models(self) -> Sequence[str]:
        """Names of the models that it serves."""

    async def start(self) -> None:
        """Make ready (start a child, look whether the URL answers)."""

    async def close(self) -> None:
        """Stop children, close connections."""


# --------------------------------------------------------------------------------------------- store


@dataclass(frozen=True, slots=True)
class Lease:
    """Ownership of a job (or another name). `epoch` grows with every new owner and stands in every commit."""

    name: str
    owner: str
    epoch: int
    expires_at: float


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the audit log; `data` is free of content."""

    job_id: JobId
    at: float
    name: str
    batch_id: BatchId | None = None
    data: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Changes:
    """One transaction. Updated records are compare-and-set on `version`: the record is passed with the version it was
    read with, and stored with that version plus one. Anything that does not fit raises `Conflict`; a lease of another
    epoch `LeaseLost`; then nothing is written."""

    job: Job | None = None
    forget_plan: bool = False
    """First remove all segments, shards and batches of the job; `Conflict` where any batch was ever submitted."""
    new_segments: tuple[Segment, ...] = ()
    new_shards: tuple[Shard, ...] = ()
    new_batches: tuple[Batch, ...] = ()
    batches: tuple[Batch, ...] = ()
    events: tuple[Event, ...] = ()


class StoreReader(Protocol):
    """Reading only: for status, results and the page."""

    async def job(self, job_id: JobId) -> Job | None:
        """The job, or None."""

    async def find_job(self, identity: str) -> Job | None:
        """The job of that identity, or None."""

    async def jobs(self, limit: int = 1000) -> Sequence[Job]:
        """Newest first."""

    async def totals(self, job_id: JobId) -> JobTotals:
        """Sums over the job's batches."""

    def batches(self, job_id: JobId) -> AsyncIterator[Batch]:
        """All batches in order of creation, loaded a page at a time."""

    async def batch(self, batch_id: BatchId) -> Batch | None:
        """One batch, or None."""

    async def segments(self, job_id: JobId) -> Sequence[Segment]:
        """All segments by index."""

    async def contributing(self, job_id: JobId, segment: int) -> Sequence[Batch]:
        """The batches with totals that hold rows of that segment (follow-ups and duplicates included), by rank,
        then creation."""

    async def shards(self, job_id: JobId, segment: int | None = None) -> Sequence[Shard]:
        """Shards of the job (of one segment), in order of creation."""

    async def events(self, job_id: JobId, limit: int = 1000) -> Sequence[Event]:
        """The audit log, oldest first."""

    async def unresolved(self, account: str) -> Sequence[Batch]:
        """Submissions on that account, of any job, whose fate is open, oldest first: a create of theirs may have left
        and nobody knows of it, or they are held, or adopted without proof."""

    async def adopters(self, account: str, remotes: Sequence[RemoteId]) -> Mapping[RemoteId, Batch]:
        """Which batch on that account, of any job, each of these remote batches belongs to, or was adopted by; those
        that nobody knows are left out."""


class Store(StoreReader, Protocol):
    """Jobs, segments, shards, batches, events and leases."""

    async def acquire(self, name: str, owner: str, seconds: float, dead: str | None = None) -> Lease | None:
        """Take the lease, with a new epoch, when it is free, expired by the store's clock, or still that of `dead`, an
        owner known to be gone; else None. The same owner gets it again under the same epoch."""

    async def holder(self, name: str) -> Lease | None:
        """Whose lease it is (expired ones too), or None where it is free."""

    async def renew(self, lease: Lease, seconds: float) -> Lease:
        """Extend it. Raises `LeaseLost`."""

    async def release(self, lease: Lease) -> None:
        """Give it back; nothing happens when it is lost already."""

    async def create_job(self, job: Job) -> Job:
        """Insert, or return the job that already has this identity."""

    async def delete_job(self, lease: Lease, job_id: JobId) -> None:
        """Remove the job and all its records in one transaction."""

    async def commit(self, lease: Lease, changes: Changes) -> None:
        """Write all of it, durably, or nothing."""

    async def ask(self, job_id: JobId, event: Event, change: Callable[[Job], Job]) -> Job:
        """Change what is asked of the job (cancel, resume, limits, selection) without owning it: read, change,
        compare and set, again on conflict."""

    async def view(self, job_id: JobId, now: float, ready: int) -> JobView:
        """The view, with at most `ready` planned batches; where the job is canceled all of them are ready."""

    async def backlog(self, job_id: JobId, limit: int) -> Sequence[Batch]:
        """Batches with retryable rows that no follow-up has taken, oldest first."""

    async def to_clean(self, job_id: JobId, limit: int) -> Sequence[Batch]:
        """Ended batches whose remote files are still there."""

    async def close(self) -> None:
        """Finish the writing thread."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A document of the server: `doc` is JSON, `state` a word to filter by, `seq` grows with every insertion."""

    kind: str
    tenant: str
    id: str
    seq: int
    version: int
    state: str
    created_at: float
    doc: bytes


class ObjectStore(Protocol):
    """What the server keeps: files, batches, idempotency records, each a small JSON document."""

    async def insert(self, kind: str, tenant: str, id: str, state: str, created_at: float, doc: bytes) -> Stored:
        """Raises `Conflict` where the id exists."""

    async def update(self, old: Stored, state: str, doc: bytes) -> Stored:
        """Compare and set on the version. Raises `Conflict`."""

    async def get(self, kind: str, tenant: str | None, id: str) -> Stored | None:
        """One document; tenant None: of any tenant."""

    async def list(
        self,
        kind: str,
        tenant: str | None,
        after: str | Stored | None,
        limit: int,
        newest_first: bool = True,
        states: Sequence[str] | None = None,
    ) -> Sequence[Stored]:
        """A page in order of insertion, starting behind the document `after`, or behind the one with that id
        (LookupError: no such). Over all tenants give the document: their ids may be the same."""

    async def delete(self, kind: str, tenant: str, id: str) -> bool:
        """True where it was there."""

    async def close(self) -> None:
        """Finish the writing thread."""


# --------------------------------------------------------------------------------------------- files


class BlobWriter(Protocol):
    """A blob in the making. Leaving the `with` without `commit` leaves nothing behind."""

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Append; raises `LocalError` with the path when the disk is full."""

    def tell(self) -> int:
        """Bytes written."""

    def commit(self) -> None:
        """Publish under the name: fsync, rename, directory fsync. An existing blob of that name is replaced."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...


class BlobReader(Protocol):
    """Random access to a published blob; may be used from several threads."""

    def read_at(self, offset: int, length: int) -> bytes:
        """Exactly those bytes (fewer only at the end)."""

    def close(self) -> None:
        """Close the file."""


class Blobs(Protocol):
    """Immutable named files, `a/b/c.jsonl`. Synchronous: call from a worker thread."""

    def create(self, name: str) -> BlobWriter:
        """A writer for a new blob."""

    def open(self, name: str) -> BinaryIO:
        """Read from the start. Raises `LocalError` where it is missing."""

    def reader(self, name: str) -> BlobReader:
        """Read anywhere."""

    def size(self, name: str) -> int | None:
        """Bytes, or None where it is missing."""

    def list(self, prefix: str) -> Iterator[str]:
        """Names that start with the prefix, sorted."""

    def delete(self, name: str) -> None:
        """Remove; a missing one is fine."""

    def free(self) -> int | None:
        """Bytes left on the disk, or None where there is no such limit."""


class Journal(Protocol):
    """An append-only file of lines. What `append` returned from is on the disk."""

    async def append(self, line: bytes) -> tuple[int, int]:
        """Offset and length of the line (without its newline) once it is durable; calls are grouped while one
        write is under way."""

    def replay(self) -> Iterator[tuple[int, bytes]]:
        """`(offset, line)` of all whole lines; a torn tail is cut when the journal is opened."""

    def read(self, offset: int, length: int) -> bytes:
        """The line that `append` or `replay` placed there."""

    async def close(self) -> None:
        """Flush and close."""
