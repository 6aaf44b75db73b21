"""The ledger of a batch: what became of every row of its shard, and where in the raw answers it stands.

The first line is JSON: `{"v":2,"order":"little","rows":N,"segments":{"<index>":[first row, rows, crc32], ...},
"outcomes":[...],"kinds":[...],"messages":[...],"reports":[[finish reason, model], ...]}`. Then one record per row as
`data.entries` packs them, in the machine's byte order, words by their number in these lists (from 1 on); sorted by
ordinal, so that the ledger of a follow-up, which mixes segments, is entered where a segment starts.
"""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections.abc import Sequence
from zlib import crc32

import msgspec

from overnight.core.retry import treatment
from overnight.data.entries import SIZE, Entries, Numbered, Report
from overnight.data.spans import count, intersect, of_segment, ordinals
from overnight.errors import InvariantError, LocalError
from overnight.ports import Blobs
from overnight.types import Batch, BatchState, Entry, FailureKind, Outcome, PicoUSD, Segment, Shard, Span, Tokens

VERSION = 2


class _Version(msgspec.Struct):
    v: int


class _Header(msgspec.Struct, frozen=True):
    v: int
    order: str
    rows: int
    segments: dict[int, tuple[int, int, int]]
    outcomes: list[Outcome]
    kinds: list[FailureKind]
    messages: list[str]
    reports: list[Report]


class _Tries(msgspec.Struct, array_like=True, frozen=True, gc=False):
    ordinal: int
    burned: int
    paid: int


_version = msgspec.json.Decoder(_Version)
_header = msgspec.json.Decoder(_Header)
_tries = msgspec.json.Decoder(_Tries)


def write_ledger(name: str, rows: Entries, spans: Sequence[Span], segments: Sequence[Segment], blobs: Blobs) -> None:
    """Publish the ledger of a shard with these spans; `rows` holds each of its ordinals once, ascending."""
    parts = _parts(spans, segments)
    if count(spans) != len(rows):
        raise InvariantError(f"{name}: {len(rows)} entries for a shard of {count(spans)} rows")
    index: dict[int, tuple[int, int, int]] = {}
    at, data = 0, memoryview(rows.data)
    for segment, held in parts:
        index[segment] = (at, held, crc32(data[at * SIZE : (at + held) * SIZE]))
        at += held
    header = _Header(
        VERSION,
        sys.byteorder,
        len(rows),
        index,
        list(Outcome),
        list(FailureKind),
        list(rows.messages),
        list(rows.reports),
    )
    with blobs.create(name) as writer:
        writer.write(msgspec.json.encode(header) + b"\n")
        writer.write(data)
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


def read_ledger(name: str, blobs: Blobs, segment: Segment | None = None) -> Entries:
    """The ledger's entries, or those of one segment, by ordinal. Raises `LocalError` where the file is damaged."""
    with blobs.open(name) as file:
        line = file.readline()
        try:
            version = _version.decode(line).v
            if version != VERSION:
                raise LocalError(f"{name} is a ledger of version {version}: this overnight reads version {VERSION}")
            header = _header.decode(line)
        except msgspec.DecodeError as error:
            raise LocalError(f"{name} is damaged: restore it from a copy") from error
        if header.order != sys.byteorder:
            raise LocalError(f"{name} is of a machine with another byte order: read it there")
        wanted = list(header.segments.values())
        if segment is not None:
            wanted = [header.segments.get(segment.index, (0, 0, crc32(b"")))]
            file.seek(wanted[0][0] * SIZE, 1)
        data = bytearray(file.read(sum(rows for _, rows, _ in wanted) * SIZE))
    at, view = 0, memoryview(data)
    for _, rows, check in wanted:
        if crc32(view[at : at + rows * SIZE]) != check:
            raise LocalError(f"{name} is damaged: restore it from a copy")
        at += rows * SIZE
    entries = Entries(data, header.messages, header.reports)
    Numbered(header.outcomes).renumber(entries.outcome, Numbered(list(Outcome)))
    Numbered(header.kinds).renumber(entries.kind, Numbered(list(FailureKind)))
    return entries


def entries_of(batch: Batch, blobs: Blobs, segment: Segment | None = None) -> Entries:
    """What became of the batch's rows (of one segment), by ordinal. Empty for a batch that does not count: one that
    is not over, or was put back."""
    if batch.totals is None:
        return Entries.blank(0)
    if batch.ledger_blob is not None:
        return read_ledger(batch.ledger_blob, blobs, segment)
    return _without_ledger(batch, blobs, segment)


def _without_ledger(batch: Batch, blobs: Blobs, segment: Segment | None) -> Entries:
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
    entries = Entries.blank(count(spans))
    for at, ordinal in enumerate(ordinals(spans)):
        burned, paid = tries.get(ordinal, (0, 0))
        entries[at] = Entry(ordinal, outcome, kind, -1, 0, 0, Tokens(), PicoUSD(0), burned + burns, paid, message)
    return entries


def tries_of(shard: Shard, blobs: Blobs) -> dict[int, tuple[int, int]]:
    """Burned and paid attempts of the shard's rows before it, by ordinal; empty for a first-round shard."""
    if shard.tries_blob is None:
        return {}
    with blobs.open(shard.tries_blob) as file:
        return {row.ordinal: (row.burned, row.paid) for row in _tries.decode_lines(file.read())}
