"""Small valid records to build tests from; change what matters with `dataclasses.replace`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from io import BytesIO

from overnight.ports import Changes, Event, Submission
from overnight.types import (
    FINAL_STATES,
    OPEN_STATES,
    Account,
    Batch,
    BatchId,
    BatchState,
    Counts,
    Failure,
    FailureKind,
    FileId,
    Hold,
    Job,
    JobId,
    JobTotals,
    Outcome,
    PicoUSD,
    RemoteBatch,
    RemoteId,
    RemoteState,
    Segment,
    Selection,
    Shard,
    ShardId,
    Span,
    Tag,
    Tokens,
    Totals,
)

JOB = JobId("job1")
SEGMENT_ROWS = 10


def a_job(job_id: str = JOB, tenant: str = "") -> Job:
    """A job with every field filled."""
    return Job(
        id=JobId(job_id),
        identity=f"identity of {job_id}",
        name="reviews",
        spec=b'{"model":"openai/m"}',
        created_at=1000.5,
        salt=1,
        tenant=tenant,
        project="p",
        tags=("a", "b"),
        priority=3,
        deadline=5000.25,
        selection=Selection(limit=20),
        planned=Selection(limit=20),
        approved=Selection(sample=5),
        account=Account("openai", "https://api.example/v1", "org", "proj", "fingerprint"),
        max_requests=100,
        max_cost=PicoUSD(10**15),
        hold=Hold("brake", "half failed", 5),
        cancel_requested=True,
        forgiven={"transient": 3},
        exported={"/out.csv": "digest"},
        output="/out.csv",
    )


def a_segment(index: int) -> Segment:
    """Ten rows of a source."""
    first = index * SEGMENT_ROWS
    return Segment(index, first, SEGMENT_ROWS, "/data/in.csv", 512 * index, first + 2, 512, "0" * 64, f"s{index}", 1, 2)


def a_shard(name: str, segment: int | None = 0, spans: tuple[Span, ...] | None = None, generation: int = 0) -> Shard:
    """A shard of all rows of a segment, or of the spans."""
    if spans is None:
        first = (segment or 0) * SEGMENT_ROWS
        spans = ((first, first + SEGMENT_ROWS),)
    rows = sum(stop - start for start, stop in spans)
    return Shard(
        id=ShardId(name),
        job_id=JOB,
        segment=segment,
        generation=generation,
        blob=f"jobs/{JOB}/shards/{name}.jsonl",
        rows=rows,
        size=100 * rows,
        model="m",
        endpoint="/v1/chat/completions",
        spans=spans,
        tokens=7 * rows,
        tokens_ceiling=9 * rows,
        max_output=16 * rows,
        tries_blob=None if generation == 0 else f"jobs/{JOB}/shards/{name}.tries.jsonl",
    )


def a_batch(name: str, shard: Shard, state: BatchState = BatchState.PLANNED) -> Batch:
    """A batch in that state, with what it must have there."""
    batch = Batch(
        id=BatchId(name),
        job_id=shard.job_id,
        shard=shard,
        state=state,
        provider="openai",
        model=shard.model,
        account="fingerprint",
        dialect="openai",
        rank=shard.generation,
        tag=Tag(f"tag of {name}"),
        filename=f"{name}.jsonl",
        created_at=1000.0,
    )
    if state is BatchState.PLANNED:
        return batch
    batch = replace(batch, submitted_at=1001.0, sender="p1", file_id=FileId(f"file of {name}"), create_deadline=1100.0)
    if state in {BatchState.IN_PROGRESS, BatchState.CANCELING, BatchState.ENDED, BatchState.COLLECTED}:
        batch = replace(batch, accepted_at=1002.0, remote=a_remote(f"remote of {name}"))
    if state is BatchState.COLLECTED:
        batch = replace(batch, ended_at=1003.0, totals=some_totals(shard.rows), answers=("a", "b"), ledger_blob="l")
    if state is BatchState.FAILED:
        batch = replace(batch, failure=Failure(FailureKind.QUOTA, "too many tokens", "limit", 429, 3, 1.5, True))
    return batch


def a_remote(remote_id: str) -> RemoteBatch:
    """What a provider tells of a batch."""
    return RemoteBatch(
        id=RemoteId(remote_id),
        state=RemoteState.ENDED,
        raw_status="completed",
        created_at=1002.0,
        expires_at=2002.0,
        ended_at=1003.0,
        tag=Tag("t"),
        input_file=FileId("f1"),
        output_file=FileId("f2"),
        error_file=FileId("f3"),
        counts=Counts(total=3, succeeded=2, errored=1),
        usage=Tokens(1, 2, 3, 4),
        failure=Failure(FailureKind.EXPIRED, "too late"),
        end=Outcome.EXPIRED,
        model="m-2026",
    )


def some_totals(rows: int, retryable: int = 1, cost: int | None = 10**12) -> Totals:
    """Totals with `retryable` rows that may go out again and, of three rows or more, one that may not."""
    lost = 1 if rows > retryable else 0
    succeeded = rows - retryable - lost
    return Totals(
        rows=rows,
        counts=Counts(total=rows, succeeded=succeeded, errored=lost, expired=retryable),
        kinds={"expired": retryable, "refused": lost},
        retryable={"expired": retryable},
        tokens=Tokens(70, 20, 30, 10, 5),
        cost=None if cost is None else PicoUSD(cost),
        unknown_rows=1,
        labels={"yes": succeeded},
    )


def an_event(name: str) -> Event:
    """A line of the audit log."""
    return Event(JOB, 1000.0, name)


def planned(batches: Sequence[Batch], segments: bool = True) -> Changes:
    """The batches with their shards, over a source of three segments."""
    shards: dict[str, Shard] = {batch.shard.id: batch.shard for batch in batches}
    return Changes(
        new_segments=tuple(a_segment(n) for n in range(3)) if segments else (),
        new_shards=tuple(shards.values()),
        new_batches=tuple(batches),
    )


def expected_totals(shards: Iterable[Shard], batches: Iterable[Batch]) -> JobTotals:
    """What a store must answer, summed record by record."""
    every = list(batches)
    ended = [(batch, batch.totals) for batch in every if batch.totals is not None]
    counting = [(batch, totals) for batch, totals in ended if batch.duplicate_of is None]
    still_open = [batch for batch in every if batch.state in OPEN_STATES]
    backlog = sum(sum(totals.retryable.values()) for batch, totals in counting if not batch.backlog_taken)
    lost = sum(totals.rows - totals.counts.succeeded - batch.taken for batch, totals in counting)
    twins = {batch.shard.id for batch in every if batch.duplicate_of is not None}
    twins -= {batch.shard.id for batch in every if batch.duplicate_of is None}
    tokens = Tokens()
    for _, totals in ended:
        tokens += totals.tokens
    sent = [batch for batch in every if batch.submitted_at is not None]
    vain = {BatchState.ABSENT, BatchState.FAILED}
    return JobTotals(
        batches={state: n for state in BatchState if (n := sum(batch.state is state for batch in every))},
        rows=sum(shard.rows for shard in shards if shard.generation == 0 and shard.id not in twins),
        sent=sum(batch.shard.rows for batch in sent if batch.state not in vain),
        ended=sum(totals.rows for _, totals in counting),
        succeeded=sum(totals.counts.succeeded for _, totals in counting),
        backlog=backlog,
        failed=lost - backlog,
        kinds=_added(totals.kinds for _, totals in counting),
        labels=_added(totals.labels for _, totals in counting),
        tokens=tokens,
        cost=PicoUSD(sum(totals.cost or 0 for _, totals in ended)),
        cost_unknown=sum(totals.cost is None for _, totals in ended),
        unknown_rows=sum(totals.unknown_rows for _, totals in ended),
        open_tokens=sum(batch.shard.tokens_ceiling for batch in still_open),
        open_max_output=sum(batch.shard.max_output or 0 for batch in still_open),
        uncleaned=sum(batch.state in FINAL_STATES and not batch.cleaned for batch in sent),
    )


def _added(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    added: dict[str, int] = {}
    for count in counts:
        for name, rows in count.items():
            added[name] = added.get(name, 0) + rows
    return added


def submission(
    file_id: FileId | None, endpoint: str, tag: Tag, metadata: Mapping[str, str], content: bytes = b"", model: str = "m"
) -> Submission:
    """A submission of these request lines."""
    return Submission(
        file_id=file_id,
        filename="suite.jsonl",
        model=model,
        endpoint=endpoint,
        tag=tag,
        metadata=metadata,
        content=lambda: BytesIO(content),
        size=len(content),
        rows=content.count(b"\n"),
    )
