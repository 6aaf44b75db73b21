"""The nouns of overnight: frozen values, enums and new types, without behaviour that touches the world.

Spelling and states follow the design's vocabulary: `canceled` with one l, Anthropic's four words for the
outcome of a request, `Batch` for one provider-side attempt and `Job` for what the user asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, NewType

JobId = NewType("JobId", str)
BatchId = NewType("BatchId", str)
ShardId = NewType("ShardId", str)
RemoteId = NewType("RemoteId", str)
FileId = NewType("FileId", str)
Tag = NewType("Tag", str)
Ordinal = NewType("Ordinal", int)
"""Zero-based physical record of the source, bad records included."""

PicoUSD = NewType("PicoUSD", int)
"""Money in 1e-12 US dollars: exact for every published price per token, and an integer."""

Span = tuple[int, int]
"""Half-open range of ordinals `(start, stop)`."""


Proof = Literal["tag", "file", "count"]
"""How a lost submission is known again: by our tag on the batch, by the input file it names, or by its number of
requests only, which proves nothing until it has ended."""


class Outcome(StrEnum):
    """How a selected row ended; every selected row has exactly one."""

    SUCCEEDED = "succeeded"
    ERRORED = "errored"
    CANCELED = "canceled"
    EXPIRED = "expired"
    SKIPPED = "skipped"


class FailureKind(StrEnum):
    """Why a row or a batch did not succeed. `core.retry` holds what is done about each, exhaustively."""

    TRANSIENT = "transient"  # 408, 409, 429, 5xx, 529 and the like: may pass
    PERMANENT = "permanent"  # the same request will be refused again
    TRUNCATED = "truncated"  # the answer met the output limit
    REFUSED = "refused"  # refusal by the model, or content filter
    INVALID = "invalid"  # the answer does not hold to labels, schema or shape
    EMPTY = "empty"  # 2xx without text, tool call or vector
    EXPIRED = "expired"  # the batch window closed before the row ran
    CANCELED = "canceled"  # canceled before the row ran
    MISSING = "missing"  # in no file of the answer
    ACCOUNT = "account"  # billing, spend limit, key: concerns every row of the account
    QUOTA = "quota"  # enqueued-token or creation limits: not the row's fault
    FILE = "file"  # the provider does not see our input file (yet)
    BAD_ROW = "bad_row"  # the source record cannot be read or rendered
    EMPTY_ROW = "empty_row"  # every column of the prompt is empty


class RemoteState(StrEnum):
    """What a provider says of a batch. An unknown word is IN_PROGRESS, loudly (`RemoteBatch.raw_status`)."""

    IN_PROGRESS = "in_progress"
    CANCELING = "canceling"
    ENDED = "ended"
    FAILED = "failed"


class BatchState(StrEnum):
    """States of our record of a batch; the transitions are the table in `core.machine`."""

    PLANNED = "planned"  # its shard is written; nothing has left
    SUBMITTING = "submitting"  # the intent is on the disk; bytes may leave or have left
    HELD = "held"  # nothing tells which batch of the provider it is, if any: answers to come will, or the operator
    IN_PROGRESS = "in_progress"  # the provider has it
    CANCELING = "canceling"  # the provider is stopping it
    ENDED = "ended"  # results can be read at the provider
    COLLECTED = "collected"  # answers and ledger are on the disk
    FAILED = "failed"  # refused as a whole; nothing of it ran
    ABSENT = "absent"  # proved never to have been made; its shard goes out again in another batch
    CANCELED = "canceled"  # canceled before it was sent


FINAL_STATES = frozenset({BatchState.COLLECTED, BatchState.FAILED, BatchState.ABSENT, BatchState.CANCELED})
OPEN_STATES = frozenset(BatchState) - FINAL_STATES - {BatchState.PLANNED}


class Endpoint(StrEnum):
    """What a request is sent to: paths of OpenAI and Anthropic, methods of Google."""

    CHAT = "/v1/chat/completions"
    RESPONSES = "/v1/responses"
    EMBEDDINGS = "/v1/embeddings"
    MODERATIONS = "/v1/moderations"
    COMPLETIONS = "/v1/completions"
    IMAGES = "/v1/images/generations"
    IMAGE_EDITS = "/v1/images/edits"
    MESSAGES = "/v1/messages"
    GENERATE = "generateContent"
    EMBED = "embedContent"


# Tokens, Reply and Entry are made once per row: frozen, they would cost a quarter of reading an answer. Nothing changes
# them all the same.
@dataclass(slots=True, unsafe_hash=True)
class Tokens:
    """Usage in tokens; `cached` (read from the provider's prompt cache) and `written` (into it) are parts of `input`,
    `reasoning` is part of `output`."""

    input: int = 0
    cached: int = 0
    output: int = 0
    reasoning: int = 0
    written: int = 0

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(
            self.input + other.input,
            self.cached + other.cached,
            self.output + other.output,
            self.reasoning + other.reasoning,
            self.written + other.written,
        )


@dataclass(frozen=True, slots=True)
class Counts:
    """Requests by outcome, as far as known."""

    total: int = 0
    succeeded: int = 0
    errored: int = 0
    canceled: int = 0
    expired: int = 0
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class Limits:
    """What a batch API takes."""

    rows: int  # requests per batch
    size: int  # bytes per batch file, with our margin
    window: float  # seconds until an unfinished batch expires
    creates_per_hour: int | None
    retention: float | None  # seconds that result files are kept


@dataclass(frozen=True, slots=True)
class Account:
    """Who is billed: provider, base URL (or the home of our own server), organisation and project as far as
    the API names them. `fingerprint` is made of these, never of a key."""

    provider: str
    base_url: str
    organization: str | None
    project: str | None
    fingerprint: str

    @property
    def name(self) -> str:
        """For people: `openai https://api.openai.com/v1 org-1/proj_2`."""
        where = "/".join(part for part in (self.organization, self.project) if part)
        return " ".join(part for part in (self.provider, self.base_url, where) if part)


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of source records: the unit of resume and of the join. Written once, never changed."""

    index: int
    first_ordinal: int
    rows: int
    file: str  # source file, absolute, or the spool's blob name
    offset: int  # byte offset of the first record in the (decompressed) file; row-group number for Parquet
    line: int  # 1-based physical line of the first record; first row in the file for Parquet
    length: int  # source bytes of the segment (decompressed)
    sha256: str  # of those bytes, for CSV with the header before them; for Parquet see `data.sources_parquet`
    rows_blob: str  # one JSON array per record: [key, problem_kind|null, problem_message|null]
    bad: int  # records that cannot be read or rendered
    empty: int  # records skipped because their prompt columns are empty


@dataclass(frozen=True, slots=True)
class Shard:
    """The file of one upload in the provider's own format: an explicit set of ordinals, in ordinal order."""

    id: ShardId
    job_id: JobId
    segment: int | None  # None: a follow-up that mixes segments
    generation: int  # part of every custom_id in it; 0 first, one more with every new shard of the same rows
    blob: str
    rows: int
    size: int  # bytes
    model: str
    endpoint: str
    spans: tuple[Span, ...]
    tokens: int  # estimated input tokens
    tokens_ceiling: int  # input tokens that are not exceeded in practice
    max_output: int | None  # sum of the output limits, in tokens; None where a row has none
    tries_blob: str | None  # follow-ups: one JSON array per row [ordinal, burned attempts, paid attempts]
    dialect: str = "openai"  # whose words its lines are written in


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong with a call, a batch or a row. `message` never holds prompt, output or key."""

    kind: FailureKind
    message: str
    code: str | None = None
    status: int | None = None
    line: int | None = None  # 1-based line of the shard, where the provider names it
    retry_after: float | None = None  # seconds
    proves_refusal: bool = False  # True: the provider certainly did not accept what was sent


@dataclass(frozen=True, slots=True)
class RemoteBatch:
    """A provider's batch as last seen."""

    id: RemoteId
    state: RemoteState
    raw_status: str
    created_at: float | None = None
    expires_at: float | None = None
    ended_at: float | None = None
    tag: Tag | None = None
    input_file: FileId | None = None
    output_file: FileId | None = None
    error_file: FileId | None = None
    counts: Counts = Counts()
    usage: Tokens | None = None  # the batch's own total, where the provider gives one
    failure: Failure | None = None  # why the whole batch failed
    end: Outcome | None = None  # EXPIRED or CANCELED where the whole batch ended so, SUCCEEDED when complete
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Totals:
    """What a collected batch brought. `cost` None: no price known for a part of it."""

    rows: int
    counts: Counts
    kinds: Mapping[str, int]  # FailureKind value -> rows
    retryable: Mapping[str, int]  # FailureKind value -> rows that a follow-up would take
    tokens: Tokens
    cost: PicoUSD | None
    unknown_rows: int = 0  # rows that may have run and never came back: their money is unknown
    foreign: int = 0  # answers with an id that is not ours
    repeated: int = 0  # further answers for a row already answered
    malformed: int = 0  # lines that are no JSON object or hold no id
    labels: Mapping[str, int] = field(default_factory=dict)  # succeeded rows by label, where the job asks for labels


@dataclass(frozen=True, slots=True)
class Batch:
    """One attempt to have a shard answered. Changed only by `core.machine.evolve`."""

    id: BatchId
    job_id: JobId
    shard: Shard
    state: BatchState
    provider: str
    model: str
    account: str  # Account.fingerprint
    dialect: str
    rank: int  # of several accepted answers of a row the highest rank wins
    tag: Tag
    filename: str
    created_at: float
    version: int = 0
    not_before: float = 0.0  # earliest submission (backoff after quota)
    put_back: tuple[FailureKind, ...] = ()  # why earlier submissions of this shard were refused; MISSING: never made
    file_id: FileId | None = None
    create_deadline: float | None = None  # wall clock; after it no create of ours can leave
    submitted_at: float | None = None
    accepted_at: float | None = None
    remote: RemoteBatch | None = None
    first_seen_at: float | None = None
    polled_at: float | None = None
    ended_at: float | None = None
    cancel_requested: bool = False
    failure: Failure | None = None
    answers: tuple[str, ...] = ()  # blobs as downloaded: output, error
    ledger_blob: str | None = None
    totals: Totals | None = None
    taken: int = 0  # rows of it that went out again in follow-ups
    backlog_taken: bool = False  # its retryable rows have gone into a follow-up (or were given up)
    cleaned: bool = False  # our remote files are deleted (or kept by wish)
    sender: str = ""  # the process that may have sent it (`Lease.owner`)
    proved: bool = True  # False: adopted because nothing else fitted; its first answer will tell whether it is ours
    foreign: tuple[RemoteId, ...] = ()  # batches that it was taken for, until their answers proved to be another's
    duplicate_of: BatchId | None = None  # accepted twice by the provider: its money counts, its rows do not


@dataclass(slots=True)
class Reply:
    """One answer line of a provider, read and judged by its dialect in `wire/`, before the job's own rules."""

    custom_id: str
    outcome: Outcome
    kind: FailureKind | None = None
    message: str | None = None  # short, free of content
    code: str | None = None  # the provider's own error code
    status: int | None = None  # HTTP status of the row
    request_id: str | None = None
    text: str | None = None  # the answer's text; None for embeddings
    tool_calls: bytes | None = None  # JSON array as the provider gave it
    vector: tuple[float, ...] | None = None
    finish_reason: str | None = None
    model: str | None = None
    tokens: Tokens | None = None  # None: the row tells nothing
    ran: bool = False  # the provider executed the row (and so may bill it)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which rows of the source the user asked for: all, the first `limit`, or a `sample` drawn by hash."""

    limit: int | None = None
    sample: int | None = None


@dataclass(frozen=True, slots=True)
class Hold:
    """Why a job stands still until somebody acts."""

    kind: str  # "brake" | "expect" | "undecidable" | "limit" | "account"
    message: str
    exit_code: int


@dataclass(frozen=True, slots=True)
class Job:
    """What the user submitted. Progress is derived from its batches and never stored here."""

    id: JobId
    identity: str  # sha256 over model, endpoint, prompt, parameters, answer, source locator and `salt`
    name: str
    spec: bytes  # the resolved spec as JSON (`spec.Spec`)
    created_at: float
    version: int = 0
    salt: int = 0  # --new makes another job of the same spec
    tenant: str = ""
    project: str | None = None
    tags: tuple[str, ...] = ()
    priority: int = 0
    deadline: float | None = None
    selection: Selection = Selection()
    planned: Selection | None = None  # the selection whose rows are all in shards; None: planning is not done
    approved: Selection | None = None  # the planned selection that may be sent; submissions need approved == planned
    account: Account | None = None
    max_requests: int | None = None
    max_cost: PicoUSD | None = None
    hold: Hold | None = None
    cancel_requested: bool = False
    forgiven: Mapping[str, int] = field(default_factory=dict)  # failures by kind, and "ended", at the last resume
    exported: Mapping[str, str] = field(default_factory=dict)  # path -> state digest it was written from
    output: str | None = None  # absolute path


@dataclass(slots=True)
class Entry:
    """The ledger's line for one row in one batch; the answer itself stays in the raw file, at `offset`."""

    ordinal: int
    outcome: Outcome
    kind: FailureKind | None
    file: int  # index into Batch.answers; -1: no answer came
    offset: int
    length: int
    tokens: Tokens | None  # None: unknown
    cost: PicoUSD | None  # None: unknown
    burned: int  # attempts used up so far, this one included
    paid: int  # attempts that the provider ran so far, this one included
    message: str | None = None  # short reason, free of content


@dataclass(frozen=True, slots=True)
class JobTotals:
    """Sums over all batches of a job, made by the store."""

    batches: Mapping[BatchState, int] = field(default_factory=dict)
    rows: int = 0  # rows in first-round shards
    sent: int = 0  # requests in batches that were or may have been submitted
    ended: int = 0  # rows of batches with totals
    succeeded: int = 0
    backlog: int = 0  # retryable rows that wait for a follow-up
    failed: int = 0  # rows that ended without success and do not wait
    kinds: Mapping[str, int] = field(default_factory=dict)  # failures by kind, over all attempts
    labels: Mapping[str, int] = field(default_factory=dict)  # succeeded rows by label, where labels are asked
    tokens: Tokens = Tokens()
    cost: PicoUSD = PicoUSD(0)
    cost_unknown: int = 0  # collected batches whose cost is not known, or not all of it
    unknown_rows: int = 0
    open_tokens: int = 0  # ceiling of input tokens in batches that are out
    open_max_output: int = 0
    uncleaned: int = 0  # ended batches with files of ours still at the provider


@dataclass(frozen=True, slots=True)
class JobView:
    """What a decision needs; small whatever the job's size. Ended batches are not in it."""

    job: Job
    open: tuple[Batch, ...]  # OPEN_STATES, oldest first
    ready: tuple[Batch, ...]  # some PLANNED batches that are due (all are to a cancel), by rank, segment, creation
    next_ready: float | None  # earliest not_before of the other PLANNED ones
    totals: JobTotals
    oldest_backlog: float | None  # when the longest waiting backlog was collected
    creates_last_hour: int
    unresolved: tuple[Batch, ...] | None = None  # the account's whose fate is open; None: batches carry our mark
