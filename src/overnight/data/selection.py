"""Which records a selection means."""

from __future__ import annotations

import heapq
from hashlib import blake2b

from overnight.data import spans
from overnight.types import JobId, Selection


def selected(selection: Selection, total: int, job_id: JobId) -> spans.Spans:
    """The ordinals selected from a source of `total` records: all, the first `limit`, the `sample` with the smallest
    hash of ordinal and job, so that a larger sample of a job contains a smaller one; with both, what either selects."""
    if selection.sample is not None and selection.limit is not None:
        each = (Selection(limit=selection.limit), Selection(sample=selection.sample))
        return spans.union(*(selected(part, total, job_id) for part in each))
    if selection.sample is not None and selection.sample < total:
        return _sample(selection.sample, total, job_id)
    stop = total if selection.limit is None else min(selection.limit, total)
    return ((0, stop),) if stop > 0 else ()


def expected(selection: Selection, rows: int) -> int:
    """How many records that is, of about `rows`."""
    wanted = selection.limit if selection.sample is None else selection.sample
    return rows if wanted is None else min(wanted, rows)


def _sample(size: int, total: int, job_id: JobId) -> spans.Spans:
    start = blake2b(job_id.encode(), digest_size=8)

    def draw(ordinal: int) -> bytes:
        digest = start.copy()
        digest.update(b":%d" % ordinal)
        return digest.digest()

    return spans.from_ordinals(heapq.nsmallest(size, range(total), key=draw))
