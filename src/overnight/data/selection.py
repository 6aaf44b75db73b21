"""Which records a selection means."""

from __future__ import annotations

import heapq
from hashlib import blake2b

from overnight.data import spans
from overnight.types import JobId, Selection


def selected(selection: Selection, total: int, job_id: JobId) -> spans.Spans:
    """The ordinals selected from a source of `total` records: all, the first `limit`, or the `sample` with the smallest
    hash of ordinal and job, so that a larger sample of a job contains a smaller one; with both, what either selects."""
    if selection == Selection():
        return spans.union(((0, total),))
    first = spans.union(((0, min(selection.limit or 0, total)),))
    return first if selection.sample is None else spans.union(first, _sample(selection.sample, total, job_id))


def expected(selection: Selection, rows: int) -> int:
    """How many records that is, of about `rows`."""
    if selection == Selection():
        return rows
    return min((selection.limit or 0) + (selection.sample or 0), rows)


def _sample(size: int, total: int, job_id: JobId) -> spans.Spans:
    start = blake2b(job_id.encode(), digest_size=8)

    def draw(ordinal: int) -> bytes:
        digest = start.copy()
        digest.update(b":%d" % ordinal)
        return digest.digest()

    return spans.from_ordinals(heapq.nsmallest(size, range(total), key=draw))
