"""Planning: the whole source into segments, and the selected rows into request files, before anything is sent."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from overnight.data import spans
from overnight.data.batch_size import batch_plan
from overnight.data.keys import Keys, key_hash, write_hashes
from overnight.data.media_requests import MediaRequests
from overnight.data.raw_requests import RawRequests, parse_raw
from overnight.data.records import DEFAULT_CUT, Block, Cut, Record, Run, SourceChanged, Unreadable
from overnight.data.requests import PromptRequests, Requests, RequestShape
from overnight.data.row_list import RowListWriter, problems, row_list_name
from overnight.data.selection import expected, selected
from overnight.data.shards import ShardSet
from overnight.data.sources import Source, open_source
from overnight.data.sources_jsonl import parse_object
from overnight.data.spool import is_spool
from overnight.errors import UsageError
from overnight.ports import Blobs
from overnight.spec import Spec
from overnight.types import FailureKind, JobId, Limits, Proof, Segment, Selection, Shard

RAW_KEY = "custom_id"
EMPTY = "every column of the prompt is empty"
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Planning:
    """What is to be planned. `known` are the job's segments so far and `shards` its first-round shards so far: rows in
    them are not planned again."""

    spec: Spec
    job_id: JobId
    source: Source
    requests: Requests
    blobs: Blobs
    limits: Limits
    selection: Selection
    new_id: Callable[[], str]
    dialect: str
    known: Sequence[Segment] = ()
    shards: Sequence[Shard] = ()
    proof: Proof = "tag"


@dataclass(frozen=True, slots=True)
class SegmentPlan:
    """A segment, whether it is to be recorded, and new shards that hold rows of it."""

    segment: Segment
    new: bool
    shards: tuple[Shard, ...]


@dataclass(slots=True)
class Summary:
    """What planning has found so far, for the preview; complete when the plans are exhausted."""

    rows: int = 0  # records of the source that were looked at
    selected: int = 0
    planned_before: int = 0  # selected rows that are in shards already
    requests: int = 0  # rows in the new shards
    bad: int = 0  # selected rows that cannot be sent
    empty: int = 0  # selected rows whose prompt columns are all empty
    problems: list[str] = field(default_factory=list)  # of the first bad ones, free of content
    batches: int = 0
    why_batches: str = ""
    source_bytes: int = 0  # of what was looked at, decompressed
    request_bytes: int = 0
    tokens: int = 0  # input tokens of the new requests, estimated
    tokens_ceiling: int = 0  # input tokens that they do not exceed in practice
    shared: int = 0  # of the estimated tokens, those that the provider is asked to keep in its prompt cache
    max_output: int | None = 0  # output tokens that they cannot exceed; None: a request has no limit
    first_request: dict[str, Any] | None = None


def source_of(spec: Spec, base: Path, blobs: Blobs, *, cut: Cut = DEFAULT_CUT) -> Source:
    """The spec's source, opened; relative paths stand from `base`. Raises `UsageError`."""
    return open_source(spec.source, base, blobs, parse=parse_raw if spec.raw else parse_object, cut=cut)


def requests_of(spec: Spec, shape: RequestShape, columns: Sequence[str], tag: str, locator: str = "") -> Requests:
    """How rows with these columns become requests; `locator` is the source's. Raises `UsageError` where the prompt does
    not fit."""
    if spec.raw:
        return RawRequests(shape, spec.allow_unlimited, tag)
    if spec.prompt.images or spec.prompt.documents:
        first = locator.split("\n", maxsplit=1)[0]
        folder = Path.cwd() if is_spool(first) else Path(first).parent
        return MediaRequests(spec.prompt, shape, columns, tag, folder)
    return PromptRequests(spec.prompt, shape, columns, tag)


def plan_segments(task: Planning, summary: Summary) -> Iterator[SegmentPlan]:
    """Plan the segments that the selection needs, in order; a sample needs all of them, and gives the new ones twice:
    first without shards. The files of a plan are published when it is yielded.

    Raises `UsageError` for the first selected record that is bad (where `rows.on_bad` says stop), for keys that are
    missing, empty or repeated, for a source without rows; `SourceChanged` where a known segment is not the same any
    more. Nothing may be sent before the iterator has ended: keys repeated in another segment come out at the end."""
    yield from _Planner(task, summary).run()


def verify_segments(source: Source, segments: Sequence[Segment], *, whole: bool) -> None:
    """Raises `SourceChanged` where the source is not what these segments were made of; `whole`: or where it goes on
    behind the last of them."""
    for segment in segments:
        source.verify(segment)
    if whole and segments:
        for run in source.segments(segments[-1], frozenset()):
            raise SourceChanged(
                f"{source.place(run.file, run.line)}: the source has grown since this job was planned: "
                "start over as a new job with --new"
            )


@dataclass(slots=True)
class _Making:
    """A new segment in the making. `wanted`: the ordinals that are selected."""

    file: str
    wanted: range
    rows: RowListWriter
    shards: ShardSet
    hashes: list[bytes] = field(default_factory=list)
    found: Counter[FailureKind] = field(default_factory=Counter)


class _Planner:
    def __init__(self, task: Planning, summary: Summary) -> None:
        self.task = task
        self.summary = summary
        self.segments = list(task.known)
        self.plan = task.new_id()[:8]
        self.key = RAW_KEY if task.spec.raw else task.spec.key
        self.keys = Keys(self.key or "", task.source, task.blobs, optional=task.spec.raw)
        wanted = task.requests.columns
        self.wanted = wanted if wanted is None or self.key is None else wanted | {self.key}
        self.size = batch_plan(task.spec.batch, task.limits, expected(task.selection, task.source.rows), task.proof)
        self.cuts: Counter[str] = Counter()
        self.before: dict[int, list[Shard]] = {}
        for shard in task.shards:
            if shard.segment is not None:
                self.before.setdefault(shard.segment, []).append(shard)

    def run(self) -> Iterator[SegmentPlan]:
        if self.key is not None and not self.task.spec.raw:
            self.keys.check_column(self.task.known)
        selection = self.task.selection
        if selection.sample is None:
            stop = sys.maxsize if selection.limit is None else selection.limit
            for segment in self.task.known:
                if segment.first_ordinal < stop:
                    yield self.again(segment, ((0, stop),))
            yield from self.new(stop, range(stop))
        else:
            yield from self.new(sys.maxsize, range(0))
            chosen = selected(selection, self.end(), self.task.job_id)
            for segment in self.segments:
                plan = self.again(segment, chosen)
                if plan.shards:
                    yield plan
        self.check_whole()

    def end(self) -> int:
        """The ordinal behind the last segment."""
        return self.segments[-1].first_ordinal + self.segments[-1].rows if self.segments else 0

    # ------------------------------------------------------------------------------ segments met first

    def new(self, stop: int, wanted: range) -> Iterator[SegmentPlan]:
        """Segments behind those known, as far as the first `stop` records need them."""
        if self.end() >= stop:
            return
        for run in self.task.source.segments(self.segments[-1] if self.segments else None, self.wanted):
            yield self.first(run, wanted)
            if self.end() >= stop:
                return

    def first(self, run: Run, wanted: range) -> SegmentPlan:
        """A new segment: every record is judged, those selected are written as requests."""
        task, index = self.task, len(self.segments)
        name = row_list_name(task.job_id, index, self.plan)
        with task.blobs.create(name) as writer, self.shard_set(index) as shards:
            making = _Making(run.file, wanted, RowListWriter(writer), shards)
            for block in run.blocks():
                if not self.take_all(block, making):
                    for record in block:
                        self.take(record, making)
            making.rows.flush()
            writer.commit()
            made = self.made(shards)
        found = making.found
        segment = Segment(
            index=index,
            first_ordinal=run.first_ordinal,
            rows=run.rows,
            file=run.file,
            offset=run.offset,
            line=run.line,
            length=run.length,
            sha256=run.sha256,
            rows_blob=name,
            bad=found[FailureKind.BAD_ROW],
            empty=found[FailureKind.EMPTY_ROW],
        )
        if self.key is not None and write_hashes(task.blobs, name, making.hashes):
            self.keys.check([segment])
        self.segments.append(segment)
        self.count(segment)
        return SegmentPlan(segment, True, made)

    def take_all(self, block: Block, making: _Making) -> bool:
        """Take records that are all good and all selected, or all not; False where they have to be taken one by one.
        Nothing but time is different."""
        first, stop = block.first, block.first + len(block.values)
        chosen = first in making.wanted and stop - 1 in making.wanted
        if not chosen and (first in making.wanted or stop - 1 in making.wanted):
            return False
        many = self.task.requests.request_all(first, making.shards.generation, block.values)
        keys = self.keys.texts(block.values) if self.key is not None else list(map(str, range(first + 1, stop + 1)))
        if many is None or keys is None or (chosen and not making.shards.add_all(first, many)):
            return False
        if chosen:
            self.summary.selected += stop - first
            self.show(many.lines[0])
        making.rows.add_all(keys)
        if self.key is not None:
            making.hashes += map(key_hash, keys)
        return True

    def take(self, record: Record, making: _Making) -> None:
        """Take one record."""
        key, kind, message, rendered = self.judge(record, making.file)
        making.rows.add(key, kind, message)
        if kind is not None:
            making.found[kind] += 1
        if self.key is not None and key:
            making.hashes.append(key_hash(key))
        if record.ordinal in making.wanted:
            self.summary.selected += 1
            if kind is None or self.sends(kind, message):
                self.write(making.shards, record, making.file, rendered)

    def judge(self, record: Record, file: str) -> tuple[str, FailureKind | None, str | None, Any]:
        """Key, problem and rendered prompt of a record: the same whatever is selected and whatever `rows` says."""
        values, key = record.values, str(record.ordinal + 1)
        if values is None:
            return "" if self.key else key, FailureKind.BAD_ROW, record.problem, None
        if self.key is not None:
            key = self.keys.text(values.get(self.key), key, file, record.line)
        empty = self.task.requests.is_empty(values)
        try:
            rendered = self.task.requests.render(values)
        except Unreadable as error:
            if not empty:
                return key, FailureKind.BAD_ROW, f"{self.task.source.place(file, record.line)}: {error}", None
            rendered = None
        return (key, FailureKind.EMPTY_ROW, EMPTY, rendered) if empty else (key, None, None, rendered)

    # ----------------------------------------------------------------------------- segments known before

    def again(self, segment: Segment, chosen: spans.Spans) -> SegmentPlan:
        """A known segment: the selected rows that are in no shard yet are written as requests."""
        task, summary = self.task, self.summary
        mine = spans.intersect(chosen, (spans.of_segment(segment),))
        earlier = spans.union(*(shard.spans for shard in self.before.get(segment.index, ())))
        summary.selected += spans.count(mine)
        summary.planned_before += spans.count(spans.intersect(mine, earlier))
        todo = spans.minus(spans.minus(mine, earlier), self.unsendable(segment, mine))
        if segment.index < len(task.known):
            self.count(segment)
            if not todo:
                task.source.verify(segment)
        if not todo:
            return SegmentPlan(segment, False, ())
        wanted = frozenset(spans.ordinals(todo))
        with self.shard_set(segment.index) as shards:
            for record in task.source.read(segment, self.wanted):
                if record.ordinal in wanted:
                    self.write(shards, record, segment.file, None)
            return SegmentPlan(segment, False, self.made(shards))

    def unsendable(self, segment: Segment, mine: spans.Spans) -> spans.Spans:
        """Those of the selected rows of a known segment that are not sent, as it is on record."""
        found = problems(self.task.blobs, segment, mine)
        return spans.from_ordinals(ordinal for ordinal, kind, message in found if not self.sends(kind, message))

    # -------------------------------------------------------------------------------------------- shared

    def sends(self, kind: FailureKind, message: str | None) -> bool:
        """Whether a selected row with this problem is sent; counts it. Raises where it stops the planning."""
        rows = self.task.spec.rows
        if kind is FailureKind.EMPTY_ROW:
            self.summary.empty += 1
            return rows.on_empty == "send"
        if rows.on_bad == "stop":
            raise UsageError(f"{message}: mend the record, or skip such rows with rows.on_bad: skip")
        self.summary.bad += 1
        if len(self.summary.problems) < _SHOWN:
            self.summary.problems.append(message or "")
        return False

    def shard_set(self, segment: int) -> ShardSet:
        task = self.task
        number = len(task.shards) + self.summary.batches
        return ShardSet(task.blobs, task.job_id, segment, 0, self.size.most, task.new_id, task.dialect, number)

    def write(self, shards: ShardSet, record: Record, file: str, rendered: Any) -> None:
        """The record as a request into its shard; rendered None: it has not been, or could not be."""
        requests = self.task.requests
        if rendered is None:
            try:
                rendered = requests.render(record.values or {})
            except Unreadable as error:
                raise UsageError(f"{self.task.source.place(file, record.line)}: {error}") from error
        request = requests.request(record.ordinal, shards.generation, rendered)
        shards.add(record.ordinal, request)
        self.show(request.line)

    def show(self, line: bytes) -> None:
        """The first request is shown in the preview."""
        if self.summary.first_request is None:
            self.summary.first_request = json.loads(line)  # takes any number that a raw body may hold

    def made(self, shards: ShardSet) -> tuple[Shard, ...]:
        """The finished shards, entered into the summary."""
        made, summary = shards.finish(), self.summary
        self.cuts += shards.cuts
        for shard in made:
            summary.requests += shard.rows
            summary.request_bytes += shard.size
            summary.tokens += shard.tokens
            summary.shared += round(self.task.requests.shared * shard.rows)
            summary.tokens_ceiling += shard.tokens_ceiling
            limited = summary.max_output is not None and shard.max_output is not None
            summary.max_output = (summary.max_output or 0) + (shard.max_output or 0) if limited else None
        summary.batches += len(made)
        summary.why_batches = self.size.why(summary.batches, self.cuts)
        return made

    def count(self, segment: Segment) -> None:
        self.summary.rows += segment.rows
        self.summary.source_bytes += segment.length

    def check_whole(self) -> None:
        """What can only be told when all is read."""
        if not self.end():
            name = self.task.source.locator.replace("\n", ", ")
            raise UsageError(f"{name}: the source has no rows, so there is nothing to send")
        if self.key is not None:
            self.keys.check(self.segments)
