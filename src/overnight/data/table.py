"""A job as a table: its rows in the order of the source, each with its one outcome, made block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import msgspec

from overnight.data.columns import Layout, answers_layout, failed_layout, is_keyed
from overnight.data.joined import Joined, Spent
from overnight.data.ledger import Line
from overnight.data.schemas import AnswerRules
from overnight.data.sources import Source
from overnight.data.spans import ordinals
from overnight.errors import UsageError
from overnight.ports import Blobs
from overnight.spec import Spec
from overnight.types import Batch, FailureKind, Outcome, Reply, Segment, Span
from overnight.wire.openai import custom_id, plain_reader, read_line
from overnight.wire.openai.parts import body_of, logprobs_of, strict_json

Which = Literal["finished", "partial", "failed"]
"""`finished`: every selected row, all of them answered. `partial`: those not answered yet as `pending`. `failed`: only
rows that were sent and ended without success, as a source for another try."""

PENDING = "pending"
BLOCK_ROWS = 5_000
BLOCK_BYTES = 4 << 20
"""Of raw answers, and of source text where columns are read again."""

Row = tuple[Any, ...]
KeyRow = tuple[str, FailureKind | None, str | None]
"""Key, and why the record is not sent: kind and message."""

_UNKNOWN: Row = (None, None, None, None)
_NOTHING: Row = (0, 0, 0, 0, 0.0)
_key_rows = msgspec.json.Decoder(KeyRow)


@dataclass(frozen=True, slots=True)
class Parts:
    """Where a job's table comes from. `selected` gives the ordinals of a segment that the table is about: those
    planned, and the bad and empty records among the selected. `contributing` gives the batches with totals that hold
    rows of the segment with that index. `source` None: of the source only the key is shown."""

    spec: Spec
    rules: AnswerRules
    tag: str
    segments: Sequence[Segment]
    selected: Callable[[Segment], Sequence[Span]]
    contributing: Callable[[int], Sequence[Batch]]
    blobs: Blobs
    source: Source | None = None


class Watcher(Protocol):
    """Hears of every row while the table is made."""

    def succeeded(self, answers: Sequence[Row]) -> None:
        """Some rows more, by the values of their answer columns."""

    def ended(self, status: str, kind: FailureKind | None, message: str) -> None:
        """A row without success: its status, and why."""


def layout_of(parts: Parts, which: Which) -> Layout:
    """The table's columns."""
    source = parts.source.columns if parts.source is not None else ()
    if which == "failed":
        return failed_layout(parts.spec, source)
    spec = parts.spec if parts.source is not None else msgspec.structs.replace(parts.spec, keep="key")
    return answers_layout(spec, parts.rules, source)


def key_rows(segment: Segment, blobs: Blobs) -> list[KeyRow]:
    """Key and problem of each record of the segment."""
    with blobs.open(segment.rows_blob) as file:
        return _key_rows.decode_lines(file.read())


def blocks(
    parts: Parts, layout: Layout, which: Which, segment: Segment, batches: Sequence[Batch], watcher: Watcher
) -> Iterator[list[Row]]:
    """The rows of one segment in order, as many at a time as fit in memory well."""
    selected = parts.selected(segment)
    if not selected:
        return
    with Joined(segment, batches, parts.blobs) as joined:
        making = _Making(parts, layout, which, watcher, joined, key_rows(segment, parts.blobs))
        for places, own in making.picked(selected):
            yield making.rows(places, own)


@dataclass(slots=True)
class _Making:
    """The rows of one segment in the making; a place is a position in the segment."""

    parts: Parts
    layout: Layout
    which: Which
    watcher: Watcher
    joined: Joined
    keys: Sequence[KeyRow]
    read: Callable[[str], Row] = field(init=False)
    blank: Row = field(init=False)
    extra: Sequence[str] = field(init=False)

    def __post_init__(self) -> None:
        self.read = _text_reader(self.parts)
        self.blank = (None,) * self.layout.answers
        self.extra = () if self.which == "failed" else self.parts.spec.extra

    def picked(self, selected: Sequence[Span]) -> Iterator[tuple[Sequence[int], Sequence[Row]]]:
        """Places of the table's rows and the values of their source columns, cut into blocks."""
        first, names = self.joined.segment.first_ordinal, self.layout.source
        places: Iterable[int] = (ordinal - first for ordinal in ordinals(selected))
        if self.which == "failed":
            places = filter(self._failed, places)
        if self.parts.source is None or not names:
            for block in self._cut(places, 0):
                yield block, [()] * len(block)
            return
        own: list[Row] = []
        for block in self._cut(self._with_columns(iter(places), self.parts.source, own), self._width()):
            yield block, list(own)
            own.clear()

    def _cut(self, places: Iterable[int], width: int) -> Iterator[list[int]]:
        """Runs of places that together hold so many rows or bytes; `width` bytes of source a row."""
        best = self.joined.best
        block: list[int] = []
        size = 0
        for at in places:
            block.append(at)
            line = best[at]
            size += width if line is None else width + line.length
            if size >= BLOCK_BYTES or len(block) >= BLOCK_ROWS:
                yield block
                block, size = [], 0
        if block:
            yield block

    def _width(self) -> int:
        segment = self.joined.segment
        return segment.length // max(segment.rows, 1)

    def _with_columns(self, places: Iterator[int], source: Source, own: list[Row]) -> Iterator[int]:
        """The places, while `own` gets their values."""
        first, names = self.joined.segment.first_ordinal, self.layout.source
        wanted = next(places, None)
        for block in source.read_blocks(self.joined.segment, frozenset(names)):
            for at, values in enumerate(block.values, block.first - first):
                if at == wanted:
                    own.append((None,) * len(names) if values is None else tuple(map(values.get, names)))
                    yield at
                    wanted = next(places, None)
            # Read on to the end, for only there it is known that the segment is still the same.

    def _failed(self, at: int) -> bool:
        line = self.joined.best[at]
        return line is not None and line.outcome is not Outcome.SUCCEEDED

    def rows(self, places: Sequence[int], own: Sequence[Row]) -> list[Row]:
        """Finished rows of these places."""
        joined, read = self.joined, self.read
        best, batches, keys, first = joined.best, joined.batch, self.keys, joined.segment.first_ordinal
        keyed = is_keyed(self.parts.spec)
        readers = [plain_reader(batch.shard.endpoint) for batch in joined.batches]
        made: list[Row] = []
        answers: list[Row] = []
        for at, values, raw in zip(places, own, joined.raws(places), strict=True):
            line = best[at]
            key = keys[at][0] if keyed else first + at + 1
            if line is None:
                made.append((key, *values, *self._unanswered(at)))
            elif line.kind is None and raw is not None:
                plain = readers[batches[at]]
                told = plain(raw) if plain is not None else None
                if told is not None:
                    name, text, model, request, *_ = told
                    answer = read(text)
                    report: Row = ("stop", model, name, request)
                else:
                    reply = read_line(raw, joined.batches[batches[at]].shard.endpoint)
                    answer = self._answer(reply, raw)
                    report = (reply.finish_reason, reply.model, reply.custom_id, reply.request_id)
                answers.append(answer)
                made.append((key, *values, "succeeded", *answer, None, None, *report, *self._bill(at, line, raw)))
            else:
                made.append((key, *values, *self._failure(at, line, raw)))
        self.watcher.succeeded(answers)
        return made

    def _answer(self, reply: Reply, raw: bytes) -> Row:
        """The values of the answer's columns, of a reply that is a success."""
        if self.parts.spec.endpoint == "embeddings":
            return (reply.vector,)
        if reply.text is not None:
            return self.read(reply.text)
        return (_other(reply, raw),) if self.parts.rules.schema is None else self.blank

    def _failure(self, at: int, line: Line, raw: bytes | None) -> Row:
        """From the status on: what there is of a row without success."""
        shard = self.joined.batches[self.joined.batch[at]].shard
        if raw is None:
            reply = Reply(custom_id(self.parts.tag, line.ordinal, shard.generation), line.outcome)
        else:
            reply = read_line(raw, shard.endpoint, text=False)
        status, kind = line.outcome.value, line.kind
        self.watcher.ended(status, kind, line.message or "")
        told = (None if kind is None else kind.value, line.message)
        report = (reply.finish_reason, reply.model, reply.custom_id, reply.request_id)
        return (status, *self.blank, *told, *report, *self._bill(at, line, raw))

    def _bill(self, at: int, line: Line, raw: bytes | None) -> Row:
        """From `batch_id` on: the money of all attempts."""
        joined, extra = self.joined, self.extra
        number = joined.batch[at]
        spent: Spent | Line = line if at not in joined.beside else joined.beside[at].and_also(line)
        used, cost = spent.tokens, spent.cost
        return (
            joined.remotes[number],
            joined.attempts[at],
            *(_UNKNOWN if used is None else (used.input, used.cached, used.output, used.reasoning)),
            None if cost is None else cost / 1e12,
            *(_extras(extra, raw, joined.batches[number]) if extra else ()),
        )

    def _unanswered(self, at: int) -> Row:
        """Never sent, by the user's own rule, or without an answer so far."""
        _, kind, message = self.keys[at]
        if kind is None:
            if self.which == "finished":
                raise UsageError("not every row is answered yet: wait until the job is finished, or add --partial")
            status, money = PENDING, (*_UNKNOWN, None)
        else:
            status, money = Outcome.SKIPPED.value, _NOTHING
        self.watcher.ended(status, kind, message or "")
        told = (None if kind is None else kind.value, message)
        extras = (None,) * len(self.extra)
        return (status, *self.blank, *told, None, None, None, None, None, self.joined.attempts[at], *money, *extras)


def _text_reader(parts: Parts) -> Callable[[str], Row]:
    """What fills the answer's columns, of the text of a success."""
    rules = parts.rules
    if rules.schema is None:
        return lambda text: (text,)
    if parts.spec.answer.labels is None and not rules.schema.get("properties"):
        return lambda text: (msgspec.json.decode(text),)
    names, fields = rules.check.columns, rules.check.fields
    return lambda text: tuple(map(fields(text).get, names))


def _other(reply: Reply, raw: bytes) -> str | None:
    """An answer without text: tool calls, or the body of an endpoint that has no such thing, as JSON."""
    given = reply.tool_calls if reply.tool_calls is not None else body_of(raw)
    return None if given is None else given.decode()


def _extras(names: Sequence[str], raw: bytes | None, batch: Batch) -> Row:
    if raw is None:
        return (None,) * len(names)
    return tuple(strict_json(raw) if name == "raw" else logprobs_of(raw, batch.shard.endpoint) for name in names)
