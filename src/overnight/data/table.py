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
from overnight.wire.openai import Plain, custom_id, plain_reader, read_line
from overnight.wire.openai.parts import body_of, logprobs_of, strict_json

Which = Literal["finished", "partial", "failed"]
"""`finished`: every selected row, all of them answered. `partial`: those not answered yet as `pending`. `failed`: only
rows that were sent and ended without success, as a source for another try."""

PENDING = "pending"
BLOCK_ROWS = 5_000
BLOCK_BYTES = 4 << 20
"""Of raw answers, and of source text where columns are read again."""

Row = tuple[Any, ...]
Columns = Sequence[Sequence[Any]]
"""Some rows, by column: each holds one value of every row."""
KeyRow = tuple[str, FailureKind | None, str | None]
"""Key, and why the record is not sent: kind and message."""

_UNKNOWN: Row = (None, None, None, None)
_NOTHING: Row = (0, 0, 0, 0, 0.0)
_NO_PLAIN: Plain = ("", "", None, None, 0, 0, 0, 0)
_NO_LINE = Line(-1, Outcome.ERRORED, None, -1, 0, 0, None, None, 0, 0)
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
) -> Iterator[Columns]:
    """The rows of one segment in order, as many at a time as fit in memory well."""
    selected = parts.selected(segment)
    if not selected:
        return
    with Joined(segment, batches, parts.blobs) as joined:
        making = _Making(parts, layout, which, watcher, joined, key_rows(segment, parts.blobs))
        for places, own in making.picked(selected):
            yield making.columns(places, own)


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
    keyed: bool = field(init=False)
    readers: Sequence[Callable[[bytes], Plain | None]] = field(init=False)  # by number of the batch

    def __post_init__(self) -> None:
        self.keyed = is_keyed(self.parts.spec)
        self.readers = [plain_reader(batch.shard.endpoint) or _not_plain for batch in self.joined.batches]
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

    def columns(self, places: Sequence[int], own: Sequence[Row]) -> Columns:
        """Finished rows of these places. As a rule nearly all are plain answers: those are made a column at a time, and
        the others put in their places."""
        raws = self.joined.raws(places)
        told = self._told(places, raws)
        odd = {slot: self._row(places[slot], own[slot], raws[slot]) for slot, one in enumerate(told) if one is None}
        if len(odd) == len(places):
            return list(zip(*odd.values(), strict=True))
        columns = self._plain_columns(places, own, raws, told)
        for slot, row in odd.items():
            for column, value in zip(columns, row, strict=True):
                column[slot] = value
        return columns

    def _told(self, places: Sequence[int], raws: Sequence[bytes | None]) -> list[Plain | None]:
        """What the plain answers among these say."""
        best, batch, readers = self.joined.best, self.joined.batch, self.readers
        told: list[Plain | None] = []
        for at, raw in zip(places, raws, strict=True):
            line = best[at]
            good = raw is not None and line is not None and line.kind is None
            told.append(readers[batch[at]](raw) if good and raw is not None else None)
        return told

    def _plain_columns(
        self, places: Sequence[int], own: Sequence[Row], raws: Sequence[bytes | None], told: Sequence[Plain | None]
    ) -> list[list[Any]]:
        joined, keys, count = self.joined, self.keys, len(places)
        names, texts, models, requests, *_ = zip(*(one or _NO_PLAIN for one in told), strict=True)
        answers = [self.read(text) if text else self.blank for text in texts]
        self.watcher.succeeded([answer for answer, text in zip(answers, texts, strict=True) if text])
        spent = [self._spent(at) for at in places] if joined.beside else [joined.best[at] or _NO_LINE for at in places]
        used = [each.tokens for each in spent]
        tokens = [_UNKNOWN if each is None else (each.input, each.cached, each.output, each.reasoning) for each in used]
        first = joined.segment.first_ordinal + 1
        columns: list[Iterable[Any]] = [
            [keys[at][0] for at in places] if self.keyed else [first + at for at in places],
            *zip(*own, strict=True),
            [Outcome.SUCCEEDED.value] * count,
            *zip(*answers, strict=True),
            [None] * count,
            [None] * count,
            ["stop"] * count,
            models,
            names,
            requests,
            [joined.remotes[joined.batch[at]] for at in places],
            [joined.attempts[at] for at in places],
            *zip(*tokens, strict=True),
            [None if each.cost is None else each.cost / 1e12 for each in spent],
        ]
        if self.extra:
            columns += zip(*map(self._extras, places, raws), strict=True)
        return list(map(list, columns))

    def _key(self, at: int) -> Any:
        return self.keys[at][0] if self.keyed else self.joined.segment.first_ordinal + at + 1

    def _row(self, at: int, own: Row, raw: bytes | None) -> Row:
        """A row by itself."""
        line = self.joined.best[at]
        if line is None:
            return (self._key(at), *own, *self._unanswered(at))
        if line.kind is not None or raw is None:
            return (self._key(at), *own, *self._failure(at, line, raw))
        reply = read_line(raw, self.joined.batches[self.joined.batch[at]].shard.endpoint)
        answer = self._answer(reply, raw)
        self.watcher.succeeded([answer])
        return (
            self._key(at),
            *own,
            "succeeded",
            *answer,
            None,
            None,
            *_report(reply),
            *self._bill(at),
            *self._extras(at, raw),
        )

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
        return (status, *self.blank, *told, *_report(reply), *self._bill(at), *self._extras(at, raw))

    def _bill(self, at: int) -> Row:
        """From `batch_id` on: the money of all attempts."""
        spent, joined = self._spent(at), self.joined
        used, cost = spent.tokens, spent.cost
        return (
            joined.remotes[joined.batch[at]],
            joined.attempts[at],
            *(_UNKNOWN if used is None else (used.input, used.cached, used.output, used.reasoning)),
            None if cost is None else cost / 1e12,
        )

    def _spent(self, at: int) -> Spent | Line:
        line = self.joined.best[at] or _NO_LINE
        return line if at not in self.joined.beside else self.joined.beside[at].and_also(line)

    def _extras(self, at: int, raw: bytes | None) -> Row:
        """The columns that were asked for beside the usual ones."""
        if raw is None:
            return (None,) * len(self.extra)
        endpoint = self.joined.batches[self.joined.batch[at]].shard.endpoint
        return tuple(strict_json(raw) if name == "raw" else logprobs_of(raw, endpoint) for name in self.extra)

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


def _report(reply: Reply) -> Row:
    return reply.finish_reason, reply.model, reply.custom_id, reply.request_id


def _not_plain(raw: bytes) -> None:
    return None
