"""Lines as OpenAI writes them into output and error files, and the values around them."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from overnight.data.answers import collect
from overnight.ports import Blobs
from overnight.spec import Policy, Spec
from overnight.types import (
    Batch,
    BatchId,
    BatchState,
    Job,
    JobId,
    Outcome,
    RemoteBatch,
    RemoteId,
    RemoteState,
    Reply,
    Segment,
    Shard,
    ShardId,
    Span,
    Tag,
    Tokens,
)

TAG = "abcd0123"
CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"
JOB = JobId("job1")


def line(ordinal: int, response: Any, error: Any = None, *, generation: int = 0, tag: str = TAG) -> bytes:
    document = {
        "id": f"batch_req_{ordinal}",
        "custom_id": f"{tag}-{ordinal:09d}-{generation:02d}",
        "response": response,
        "error": error,
    }
    return json.dumps(document).encode() + b"\n"


def chat(
    ordinal: int,
    text: str | None = "fine",
    *,
    generation: int = 0,
    tag: str = TAG,
    used: tuple[int, int] | None = (100, 10),
    finish: str = "stop",
    request: str | None = None,
    logprobs: Any = None,
    tools: Any = None,
) -> bytes:
    usage = None if used is None else {"prompt_tokens": used[0], "completion_tokens": used[1]}
    message = {"role": "assistant", "content": text, "refusal": None}
    if tools is not None:
        message["tool_calls"] = tools
    body = {
        "id": f"chatcmpl-{ordinal}",
        "object": "chat.completion",
        "model": "gpt-5.4-mini-2026-03-05",
        "choices": [{"index": 0, "message": message, "logprobs": logprobs, "finish_reason": finish}],
        "usage": usage,
    }
    return line(ordinal, answered(200, body, request or f"req_{ordinal}_{generation}"), generation=generation, tag=tag)


def embedding(ordinal: int, vector: Sequence[float]) -> bytes:
    packed = base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
    body = {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": packed}],
        "model": "text-embedding-3-small",
        "usage": {"prompt_tokens": 8, "total_tokens": 8},
    }
    return line(ordinal, answered(200, body, f"req_{ordinal}"))


def refused(ordinal: int, status: int, *, generation: int = 0) -> bytes:
    body = {"error": {"message": "no", "type": "invalid_request_error", "param": None, "code": None}}
    return line(ordinal, answered(status, body, f"req_{ordinal}"), generation=generation)


def never_ran(ordinal: int, code: str, *, generation: int = 0) -> bytes:
    return line(ordinal, None, {"code": code, "message": "This request was not executed."}, generation=generation)


def answered(status: int, body: Any, request: str) -> dict[str, Any]:
    return {"status_code": status, "request_id": request, "body": body}


# --------------------------------------------------------------------------------- segments, shards, batches


def segment(index: int, first: int, rows: int) -> Segment:
    return Segment(
        index, first, rows, "source", 0, 1, rows * 10, "", f"jobs/job1/segments/{index:06d}.rows.jsonl", 0, 0
    )


def write_rows(segment: Segment, blobs: Blobs, problems: Mapping[int, tuple[str, str]] | None = None) -> None:
    with blobs.create(segment.rows_blob) as writer:
        for ordinal in range(segment.first_ordinal, segment.first_ordinal + segment.rows):
            kind, message = (problems or {}).get(ordinal, (None, None))
            writer.write(json.dumps([f"key{ordinal}", kind, message]).encode() + b"\n")
        writer.commit()


def batch(
    number: int,
    spans: Iterable[Span],
    *,
    generation: int = 0,
    rank: int = 0,
    endpoint: str = CHAT,
    end: Outcome = Outcome.SUCCEEDED,
    usage: Tokens | None = None,
    tries: str | None = None,
) -> Batch:
    spans = tuple(spans)
    rows = sum(stop - start for start, stop in spans)
    shard = Shard(
        ShardId(f"s{number}"), JOB, None, generation, "", rows, 1, "gpt-5.4-mini", endpoint, spans, 1, 1, 1, tries
    )
    remote = RemoteBatch(RemoteId(f"batch_{number}"), RemoteState.ENDED, "completed", usage=usage, end=end)
    return Batch(
        BatchId(f"b{number}"),
        JOB,
        shard,
        BatchState.ENDED,
        "openai",
        "gpt-5.4-mini",
        "account",
        "openai",
        rank,
        Tag("tag"),
        "file",
        float(number),
        submitted_at=float(number),
        remote=remote,
    )


def spec(**fields: Any) -> Spec:
    return Spec(model="openai/gpt-5.4-mini", **fields)


def job(spec: Spec) -> Job:
    return Job(JOB, "identity", "name", msgspec.json.encode(spec), 0.0)


def passes(reply: Reply) -> str | None:
    return None


def bring_home(
    batch: Batch,
    blobs: Blobs,
    segments: Sequence[Segment],
    *files: Iterable[bytes],
    check: Any = passes,
    rates: Any = None,
    policy: Policy | None = None,
    of: Spec | None = None,
) -> Batch:
    """The batch as it is once these files are downloaded and read."""
    names: list[str] = []
    for number, lines in enumerate(files):
        names.append(f"jobs/job1/answers/{batch.id}.{number}.jsonl")
        with blobs.create(names[-1]) as writer:
            writer.write(b"".join(lines))
            writer.commit()
    ended = replace(batch, answers=tuple(names))
    ledger, totals = collect(ended, job(of or spec()), check, blobs, rates, policy or Policy(), segments, TAG)
    return replace(ended, state=BatchState.COLLECTED, ledger_blob=ledger, totals=totals)
