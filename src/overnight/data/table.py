"""A job as a table: its rows in the order of the source, each with its one outcome, made block by block."""

from __future__ import annotations

from base64 import b64encode
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import Any, Literal, Protocol

import msgspec

from overnight.data.columns import Layout, answers_layout, failed_layout, is_keyed
from overnight.data.entries import SUCCEEDED, UNKNOWN
from overnight.data.joined import Joined, Spent, picked
from overnight.data.schemas import AnswerRules
from overnight.data.sources import Source
from overnight.data.spans import ordinals
from overnight.errors import UsageError
from overnight.ports import Blobs
from overnight.spec import Spec
from overnight.types import Batch, Entry, FailureKind, Outcome, Reply, Segment, Span
from overnight.wire.custom_ids import custom_id, custom_id_form
from overnight.wire.dialect import Dialect, dialect
from overnight.wire.openai.kinds import image_of
from overnight.wire.strict import strict_json

Which = Literal["finished", "partial", "failed"]
"""`finished`: every selected row, all of them answered. `partial`: those not answered yet as `pending`. `failed`: only
rows that were sent and ended without success, as a source for another try."""

IMAGES = frozenset({"images", "image_edits"})
"""Job kinds whose answer is an image."""
PENDING = "pending"
BLOCK_ROWS = 5_000
BLOCK_BYTES = 4 << 20
"""Of raw answers, and of source text where columns are read again."""

Row = tuple[Any, ...]
Columns = Sequence[Sequence[Any]]
"""Some rows, by column: each holds one value of every row. A text may stand there as the bytes of its JSON."""
KeyRow = tuple[str, FailureKind | None, str | None]
"""Key, and why the record is not sent: kind and message."""

_UNKNOWN: Row = (None, None, None, None)
_NOTHING: Row = (0, 0, 0, 0, 0.0)
_key_rows = msgspec.json.Decoder(KeyRow)
_texts = msgspec.json.Decoder(list[str | None])


@dataclass(frozen=True, slots=True)
class Parts:
    """Where a job's table comes from. `selected` gives the ordinals of a segment that the table is about: those
    planned, and the bad and empty records among the selected. `contributing` gives the batches with totals that hold
    rows of the segment with that index. `source` None: of the source only the key is shown. `keep_image` puts an image
    (its key, row, bytes, format) somewhere and says where; None: the answer holds it."""

    spec: Spec
    rules: AnswerRules
    tag: str
    segments: Sequence[Segment]
    selected: Callable[[Segment], Sequence[Span]]
    contributing: Callable[[int], Sequence[Batch]]
    blobs: Blobs
    source: Source | None = None
    keep_image: Callable[[Any, int, bytes, str], str] | None = None


class Watcher(Protocol):
    """Hears of every row while the table is made."""

    def succeeded(self, answers: Columns) -> None:
        """Some rows more, by their answer columns."""

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
    forms: Sequence[str] = field(init=False)  # of custom ids, by number of the batch

    def __post_init__(self) -> None:
        self.keyed = is_keyed(self.parts.spec)
        self.forms = [custom_id_form(self.parts.tag, batch.shard.generation) for batch in self.joined.batches]
        self.read = _text_reader(self.parts)
        self.blank = (None,) * self.layout.answers
        self.extra = () if self.which == "failed" else self.parts.spec.extra

    def picked(self, selected: Sequence[Span]) -> Iterator[tuple[Sequence[int], Sequence[Row]]]:
        """Places of the table's rows and the values of their source columns, cut into blocks."""
        first, names, outcomes = self.joined.segment.first_ordinal, self.layout.source, self.joined.best.outcome
        places = [ordinal - first for ordinal in ordinals(selected)]
        if self.which == "failed":
            places = [at for at in places if outcomes[at] not in (0, SUCCEEDED)]
        if self.parts.source is None or not names:
            for block in self._cut([places], 0):
                yield block, [()] * len(block)
            return
        own: list[Row] = []
        for block in self._cut(self._with_columns(places, self.parts.source, own), self._width()):
            yield block, own[: len(block)]
            del own[: len(block)]

    def _cut(self, runs: Iterable[Sequence[int]], width: int) -> Iterator[Sequence[int]]:
        """The places in blocks that together hold so many rows or bytes; `width` bytes of source a row."""
        block: list[int] = []
        size = 0
        for run in filter(None, runs):
            for at, length in zip(run, picked(self.joined.best.length, run), strict=True):
                block.append(at)
                size += width + length
                if size >= BLOCK_BYTES or len(block) >= BLOCK_ROWS:
                    yield block
                    block, size = [], 0
        if block:
            yield block

    def _width(self) -> int:
        segment = self.joined.segment
        return segment.length // max(segment.rows, 1)

    def _with_columns(self, places: Sequence[int], source: Source, own: list[Row]) -> Iterator[Sequence[int]]:
        """The places in runs, while `own` gets their values."""
        first, names = self.joined.segment.first_ordinal, self.layout.source
        done = 0
        for block in source.read_blocks(self.joined.segment, frozenset(names)):
            start = block.first - first
            run = places[done : bisect_left(places, start + len(block.values), done)]
            for at in run:
                values = block.values[at - start]
                own.append((None,) * len(names) if values is None else tuple(map(values.get, names)))
            yield run
            done += len(run)
            # Read on to the end, for only there it is known that the segment is still the same.

    def columns(self, places: Sequence[int], own: Sequence[Row]) -> Columns:
        """Finished rows of these places. As a rule nearly all are plain answers: those are made a column at a time, and
        the others put in their places."""
        joined, raws = self.joined, list[bytes | None]([None] * len(places))
        odd = [slot for slot, length in enumerate(picked(joined.best.text_length, places)) if not length]
        needed = range(len(places)) if self.extra else odd
        if needed:
            (lines,) = joined.parts([places[slot] for slot in needed], (None, joined.best.length))
            for slot, line in zip(needed, lines, strict=True):
                raws[slot] = line
        rows = [self._row(places[slot], own[slot], raws[slot]) for slot in odd]
        if len(rows) == len(places):
            return list(zip(*rows, strict=True))
        columns = self._plain_columns(places, own, raws)
        for slot, row in zip(odd, rows, strict=True):
            for column, value in zip(columns, row, strict=True):
                column[slot] = value
        return columns

    def _plain_columns(
        self, places: Sequence[int], own: Sequence[Row], raws: Sequence[bytes | None]
    ) -> list[list[Any]]:
        """The columns as if all rows were plain answers; what they say of the others is nothing."""
        joined, keys, best, count = self.joined, self.keys, self.joined.best, len(places)
        texts, ids = joined.parts(places, (best.text_at, best.text_length), (best.id_at, best.id_length))
        reports = [best.reports.values[number] or (None, None) for number in picked(best.report, places)]
        batches, costs = picked(joined.batch, places), picked(best.cost, places)
        columns: list[Iterable[Any]] = [
            [keys[at][0] for at in places] if self.keyed else [joined.segment.first_ordinal + at + 1 for at in places],
            *zip(*own, strict=True),
            [Outcome.SUCCEEDED.value] * count,
            *self._answers(texts),
            [None] * count,
            [None] * count,
            *zip(*reports, strict=True),
            [
                self.forms[number] % ordinal
                for number, ordinal in zip(batches, picked(best.ordinal, places), strict=True)
            ],
            [name.decode() if name else None for name in ids],
            [joined.remotes[number] for number in batches],
            picked(joined.attempts, places),
            *(picked(column, places) for column in (best.input, best.cached, best.output, best.reasoning)),
            [None if cost == UNKNOWN else cost / 1e12 for cost in costs],
        ]
        if self.extra:
            columns += zip(*map(self._extras, places, raws), strict=True)
        made = list(map(list, columns))
        if joined.beside:
            start = len(made) - len(self.extra) - len(_UNKNOWN) - 1
            for slot, at in enumerate(places):
                if texts[slot] and at in joined.beside:
                    for column, value in zip(made[start:], self._money(at), strict=False):
                        column[slot] = value
        return made

    def _answers(self, texts: Sequence[bytes | None]) -> Sequence[Sequence[Any]]:
        """The answer's columns of these texts in JSON; the watcher hears of those that there are."""
        columns: Sequence[Sequence[Any]] = (texts,)
        if self.parts.rules.schema is not None:
            said = _texts.decode(b"[%b]" % b",".join(text or b"null" for text in texts))
            columns = list(zip(*(self.blank if text is None else self.read(text) for text in said), strict=True))
        if all(texts):
            self.watcher.succeeded(columns)
        else:
            self.watcher.succeeded([[*compress(column, map(bool, texts))] for column in columns])
        return columns

    def _key(self, at: int) -> Any:
        return self.keys[at][0] if self.keyed else self.joined.segment.first_ordinal + at + 1

    def _row(self, at: int, own: Row, raw: bytes | None) -> Row:
        """A row by itself."""
        entry = self.joined.best[at]
        if entry is None:
            return (self._key(at), *own, *self._unanswered(at))
        if entry.kind is not None or raw is None:
            return (self._key(at), *own, *self._failure(at, entry, raw))
        batch = self.joined.batches[self.joined.batch[at]]
        spoken = dialect(batch.dialect)
        reply = spoken.read_line(raw, batch.shard.endpoint)
        answer = self._answer(at, reply, raw, spoken)
        self.watcher.succeeded([[value] for value in answer])
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

    def _answer(self, at: int, reply: Reply, raw: bytes, spoken: Dialect) -> Row:
        """The values of the answer's columns, of a reply that is a success."""
        if self.parts.spec.endpoint in IMAGES:
            return (self._image(at, raw),)
        if self.parts.spec.endpoint == "embeddings":
            return (reply.vector,)
        if reply.text is not None:
            return self.read(reply.text)
        alone = self.parts.rules.schema is None and self.layout.answers == 1
        return (_other(reply, raw, spoken),) if alone else self.blank

    def _image(self, at: int, raw: bytes) -> str | None:
        """Where the row's image is, or the image itself as a data URL."""
        image = image_of(raw)
        if image is None or image.url is not None:
            return None if image is None else image.url
        if self.parts.keep_image is None:
            return f"data:image/{image.suffix};base64,{b64encode(image.data).decode()}"
        row = self.joined.segment.first_ordinal + at + 1
        return self.parts.keep_image(self._key(at), row, image.data, image.suffix)

    def _failure(self, at: int, entry: Entry, raw: bytes | None) -> Row:
        """From the status on: what there is of a row without success."""
        batch = self.joined.batches[self.joined.batch[at]]
        shard = batch.shard
        if raw is None:
            reply = Reply(custom_id(self.parts.tag, entry.ordinal, shard.generation), entry.outcome)
        else:
            reply = dialect(batch.dialect).read_line(raw, shard.endpoint, text=False)
        status, kind = entry.outcome.value, entry.kind
        self.watcher.ended(status, kind, entry.message or "")
        told = (None if kind is None else kind.value, entry.message)
        return (status, *self.blank, *told, *_report(reply), *self._bill(at), *self._extras(at, raw))

    def _bill(self, at: int) -> Row:
        """From `batch_id` on."""
        joined = self.joined
        return (joined.remotes[joined.batch[at]], joined.attempts[at], *self._money(at))

    def _money(self, at: int) -> Row:
        """Tokens and cost of all attempts."""
        entry = self.joined.best[at]
        assert entry is not None
        spent = self.joined.beside[at].and_also(entry) if at in self.joined.beside else Spent(entry.tokens, entry.cost)
        used, cost = spent.tokens, spent.cost
        return (
            *(_UNKNOWN if used is None else (used.input, used.cached, used.output, used.reasoning)),
            None if cost is None else cost / 1e12,
        )

    def _extras(self, at: int, raw: bytes | None) -> Row:
        """The columns that were asked for beside the usual ones."""
        if raw is None:
            return (None,) * len(self.extra)
        batch = self.joined.batches[self.joined.batch[at]]
        return tuple(
            strict_json(raw) if name == "raw" else dialect(batch.dialect).logprobs_of(raw, batch.shard.endpoint)
            for name in self.extra
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
    if parts.spec.endpoint == "moderations":
        return lambda text: tuple(map(msgspec.json.decode(text).get, ("flagged", "scores")))
    if rules.schema is None:
        return lambda text: (text,)
    if parts.spec.answer.labels is None and not rules.schema.get("properties"):
        return lambda text: (msgspec.json.decode(text),)
    names, fields = rules.check.columns, rules.check.fields
    return lambda text: tuple(map(fields(text).get, names))


def _other(reply: Reply, raw: bytes, spoken: Dialect) -> str | None:
    """An answer without text: tool calls, or the body of an endpoint that has no such thing, as JSON."""
    given = reply.tool_calls if reply.tool_calls is not None else spoken.body_of(raw)
    return None if given is None else given.decode()


def _report(reply: Reply) -> Row:
    return reply.finish_reason, reply.model, reply.custom_id, reply.request_id
