"""Judging what a batch brought home: raw answers in, ledger and totals out. Synchronous: call from a worker thread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Any

import msgspec

from overnight.core.cost import Rates
from overnight.core.cost import cost as price
from overnight.core.retry import again, treatment
from overnight.data.ledger import Line, Usage, tries_of, write_ledger
from overnight.data.schemas import ANSWER, answer_rules
from overnight.data.spans import ordinals
from overnight.ports import Blobs
from overnight.spec import Policy, Spec
from overnight.types import (
    Batch,
    Counts,
    FailureKind,
    Job,
    Outcome,
    PicoUSD,
    Reply,
    Segment,
    Tokens,
    Totals,
)
from overnight.wire.openai import Plain, custom_id_form, plain_reader, read_line

AnswerCheck = Callable[[Reply], str | None]
"""Holds the answer to the job's own rules: None, or why it does not, in words free of content."""

_BURNS: Mapping[FailureKind | None, int] = {
    None: 1,
    **{kind: 1 if treatment(kind).burns else 0 for kind in FailureKind},
}
_NONE = Usage()
_NEVER = (0, 0)
_SUCCEEDED = Outcome.SUCCEEDED


def collect(
    batch: Batch,
    job: Job,
    check: AnswerCheck,
    blobs: Blobs,
    rates: Rates | None,
    policy: Policy,
    segments: Sequence[Segment],
    tag: str,
) -> tuple[str, Totals]:
    """Read the downloaded answers of an ended batch, write its ledger, return the ledger's name and the totals.

    Every row of the shard ends with exactly one entry. The first success of a row wins; what is repeated, foreign or
    no answer line is counted and never fatal. A row in no file ended as its batch did (expired, canceled), else it is
    missing; it may have run, so its money is unknown and it counts as a paid attempt.

    Money: a row costs what its answer says it used; one that the provider never ran costs 0; one that ran and does not
    tell is unknown, and so is everything that ran where no price is known (`Totals.cost` is then None). A repeated
    answer that ran under another request id ran twice and is booked to its row. The batch's own usage, where it is not
    zero and not less than what the rows tell, is the truth: then `Totals.tokens` equals it, what it holds beyond the
    rows is priced as well, and no row's money is unknown to the totals (its entry still does not know its share).
    """
    spec = msgspec.json.decode(job.spec, type=Spec)
    fields = answer_rules(spec).check.fields if spec.answer.labels is not None else None
    intake = _Intake(batch, check, fields, blobs, rates, tag)
    for number, name in enumerate(batch.answers):
        intake.read(number, name)
    intake.unlike_vectors()
    intake.missing()
    rows = [row for row in intake.rows if row is not None]
    totals = _totals(intake, rows, policy)
    name = f"jobs/{batch.job_id}/answers/{batch.id}.ledger.jsonl"
    write_ledger(name, rows, batch.shard.spans, segments, blobs)
    return name, totals


@dataclass(frozen=True, slots=True)
class _Further:
    """Money of the answers of a row beside the one that was kept."""

    tokens: Tokens | None
    cost: int | None
    ran: int


@dataclass(slots=True)
class _Intake:
    """The rows of one batch while its files are read; `rows` by position in the shard."""

    batch: Batch
    check: AnswerCheck
    fields: Callable[[str], Mapping[str, Any]] | None  # reads the label of an answer, where labels are asked
    blobs: Blobs
    rates: Rates | None
    tag: str
    rows: list[Line | None] = field(init=False)
    tries: dict[int, tuple[int, int]] = field(init=False)
    ordinals: Sequence[int] = field(init=False)
    places: dict[str, int] = field(init=False)  # position by custom id
    judging: bool = field(init=False)
    further: dict[int, _Further] = field(default_factory=dict)
    lengths: dict[int, list[int]] = field(default_factory=dict)
    labels: Counter[str] = field(default_factory=Counter)
    foreign: int = 0
    repeated: int = 0
    malformed: int = 0

    def __post_init__(self) -> None:
        shard = self.batch.shard
        self.rows = [None] * shard.rows
        self.tries = tries_of(shard, self.blobs)
        self.ordinals = list(ordinals(shard.spans))
        form = custom_id_form(self.tag, shard.generation)
        self.places = {form % ordinal: at for at, ordinal in enumerate(self.ordinals)}
        self.judging = getattr(self.check, "judges", True)

    def read(self, number: int, name: str) -> None:
        """Judge every line of a downloaded file."""
        plain, rows, places = plain_reader(self.batch.shard.endpoint), self.rows, self.places
        good = self.good if self.judging else None
        offset = 0
        with self.blobs.open(name) as file:
            for line in file:
                length = len(line)
                told = plain(line) if plain is not None else None
                at = -1 if told is None else places.get(told[0], -1)
                if told is None or at < 0 or rows[at] is not None or (good is not None and not good(told)):
                    self.take(line, number, offset)
                else:
                    rows[at] = self.success(told, self.ordinals[at], number, offset, length)
                offset += length

    def good(self, told: Plain) -> bool:
        """Whether a plain answer holds to the job's own rules; counts its label."""
        if self.check(Reply(told[0], _SUCCEEDED, text=told[1])) is not None:
            return False
        if self.fields is not None:
            self.labels[self.fields(told[1])[ANSWER]] += 1
        return True

    def success(self, told: Plain, ordinal: int, file: int, offset: int, length: int) -> Line:
        """The row's entry of a plain answer."""
        burned, paid = self.tries.get(ordinal, _NEVER) if self.tries else _NEVER
        _, _, _, _, *used = told
        cost = None if self.rates is None else price(Tokens(*used), self.rates)
        return Line(ordinal, _SUCCEEDED, None, file, offset, length, Usage(*used), cost, burned + 1, paid + 1)

    def take(self, line: bytes, file: int, offset: int) -> None:
        """Judge one line."""
        try:
            reply = read_line(line, self.batch.shard.endpoint)
        except ValueError:
            self.malformed += not line.isspace()
            return
        at = self.places.get(reply.custom_id, -1)
        if at < 0:
            self.foreign += 1
        elif self.rows[at] is None:
            self.rows[at] = self.judge(reply, self.ordinals[at], file, offset, len(line))
            self.note(reply, at)
        else:
            self.repeat(reply, at, self.ordinals[at], file, offset, len(line))

    def judge(self, reply: Reply, ordinal: int, file: int, offset: int, length: int) -> Line:
        """The row's entry if this answer is the one that counts."""
        outcome, kind, message = reply.outcome, reply.kind, reply.message
        if outcome is Outcome.SUCCEEDED and (wrong := self.check(reply)) is not None:
            outcome, kind, message = Outcome.ERRORED, FailureKind.INVALID, wrong
        burned, paid = self.tries.get(ordinal, _NEVER) if self.tries else _NEVER
        ran, tokens, rates = reply.ran, reply.tokens, self.rates
        used: Usage | None
        cost: int | None
        if tokens is not None:
            used = Usage(tokens.input, tokens.cached, tokens.output, tokens.reasoning)
            cost = None if rates is None else price(tokens, rates)
        else:
            used, cost = (None, None) if ran else (_NONE, 0)
        if ran:
            paid += 1
        return Line(ordinal, outcome, kind, file, offset, length, used, cost, burned + _BURNS[kind], paid, message)

    def note(self, reply: Reply, at: int) -> None:
        """Remember what is judged over the whole batch: vectors' lengths, shares of labels."""
        row = self.rows[at]
        assert row is not None
        if row.outcome is not Outcome.SUCCEEDED:
            return
        if reply.vector is not None:
            self.lengths.setdefault(len(reply.vector), []).append(at)
        elif self.fields is not None and reply.text is not None:
            self.labels[self.fields(reply.text)[ANSWER]] += 1

    def repeat(self, reply: Reply, at: int, ordinal: int, file: int, offset: int, length: int) -> None:
        """A further answer of a row: it replaces a failure if it is a success, and is booked if it ran on its own."""
        self.repeated += 1
        kept, new = self.rows[at], self.judge(reply, ordinal, file, offset, length)
        assert kept is not None
        twice = self.ran_apart(kept, reply)
        lost = new
        if kept.outcome is not Outcome.SUCCEEDED and new.outcome is Outcome.SUCCEEDED:
            self.rows[at], lost = new, kept
            self.note(reply, at)
        if twice:
            known = self.further.get(at, _Further(Tokens(), 0, 0))
            tokens = None if lost.tokens is None or known.tokens is None else known.tokens + _tokens(lost.tokens)
            cost = None if lost.cost is None or known.cost is None else known.cost + lost.cost
            self.further[at] = _Further(tokens, cost, known.ran + 1)

    def ran_apart(self, kept: Line, reply: Reply) -> bool:
        """Whether both answers are of executions, and not the same one told twice (one request id)."""
        reader = self.blobs.reader(self.batch.answers[kept.file])
        try:
            earlier = read_line(reader.read_at(kept.offset, kept.length), self.batch.shard.endpoint, text=False)
        finally:
            reader.close()
        same = reply.request_id is not None and reply.request_id == earlier.request_id
        return reply.ran and earlier.ran and not same

    def unlike_vectors(self) -> None:
        """Vectors of another length than most of the batch's are invalid."""
        if len(self.lengths) < 2:
            return
        usual = max(self.lengths, key=lambda length: len(self.lengths[length]))
        for length, places in self.lengths.items():
            if length == usual:
                continue
            message = f"a vector of {length} numbers where the batch has {usual}"
            for at in places:
                row = self.rows[at]
                assert row is not None
                self.rows[at] = msgspec.structs.replace(
                    row, outcome=Outcome.ERRORED, kind=FailureKind.INVALID, message=message
                )

    def missing(self) -> None:
        """Name the rows that came back in no file."""
        remote = self.batch.remote
        match remote.end if remote is not None else None:
            case Outcome.EXPIRED:
                outcome, kind, why = Outcome.EXPIRED, FailureKind.EXPIRED, "the batch expired and does not name the row"
            case Outcome.CANCELED:
                outcome, kind, why = Outcome.CANCELED, FailureKind.CANCELED, "canceled; the batch does not name the row"
            case _:
                outcome, kind, why = Outcome.ERRORED, FailureKind.MISSING, "in no file of the answer"
        if None not in self.rows:
            return
        for at, ordinal in enumerate(self.ordinals):
            if self.rows[at] is None:
                burned, paid = self.tries.get(ordinal, (0, 0))
                self.rows[at] = Line(ordinal, outcome, kind, -1, 0, 0, None, None, burned + _BURNS[kind], paid + 1, why)


def _tokens(used: Usage) -> Tokens:
    return Tokens(used.input, used.cached, used.output, used.reasoning)


@dataclass(frozen=True, slots=True)
class _Money:
    """A sum: of what is known, and how many parts are not. `unpriced`: tokens are known and no price is."""

    tokens: Tokens
    cost: int
    unknown: int
    unpriced: bool

    def __add__(self, other: _Money) -> _Money:
        return _Money(
            self.tokens + other.tokens,
            self.cost + other.cost,
            self.unknown + other.unknown,
            self.unpriced or other.unpriced,
        )


def _sum(parts: Sequence[tuple[Tokens | Usage | None, int | None]]) -> _Money:
    known = [used for used, _ in parts if used is not None]
    tokens = Tokens(
        *(sum(map(attrgetter(name), known)) for name in ("input", "cached", "output", "reasoning")),
    )
    return _Money(
        tokens,
        sum(cost for _, cost in parts if cost is not None),
        len(parts) - len(known),
        any(cost is None and used is not None for used, cost in parts),
    )


def _settled(intake: _Intake, rows: list[Line]) -> _Money:
    """The batch's money, by the rule in `collect`; books repeated executions to their rows where they are believed."""
    kept = _sum([(row.tokens, row.cost) for row in rows])
    further = _sum([(more.tokens, more.cost) for more in intake.further.values()])
    remote = intake.batch.remote
    usage = remote.usage if remote is not None else None
    believed = (
        usage is not None
        and usage.input + usage.output > 0
        and usage.input >= kept.tokens.input
        and usage.output >= kept.tokens.output
    )
    if usage is None or not believed:
        _book(intake, rows)
        return kept + further
    rest = Tokens(
        usage.input - kept.tokens.input,
        min(max(usage.cached - kept.tokens.cached, 0), usage.input - kept.tokens.input),
        usage.output - kept.tokens.output,
        max(usage.reasoning - kept.tokens.reasoning, 0),
    )
    if rest.input >= further.tokens.input and rest.output >= further.tokens.output:
        _book(intake, rows)
    unpriced = intake.rates is None
    # Which rows the rest belongs to is not known, so neither is a tier by the length of a row.
    priced = 0 if intake.rates is None else price(rest, replace(intake.rates, above=()))
    return _Money(usage, kept.cost + priced, 0, unpriced)


def _book(intake: _Intake, rows: list[Line]) -> None:
    for at, more in intake.further.items():
        row = rows[at]
        both = None if row.tokens is None or more.tokens is None else _tokens(row.tokens) + more.tokens
        rows[at] = msgspec.structs.replace(
            row,
            tokens=None if both is None else Usage(both.input, both.cached, both.output, both.reasoning),
            cost=None if row.cost is None or more.cost is None else row.cost + more.cost,
            paid=row.paid + more.ran,
        )


def _totals(intake: _Intake, rows: list[Line], policy: Policy) -> Totals:
    money = _settled(intake, rows)
    outcomes = Counter(map(attrgetter("outcome"), rows))
    failed = [row for row in rows if row.kind is not None]
    kinds = Counter(row.kind.value for row in failed if row.kind is not None)
    retryable = Counter(
        row.kind.value for row in failed if row.kind is not None and again(row.kind, row.burned, row.paid, policy)
    )
    counts = Counts(
        total=len(rows),
        succeeded=outcomes[Outcome.SUCCEEDED],
        errored=outcomes[Outcome.ERRORED],
        canceled=outcomes[Outcome.CANCELED],
        expired=outcomes[Outcome.EXPIRED],
    )
    unpriced = money.unpriced or (intake.rates is None and money.unknown > 0)
    return Totals(
        rows=len(rows),
        counts=counts,
        kinds=dict(kinds),
        retryable=dict(retryable),
        tokens=money.tokens,
        cost=None if unpriced else PicoUSD(money.cost),
        unknown_rows=money.unknown,
        foreign=intake.foreign,
        repeated=intake.repeated,
        malformed=intake.malformed,
        labels=dict(intake.labels),
    )
