"""Follow-ups: the requests of rows that go out again, copied from earlier shards under new ids."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import itemgetter
from typing import Self

from overnight.data import spans
from overnight.data.raw_requests import sent_request
from overnight.data.shards import Most, ShardSet
from overnight.errors import InvariantError
from overnight.ports import BlobReader, Blobs
from overnight.types import JobId, Shard
from overnight.wire.custom_ids import custom_id
from overnight.wire.dialect import dialect

_READERS = 16

Row = tuple[int, int, int, Shard]
"""Ordinal, attempts burned and paid so far, and the shard of the last attempt."""


def write_follow_up(
    rows: Iterable[Row],
    *,
    job_id: JobId,
    run_tag: str,
    generation: int,
    blobs: Blobs,
    new_id: Callable[[], str],
    most_rows: int,
    most_bytes: int,
) -> tuple[Shard, ...]:
    """New shards with the requests of these rows, in order of ordinals, one or more per model and endpoint, each with
    the tries of its rows. `generation` is higher than that of every shard named. Their token figures are made of the
    lines' bytes, and so rather too high."""
    tries: dict[int, tuple[int, int]] = {}
    wanted: dict[int, Shard] = {}
    for ordinal, burned, paid, shard in rows:
        tries[ordinal] = (burned, paid)
        wanted[ordinal] = shard
    most = Most(most_rows, most_bytes, most_bytes)
    (name,) = {shard.dialect for shard in wanted.values()}
    spoken = dialect(name)
    with ShardSet(blobs, job_id, None, generation, most, new_id, name) as shards, _Readers(blobs) as readers:
        for ordinal, shard, offset, length in sorted(_places(wanted, blobs), key=itemgetter(0)):
            line = readers.read(shard.blob, offset, length)
            copy = spoken.with_custom_id(line, custom_id(run_tag, ordinal, generation))
            shards.add(ordinal, sent_request(copy, shard.model, shard.endpoint, spoken), tries[ordinal])
        return shards.finish()


def read_request(shard: Shard, ordinal: int, blobs: Blobs) -> bytes:
    """The request line of the row as it was sent. Raises `InvariantError` where the shard does not hold it."""
    _, _, offset, length = next(_places({ordinal: shard}, blobs))
    with _Readers(blobs) as readers:
        return readers.read(shard.blob, offset, length)


def _places(wanted: Mapping[int, Shard], blobs: Blobs) -> Iterator[tuple[int, Shard, int, int]]:
    """Ordinal, shard, offset and length of each line, shard by shard: every shard is read through once."""
    by_shard: dict[str, tuple[Shard, list[int]]] = {}
    for ordinal, shard in wanted.items():
        by_shard.setdefault(shard.id, (shard, []))[1].append(ordinal)
    for shard, ordinals in by_shard.values():
        lines = {spans.position(shard.spans, ordinal): ordinal for ordinal in ordinals}
        if None in lines:
            raise InvariantError(f"shard {shard.id} does not hold row {lines[None] + 1}")
        offset = 0
        with blobs.open(shard.blob) as file:
            for number, line in enumerate(file):
                if number in lines:
                    yield lines.pop(number), shard, offset, len(line)
                    if not lines:
                        break
                offset += len(line)
        if lines:
            raise InvariantError(f"shard {shard.id} has fewer lines than rows")


class _Readers:
    """A few open shards: rows in order of ordinals lie in one shard after the other, or in a handful at a time."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._open: dict[str, BlobReader] = {}

    def read(self, name: str, offset: int, length: int) -> bytes:
        """Those bytes of that blob."""
        if name not in self._open:
            if len(self._open) == _READERS:
                self._open.pop(next(iter(self._open))).close()
            self._open[name] = self._blobs.reader(name)
        return self._open[name].read_at(offset, length)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        for reader in self._open.values():
            reader.close()
