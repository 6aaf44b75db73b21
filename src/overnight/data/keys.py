"""Keys of rows: each once in the whole source, found out in constant memory.

Every segment keeps the sorted 8-byte hashes of its keys beside its rows; repeated hashes come out of merging these
files, and only then are keys themselves compared.
"""

from __future__ import annotations

import heapq
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import pairwise
from typing import NamedTuple

import orjson

from overnight.ports import Blobs
from overnight.types import JobId, Segment

_HELD = 1 << 19  # hashes in memory while merging
_LEAST = 256


class Repeated(NamedTuple):
    """A key that two records have."""

    key: str
    first: int
    second: int
    """Ordinals."""


def key_hash(key: str) -> int:
    """8 bytes of BLAKE2b."""
    return int.from_bytes(blake2b(key.encode(), digest_size=8).digest(), "little")


def write_hashes(blobs: Blobs, job_id: JobId, segment: int, hashes: Iterable[int]) -> bool:
    """Keep a segment's hashes, in any order; True where two of them are the same."""
    held = array("Q", sorted(hashes))
    repeated = any(one == other for one, other in pairwise(held))
    if sys.byteorder == "big":
        held.byteswap()
    with blobs.create(_name(job_id, segment)) as writer:
        writer.write(held.tobytes())
        writer.commit()
    return repeated


def has_hashes(blobs: Blobs, segment: Segment, job_id: JobId) -> bool:
    """Whether the segment was planned with a key column."""
    return blobs.size(_name(job_id, segment.index)) is not None


def find_repeated(blobs: Blobs, job_id: JobId, segments: Sequence[Segment]) -> Repeated | None:
    """Two records of these segments with the same key, or None."""
    names = [_name(job_id, segment.index) for segment in segments]
    held = max(_LEAST, _HELD // max(1, len(names)))
    before = -1
    for value in heapq.merge(*(_hashes(blobs, name, held) for name in names)):
        if value == before:
            found = _compare(blobs, job_id, segments, value)
            if found is not None:
                return found
        before = value
    return None


def _compare(blobs: Blobs, job_id: JobId, segments: Sequence[Segment], value: int) -> Repeated | None:
    seen: dict[str, int] = {}
    for segment in segments:
        hashes = _load(blobs, _name(job_id, segment.index), 0, segment.rows)
        at = bisect_left(hashes, value)
        if at == len(hashes) or hashes[at] != value:
            continue
        with blobs.open(segment.rows_blob) as file:
            for ordinal, line in enumerate(file, segment.first_ordinal):
                key = orjson.loads(line)[0]
                if key and key_hash(key) == value:
                    if key in seen:
                        return Repeated(key, seen[key], ordinal)
                    seen[key] = ordinal
    return None


def _hashes(blobs: Blobs, name: str, held: int) -> Iterator[int]:
    at = 0
    while block := _load(blobs, name, at, held):
        yield from block
        at += len(block)


def _load(blobs: Blobs, name: str, first: int, most: int) -> array[int]:
    """Opened anew for every block: a large job has more segments than a process may have open files."""
    reader = blobs.reader(name)
    try:
        block = array("Q", reader.read_at(8 * first, 8 * most))
    finally:
        reader.close()
    if sys.byteorder == "big":
        block.byteswap()
    return block


def _name(job_id: JobId, segment: int) -> str:
    return f"jobs/{job_id}/segments/{segment:06d}.keys"
