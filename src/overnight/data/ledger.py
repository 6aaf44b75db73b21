"""The ledger of a batch: what became of every row of its shard, and where in the raw answers it stands.

A file of JSON lines. The first is `{"v":1,"rows":N,"segments":{"<index>":[byte offset, rows], ...}}`, offsets counted
from the end of that line; then one array per row, the fields of `types.Entry` in their order, sorted by ordinal, so
that the ledger of a follow-up, which mixes segments, is entered where a segment starts.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import msgspec

from overnight.core.retry import treatment
from overnight.data.spans import intersect, of_segment, ordinals
from overnight.errors import InvariantError, LocalError
from overnight.ports import Blobs
from overnight.types import Batch, BatchState, Entry, FailureKind, Outcome, PicoUSD, Segment, Shard, Span, Tokens

VERSION = 1
_BLOCK = 10_000


class Usage(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """`types.Tokens` as a ledger holds it."""

    input: int = 0
    cached: int = 0
    output: int = 0
    reasoning: int = 0


class Line(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """`types.Entry` as a ledger holds it: the fields are explained there."""

    ordinal: int
    outcome: Outcome
    kind: FailureKind | None
    file: int
    offset: int
    length: int
    tokens: Usage | None
    cost: int | None
    burned: int
    paid: int
    message: str | None = None


class _Header(msgspec.Struct, frozen=True):
    v: int
    rows: int
    segments: dict[int, tuple[int, int]]


class _Tries(msgspec.Struct, array_like=True, frozen=True, gc=False):
    ordinal: int
    burned: int
    paid: int


_encoder = msgspec.json.Encoder()
_lines = msgspec.json.Decoder(Line)
_header = msgspec.json.Decoder(_Header)
_tries = msgspec.json.Decoder(_Tries)


def write_ledger(
    name: str, rows: Sequence[Line], spans: Sequence[Span], segments: Sequence[Segment], blobs: Blobs
) -> None:
    """Publish the ledger of a shard with these spans; `rows` holds each of its ordinals once, ascending."""
    parts = _parts(spans, segments)
    if sum(count for _, count in parts) != len(rows):
        raise InvariantError(f"{name}: {len(rows)} entries for a shard of {sum(count for _, count in parts)} rows")
    with blobs.create(name) as writer:
        encoded: list[bytes] = []
        at = offset = 0
        index: dict[int, tuple[int, int]] = {}
        for segment, count in parts:
            index[segment] = (offset, count)
            for start in range(at, at + count, _BLOCK):
                encoded.append(_encoder.encode_lines(rows[start : min(start + _BLOCK, at + count)]))
                offset += len(encoded[-1])
            at += count
        writer.write(_encoder.encode(_Header(VERSION, len(rows), index)) + b"\n")
        for block in encoded:
            writer.write(block)
        writer.commit()


def _parts(spans: Sequence[Span], segments: Sequence[Segment]) -> list[tuple[int, int]]:
    """Index of each segment that the spans touch, and how many of their ordinals lie in it."""
    ordered = sorted(segments, key=lambda segment: segment.first_ordinal)
    firsts = [segment.first_ordinal for segment in ordered]
    counts: dict[int, int] = {}
    for start, stop in spans:
        at = start
        while at < stop:
            number = bisect_right(firsts, at) - 1
            end = of_segment(ordered[number])[1] if number >= 0 else at
            if end <= at:
                raise InvariantError(f"row {at} of a shard is in no segment")
            index = ordered[number].index
            counts[index] = counts.get(index, 0) + min(stop, end) - at
            at = end
    return list(counts.items())


def read_ledger(name: str, blobs: Blobs, segment: Segment | None = None) -> list[Line]:
    """The ledger's rows, or those of one segment, by ordinal. Raises `LocalError` where the file is damaged."""
    with blobs.open(name) as file:
        try:
            header = _header.decode(file.readline())
            if header.v != VERSION:
                raise LocalError(f"{name} is a ledger of version {header.v}: this overnight reads version {VERSION}")
            if segment is None:
                rows, data = header.rows, file.read()
            else:
                offset, rows = header.segments.get(segment.index, (0, 0))
                file.seek(offset, 1)
                data = b"".join(islice(file, rows))
            found = _lines.decode_lines(data)
        except msgspec.DecodeError as error:
            raise LocalError(f"{name} is damaged: restore it from a copy") from error
    if len(found) != rows:
        raise LocalError(f"{name} is damaged ({len(found)} of {rows} rows): restore it from a copy")
    return found


def lines_of(batch: Batch, blobs: Blobs, segment: Segment | None = None) -> Sequence[Line]:
    """What became of the batch's rows (of one segment), by ordinal. Empty for a batch that does not count: one that
    is not over, or was put back."""
    if batch.totals is None:
        return ()
    if batch.ledger_blob is not None:
        return read_ledger(batch.ledger_blob, blobs, segment)
    return _without_ledger(batch, blobs, segment)


def entries_of(
    batch: Batch, blobs: Blobs, segment: Segment | None = None, where: Callable[[Line], bool] | None = None
) -> Iterator[Entry]:
    """The same as entries; with `where` only those rows for which it is true."""
    for line in lines_of(batch, blobs, segment):
        if where is None or where(line):
            used = line.tokens
            yield Entry(
                line.ordinal,
                line.outcome,
                line.kind,
                line.file,
                line.offset,
                line.length,
                None if used is None else Tokens(used.input, used.cached, used.output, used.reasoning),
                None if line.cost is None else PicoUSD(line.cost),
                line.burned,
                line.paid,
                line.message,
            )


def _without_ledger(batch: Batch, blobs: Blobs, segment: Segment | None) -> list[Line]:
    """No row of it ran: it failed as a whole, or was canceled before it was sent."""
    if batch.state is BatchState.CANCELED:
        outcome, kind, message = Outcome.CANCELED, FailureKind.CANCELED, "canceled before it was sent"
    elif batch.failure is not None:
        outcome, kind, message = Outcome.ERRORED, batch.failure.kind, batch.failure.message
    else:
        raise InvariantError(f"batch {batch.id} is {batch.state} with totals, but has neither ledger nor failure")
    spans: Sequence[Span] = batch.shard.spans
    burns = 1 if treatment(kind).burns else 0
    tries = tries_of(batch.shard, blobs)
    if segment is not None:
        spans = intersect(spans, (of_segment(segment),))
    return [
        Line(ordinal, outcome, kind, -1, 0, 0, Usage(), 0, burned + burns, paid, message)
        for ordinal in ordinals(spans)
        for burned, paid in (tries.get(ordinal, (0, 0)),)
    ]


def tries_of(shard: Shard, blobs: Blobs) -> dict[int, tuple[int, int]]:
    """Burned and paid attempts of the shard's rows before it, by ordinal; empty for a first-round shard."""
    if shard.tries_blob is None:
        return {}
    with blobs.open(shard.tries_blob) as file:
        return {row.ordinal: (row.burned, row.paid) for row in _tries.decode_lines(file.read())}
