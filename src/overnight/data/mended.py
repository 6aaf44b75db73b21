"""Mended rows: a table whose rows are found by their keys among a job's, and go out again as requests of their own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from overnight.data.columns import ROW
from overnight.data.keys import Keys
from overnight.data.planning import EMPTY, RAW_KEY
from overnight.data.raw_requests import sent_request
from overnight.data.records import Record, Unreadable
from overnight.data.requests import Requests
from overnight.data.shards import Most, ShardSet
from overnight.data.sources import Source
from overnight.data.table import key_rows
from overnight.errors import UsageError
from overnight.ports import Blobs
from overnight.spec import Spec
from overnight.types import JobId, Segment, Shard
from overnight.wire.dialect import dialect

KEYLESS: Final = (ROW, f"overnight.{ROW}")
"""Columns that name a row by its number, as `results --failed` writes them."""


@dataclass(frozen=True, slots=True)
class Mending:
    """The mended table and the job whose rows it holds."""

    source: Source
    spec: Spec
    requests: Requests
    segments: Sequence[Segment]
    job_id: JobId
    blobs: Blobs
    dialect: str


def mended_ordinals(task: Mending) -> Mapping[str, int]:
    """Ordinal in the job by key, for every row of the mended table. Raises `UsageError` for keys that are missing,
    repeated, or not the job's."""
    column, keys = _keys(task)
    places: dict[str, str] = {}
    for run in task.source.segments(None, frozenset({column})):
        for record in run:
            key, place = _key(task, keys, column, record, run.file), task.source.place(run.file, record.line)
            if key in places:
                raise UsageError(f"{place}: the key ({column}) is the same as in {places[key]}: mend a row once")
            places[key] = place
    found = {
        row[0]: segment.first_ordinal + at
        for segment in task.segments
        for at, row in enumerate(key_rows(segment, task.blobs))
        if row[0] in places
    }
    for key, place in places.items():
        if key not in found:
            raise UsageError(f"{place}: the job has no row with this key ({column}): {_advice(task)}")
    return found


def _advice(task: Mending) -> str:
    """Why a key may not be among the job's. A record that could not be read has none there: an answer of it would stand
    in the table without a name."""
    unread = [row[2] for segment in task.segments for row in key_rows(segment, task.blobs) if not row[0]]
    if not unread:
        return "write the keys as its source does"
    many = "a record" if len(unread) == 1 else f"{len(unread)} records"
    return (
        f"the key of {many} that could not be read is not known to it ({unread[0]}): "
        "run rows that you mended there as a job of their own, with this file as its source"
    )


def write_mended(
    task: Mending,
    ordinals: Mapping[str, int],
    left_out: Collection[int],
    tries: Mapping[int, tuple[int, int]],
    *,
    generation: int,
    most: Most,
    new_id: Callable[[], str],
) -> tuple[Shard, ...]:
    """New shards with the requests of the mended rows, but for those `left_out`. `tries`: attempts burned and paid so
    far. Raises `UsageError` where a row cannot be rendered, or is empty where empty rows are skipped."""
    column, keys = _keys(task)
    name = f"jobs/{task.job_id}/mended/{new_id()[:16]}.jsonl"
    lines: list[tuple[int, int, int, str, str]] = []
    offset = 0
    try:
        with task.blobs.create(name) as writer:
            for run in task.source.segments():
                for record in run:
                    ordinal = ordinals[_key(task, keys, column, record, run.file)]
                    if ordinal in left_out:
                        continue
                    rendered = _rendered(task, record, run.file)
                    request = task.requests.request(ordinal, generation, rendered)
                    writer.write(request.line)
                    lines.append((ordinal, offset, len(request.line), request.model, request.endpoint))
                    offset += len(request.line)
            writer.commit()
        return _shards(task, name, sorted(lines), tries, generation, most, new_id)
    finally:
        task.blobs.delete(name)


def _shards(
    task: Mending,
    name: str,
    lines: Sequence[tuple[int, int, int, str, str]],
    tries: Mapping[int, tuple[int, int]],
    generation: int,
    most: Most,
    new_id: Callable[[], str],
) -> tuple[Shard, ...]:
    """A shard holds its rows in the order of the source, whatever the order in which they were mended."""
    reader = task.blobs.reader(name)
    try:
        with ShardSet(task.blobs, task.job_id, None, generation, most, new_id, task.dialect) as shards:
            for ordinal, offset, length, model, endpoint in lines:
                request = sent_request(reader.read_at(offset, length), model, endpoint, dialect(task.dialect))
                shards.add(ordinal, request, tries.get(ordinal, (0, 0)))
            return shards.finish()
    finally:
        reader.close()


def _keys(task: Mending) -> tuple[str, Keys]:
    columns = task.source.columns
    column = RAW_KEY if task.spec.raw else task.spec.key
    if column is None:
        column = next((name for name in KEYLESS if name in columns), None)
    if column is None:
        raise UsageError(
            f"the mended rows have no column {ROW!r}, which holds the number of the row in the job's source"
        )
    keys = Keys(column, task.source, task.blobs, optional=False)
    keys.check_column(())
    return column, keys


def _key(task: Mending, keys: Keys, column: str, record: Record, file: str) -> str:
    if record.values is None:
        raise UsageError(f"{record.problem}: mend the record")
    return keys.text(record.values.get(column), "", file, record.line)


def _rendered(task: Mending, record: Record, file: str) -> Any:
    values = record.values or {}
    try:
        if task.requests.is_empty(values) and task.spec.rows.on_empty == "skip":
            raise Unreadable(EMPTY)
        return task.requests.render(values)
    except Unreadable as error:
        raise UsageError(f"{task.source.place(file, record.line)}: {error}: mend the record") from error
