"""Shards in the making: request lines into files, cut where a batch would get too large."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil
from typing import Self

from overnight.data.requests import Request, Requested
from overnight.errors import UsageError
from overnight.ports import Blobs, BlobWriter
from overnight.types import JobId, Shard, ShardId, Span

_FLUSH = 1 << 18
_MOST_OPEN = 32
_NUMBERS = 61
_PART = 10


@dataclass(frozen=True, slots=True)
class Most:
    """What one shard may hold at most; `tokens` None: any number. `size` may be exceeded by a single request, `limit`,
    the provider's own, never. `varied`: full shards are of up to 61 different numbers of rows, by which the provider's
    batches can be told apart."""

    rows: int
    size: int
    limit: int
    tokens: int | None = None
    varied: bool = False

    def rows_of(self, number: int) -> int:
        """The most rows of the shard with that number."""
        return varied(self.rows, number) if self.varied else self.rows


def varied(rows: int, number: int) -> int:
    """So many rows, or up to a tenth less: by the number up to 61 different ones, by turns."""
    return rows - number % max(1, min(_NUMBERS, rows // _PART))


class ShardSet:
    """Takes requests in order of their ordinals and writes them as shards, one open per model and endpoint. Use it in
    a `with`: what is not finished by then leaves nothing behind. `number`: of its first shard, among the job's."""

    def __init__(
        self,
        blobs: Blobs,
        job_id: JobId,
        segment: int | None,
        generation: int,
        most: Most,
        new_id: Callable[[], str],
        dialect: str,
        number: int = 0,
    ) -> None:
        self.generation = generation
        self.cuts: Counter[str] = Counter()
        """Why shards ended before the rows did: "rows", "bytes", "tokens"."""
        self._blobs = blobs
        self._job_id = job_id
        self._segment = segment
        self._new_id = new_id
        self._most = most
        self._dialect = dialect
        self._number = number
        self._open: dict[tuple[str, str], _Open] = {}
        self._finished: list[Shard] = []

    def add(self, ordinal: int, request: Request, tries: tuple[int, int] | None = None) -> None:
        """Write the request; `tries` are the row's burned and paid attempts so far, for all rows or for none."""
        name = request[:2]
        shard = self._open.get(name)
        if shard is not None:
            reason = shard.full(request, self._most)
            if reason is None:
                shard.add(ordinal, request, tries)
                return
            self.cuts[reason] += 1
            self._finish(name)
        elif len(self._open) == _MOST_OPEN:
            self._finish(next(iter(self._open)))
        self._open[name] = shard = self._begin(ordinal, *name, len(request.line))
        shard.add(ordinal, request, tries)

    def add_all(self, first: int, requests: Requested) -> bool:
        """Write requests whose ordinals count on from `first`, or none of them where a shard would end among them:
        then False, and each has to be added by itself."""
        name, most = requests[:2], self._most
        count, size = len(requests.lines), sum(map(len, requests.lines))
        shard = self._open.get(name)
        if shard is not None and shard.inputs == shard.most_rows:
            self.cuts["rows"] += 1
            self._finish(name)
            shard = None
        rows, held, most_rows = (
            (0, 0, most.rows_of(self._number)) if shard is None else (shard.inputs, shard.size, shard.most_rows)
        )
        fits = rows + requests.inputs <= most_rows and held + size <= most.size and most.tokens is None
        if not fits or (shard is None and len(self._open) == _MOST_OPEN):
            return False
        if shard is None:
            self._open[name] = shard = self._begin(first, *name, size)
        shard.add_all(first, count, size, requests)
        return True

    def finish(self) -> tuple[Shard, ...]:
        """All shards, published, in order of their first ordinals."""
        for name in list(self._open):
            self._finish(name)
        return tuple(sorted(self._finished, key=lambda shard: shard.spans))

    def _begin(self, ordinal: int, model: str, endpoint: str, size: int) -> _Open:
        limit = self._most.limit
        if size > limit:
            raise UsageError(
                f"row {ordinal + 1}: the request has {size:,} bytes, a whole batch may have {limit:,}: shorten it"
            )
        shard = ShardId(self._new_id()[:16])
        most_rows = self._most.rows_of(self._number)
        self._number += 1
        return _Open(
            self._blobs, self._job_id, self._segment, self.generation, shard, model, endpoint, self._dialect, most_rows
        )

    def _finish(self, name: tuple[str, str]) -> None:
        # Taken out only when it is published, so that a failure still cleans up.
        self._finished.append(self._open[name].publish())
        del self._open[name]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        for shard in self._open.values():
            shard.abandon()
        self._open.clear()


@dataclass(slots=True)
class _Open:
    """One shard that is being written."""

    blobs: Blobs
    job_id: JobId
    segment: int | None
    generation: int
    id: ShardId
    model: str
    endpoint: str
    dialect: str
    most_rows: int
    writer: BlobWriter = field(init=False)
    lines: list[bytes] = field(default_factory=list)
    waiting: int = 0
    size: int = 0
    rows: int = 0
    inputs: int = 0
    tokens: float = 0
    ceiling: float = 0
    max_output: int | None = 0
    start: int = -1
    stop: int = -1
    spans: list[Span] = field(default_factory=list)
    tries: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.writer = self.blobs.create(self.blob)

    @property
    def blob(self) -> str:
        return f"jobs/{self.job_id}/shards/{self.id}.jsonl"

    def full(self, request: Request, most: Most) -> str | None:
        """Why the request does not fit in, or None."""
        if self.inputs + request.inputs > self.most_rows:
            return "rows"
        if self.size + len(request.line) > most.size:
            return "bytes"
        if most.tokens is not None and self.tokens + request.tokens > most.tokens:
            return "tokens"
        return None

    def add(self, ordinal: int, request: Request, tries: tuple[int, int] | None) -> None:
        """Take it in; written when a quarter of a megabyte waits."""
        _, _, line, tokens, ceiling, max_output, inputs = request
        if tries is not None:
            self.tries.append(b"[%d,%d,%d]\n" % (ordinal, *tries))
        many = Requested(self.model, self.endpoint, [line], tokens, ceiling, max_output, inputs)
        self.add_all(ordinal, 1, len(line), many)

    def add_all(self, first: int, count: int, size: int, requests: Requested) -> None:
        """Take in requests of so many bytes, whose ordinals count on from `first`."""
        _, _, lines, tokens, ceiling, max_output, inputs = requests
        self.lines += lines
        self.size += size
        self.rows += count
        self.inputs += inputs
        self.tokens += tokens
        self.ceiling += ceiling
        if self.max_output is not None:
            self.max_output = None if max_output is None else self.max_output + max_output
        if first != self.stop:
            self._close_span()
            self.start = first
        self.stop = first + count
        if self.size - self.waiting > _FLUSH:
            self._flush()

    def publish(self) -> Shard:
        """Write the rest and commit."""
        self._flush()
        self._close_span()
        self.writer.commit()
        tries_blob = None
        if self.tries:
            tries_blob = f"jobs/{self.job_id}/shards/{self.id}.tries.jsonl"
            with self.blobs.create(tries_blob) as writer:
                writer.write(b"".join(self.tries))
                writer.commit()
        self.writer.__exit__(None, None, None)
        return Shard(
            id=self.id,
            job_id=self.job_id,
            segment=self.segment,
            generation=self.generation,
            blob=self.blob,
            rows=self.rows,
            size=self.size,
            model=self.model,
            endpoint=self.endpoint,
            spans=tuple(self.spans),
            tokens=ceil(self.tokens),
            tokens_ceiling=ceil(self.ceiling),
            max_output=self.max_output,
            tries_blob=tries_blob,
            dialect=self.dialect,
        )

    def abandon(self) -> None:
        """Leave nothing behind."""
        self.writer.__exit__(None, None, None)

    def _close_span(self) -> None:
        if self.start >= 0:
            self.spans.append((self.start, self.stop))

    def _flush(self) -> None:
        self.writer.write(b"".join(self.lines))
        self.lines.clear()
        self.waiting = self.size
