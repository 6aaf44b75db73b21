"""Which segments a shard holds rows of."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, select

from overnight.errors import InvariantError
from overnight.stores.schema import segments
from overnight.types import JobId, Shard


def touched_segments(connection: Connection, shards: Sequence[Shard]) -> list[dict[str, Any]]:
    """Rows of `shard_segments` for new shards, whose segments are stored."""
    rows = []
    bounds: dict[JobId, list[tuple[int, int, int]]] = {}
    for shard in shards:
        if shard.segment is not None:
            touched = {shard.segment}
        else:
            if shard.job_id not in bounds:
                bounds[shard.job_id] = _bounds(connection, shard.job_id)
            touched = _touched(shard, bounds[shard.job_id])
        rows += [{"job_id": shard.job_id, "segment": index, "shard_id": shard.id} for index in sorted(touched)]
    return rows


def _bounds(connection: Connection, job_id: JobId) -> list[tuple[int, int, int]]:
    """`(first ordinal, end, index)` of each segment, in order."""
    query = select(segments.c.first_ordinal, segments.c.rows, segments.c.index).where(segments.c.job_id == job_id)
    return sorted((first, first + rows, index) for first, rows, index in connection.execute(query))


def _touched(shard: Shard, bounds: list[tuple[int, int, int]]) -> set[int]:
    touched = set()
    for start, stop in shard.spans:
        at = start
        place = bisect_right(bounds, at, key=lambda bound: bound[0]) - 1
        while at < stop:
            if not 0 <= place < len(bounds) or not bounds[place][0] <= at < bounds[place][1]:
                raise InvariantError(f"shard {shard.id} holds row {at}, which is in no segment of its job")
            touched.add(bounds[place][2])
            at = bounds[place][1]
            place += 1
    return touched
