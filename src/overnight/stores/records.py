"""Records of ours as rows of tables, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Generic, TypeVar

import msgspec
from sqlalchemy import Column, Table

from overnight.ports import Event
from overnight.stores import schema
from overnight.types import Batch, Job, Segment, Shard, Totals

T = TypeVar("T")
Row = dict[str, Any]


class Records(Generic[T]):
    """How one kind of record lies in its table: fields that have a column there, the rest as a JSON document, but for
    the field `apart`, which is kept elsewhere."""

    def __init__(self, kind: type[T], table: Table, apart: str | None = None) -> None:
        assert is_dataclass(kind)
        self._kind = kind
        self._apart = apart
        self._names = tuple(field.name for field in fields(kind) if field.name in table.c)
        self.columns: tuple[Column[Any], ...] = (*(table.c[name] for name in self._names), table.c.doc)
        """To select, in the order that `load` takes."""

    def row(self, record: T) -> Row:
        """The table's row."""
        document: Row = msgspec.to_builtins(record, builtin_types=(bytes,))
        row = {name: document.pop(name) for name in self._names}
        if self._apart is not None:
            del document[self._apart]
        row["doc"] = msgspec.json.encode(document).decode()
        return row

    def parts(self, values: Sequence[Any]) -> Row:
        """The record's fields, still untyped, from the values of `columns`."""
        parts: Row = msgspec.json.decode(values[-1])
        parts.update(zip(self._names, values, strict=False))
        return parts

    def load(self, values: Sequence[Any], more: Mapping[str, Any] | None = None) -> T:
        """The record from the values of `columns`, and fields that were kept elsewhere."""
        return msgspec.convert({**self.parts(values), **(more or {})}, self._kind)


JOBS = Records(Job, schema.jobs)
SEGMENTS = Records(Segment, schema.segments)
SHARDS = Records(Shard, schema.shards)
BATCHES = Records(Batch, schema.batches, apart="shard")
EVENTS = Records(Event, schema.events)

_SUMS = (
    *("ended", "succeeded", "errored", "canceled", "expired", "retryable", "unknown_rows"),
    *("cost", "input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "written_tokens"),
)
_width = len(BATCHES.columns)
BATCH_COLUMNS = (*BATCHES.columns, *(column.label(f"shard_{column.name}") for column in SHARDS.columns))
"""To select from batches joined with shards, in the order that `load_batch` takes."""


def load_batch(values: Sequence[Any]) -> Batch:
    """A batch with its shard."""
    return BATCHES.load(values[:_width], {"shard": SHARDS.parts(values[_width:])})


def batch_row(batch: Batch) -> Row:
    """A batch's row, with what is summed and filtered copied out of its shard and totals."""
    shard, remote = batch.shard, batch.remote
    row = BATCHES.row(batch)
    row |= {
        "shard_id": shard.id,
        "remote_id": remote.id if remote is not None else None,
        "segment": shard.segment if shard.segment is not None else -1,
        "rows": shard.rows,
        "tokens_ceiling": shard.tokens_ceiling,
        "max_output": shard.max_output,
    }
    return row | _sums(batch.totals)


def _sums(totals: Totals | None) -> Row:
    if totals is None:
        return dict.fromkeys(_SUMS)
    counts, tokens = totals.counts, totals.tokens
    rows = (totals.rows, counts.succeeded, counts.errored, counts.canceled, counts.expired)
    further = (sum(totals.retryable.values()), totals.unknown_rows, totals.cost)
    used = (tokens.input, tokens.cached, tokens.output, tokens.reasoning, tokens.written)
    return dict(zip(_SUMS, (*rows, *further, *used), strict=True))


def tally_rows(batch: Batch) -> list[Row]:
    """What a batch adds to its job's failures by kind and successes by label. The rows of a duplicate count nowhere."""
    if batch.totals is None or batch.duplicate_of is not None:
        return []
    key = {"job_id": batch.job_id, "batch_id": batch.id}
    retryable = batch.totals.retryable
    kinds = [
        {**key, "about": "kind", "name": name, "rows": rows, "retryable": retryable.get(name, 0)}
        for name, rows in batch.totals.kinds.items()
    ]
    labels = [
        {**key, "about": "label", "name": name, "rows": rows, "retryable": 0}
        for name, rows in batch.totals.labels.items()
    ]
    return kinds + labels
