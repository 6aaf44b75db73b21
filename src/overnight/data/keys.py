"""Keys of rows: each once in the whole source, found out in constant memory.

Every segment keeps the sorted 8-byte hashes of its keys beside its rows; repeated hashes come out of merging these
files, and only then are keys themselves compared.
"""

from __future__ import annotations

import difflib
import sys
from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import orjson

from overnight.data.records import filled_texts
from overnight.data.row_list import ROWS
from overnight.data.sources import Source
from overnight.errors import UsageError
from overnight.ports import Blobs
from overnight.types import Segment

_HELD = 1 << 17  # hashes in memory while merging
_LEAST = 256
_MOST_HASH = (1 << 64) - 1


def key_hash(key: str) -> bytes:
    """8 bytes of BLAKE2b."""
    return blake2b(key.encode(), digest_size=8).digest()


def keys_blob(rows_blob: str) -> str:
    """Where the hashes of a segment's keys are kept: beside its rows."""
    return f"{rows_blob.removesuffix(ROWS)}.keys"


def write_hashes(blobs: Blobs, rows_blob: str, hashes: Sequence[bytes]) -> bool:
    """Keep a segment's hashes, in any order; True where two of them are the same."""
    with blobs.create(keys_blob(rows_blob)) as writer:
        writer.write(b"".join(sorted(hashes)))
        writer.commit()
    return len(set(hashes)) < len(hashes)


class Keys:
    """The key column of a job's source. With `optional` a row without a key is known by its number."""

    def __init__(self, column: str, source: Source, blobs: Blobs, optional: bool) -> None:
        self._column = column
        self._source = source
        self._blobs = blobs
        self._optional = optional

    def check_column(self, known: Sequence[Segment]) -> None:
        """Raises `UsageError` where the source has no such column, or known segments were planned without keys."""
        columns = self._source.columns
        if self._column not in columns:
            near = difflib.get_close_matches(self._column, columns, n=1, cutoff=0.5)
            meant = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(map(repr, columns[:20]))}"
            raise UsageError(f"key: the source has no column {self._column!r}: {meant}")
        for segment in known:
            if self._blobs.size(keys_blob(segment.rows_blob)) is None:
                raise UsageError(
                    f"key: this job was planned without the key {self._column!r}: start a new one with --new"
                )

    def text(self, value: object, number: str, file: str, line: int) -> str:
        """The key of the row on that line. Raises `UsageError` where it has none."""
        if isinstance(value, str) and value and not value.isspace():
            return value
        if isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        if value is None and self._optional:
            return number
        what = "is empty" if value is None or isinstance(value, str) else "is neither text nor a number"
        place = self._source.place(file, line)
        raise UsageError(f"{place}: the key ({self._column}) {what}: every row needs one of its own")

    def texts(self, rows: Sequence[Mapping[str, Any] | None]) -> list[str] | None:
        """What `text` gives for each of these rows; None where it may raise for one of them."""
        found: list[Any] = [None if values is None else values.get(self._column) for values in rows]
        if filled_texts(found):
            return found
        return list(map(str, found)) if set(map(type, found)) == {int} else None

    def check(self, segments: Sequence[Segment]) -> None:
        """Raises `UsageError`, naming both places, where two records of these segments have the same key."""
        repeated = find_repeated(self._blobs, segments)
        if repeated is not None:
            first, second = (self._place(segments, ordinal) for ordinal in repeated)
            raise UsageError(
                f"{second}: the key ({self._column}) is the same as in {first}: every row needs one of its own"
            )

    def _place(self, segments: Sequence[Segment], ordinal: int) -> str:
        segment = next(each for each in segments if ordinal < each.first_ordinal + each.rows)
        record = next(each for each in self._source.read(segment) if each.ordinal == ordinal)
        return self._source.place(segment.file, record.line)


def find_repeated(blobs: Blobs, segments: Sequence[Segment]) -> tuple[int, int] | None:
    """The ordinals of two records of these segments with the same key, or None."""
    for hashes in _in_order(blobs, [keys_blob(segment.rows_blob) for segment in segments]):
        if len(set(hashes)) < len(hashes):
            for value in sorted(value for value, times in Counter(hashes).items() if times > 1):
                found = _compare(blobs, segments, value)
                if found is not None:
                    return found
    return None


def _in_order(blobs: Blobs, names: Sequence[str]) -> Iterator[list[int]]:
    """All hashes of these files, the smaller first, equal ones of two files together: as many at a time as the file
    that gets on least allows."""
    held = max(_LEAST, _HELD // max(1, len(names)))
    places = dict.fromkeys(names, 0)
    while places:
        heads = {name: _load(blobs, name, at, held) for name, at in places.items()}
        least = min((head[-1] for head in heads.values() if len(head) == held), default=_MOST_HASH)
        taken: list[int] = []
        for name, head in heads.items():
            count = bisect_right(head, least)
            taken += head[:count]
            places[name] += count
            if count == len(head) < held:
                del places[name]
        yield taken


def _compare(blobs: Blobs, segments: Sequence[Segment], value: int) -> tuple[int, int] | None:
    seen: dict[str, int] = {}
    sought = value.to_bytes(8, "big")
    for segment in segments:
        hashes = _load(blobs, keys_blob(segment.rows_blob), 0, segment.rows)
        at = bisect_left(hashes, value)
        if at == len(hashes) or hashes[at] != value:
            continue
        with blobs.open(segment.rows_blob) as file:
            for ordinal, line in enumerate(file, segment.first_ordinal):
                key = orjson.loads(line)[0]
                if key and key_hash(key) == sought:
                    if key in seen:
                        return seen[key], ordinal
                    seen[key] = ordinal
    return None


def _load(blobs: Blobs, name: str, first: int, most: int) -> array[int]:
    """Opened anew for every block: a large job has more segments than a process may have open files."""
    reader = blobs.reader(name)
    try:
        block = array("Q", reader.read_at(8 * first, 8 * most))
    finally:
        reader.close()
    if sys.byteorder == "little":  # the file is sorted as bytes
        block.byteswap()
    return block
