"""Judging what a batch brought home: raw answers in, ledger and totals out. Synchronous: call from a worker thread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from overnight.core.cost import Rates
from overnight.core.cost import cost as price
from overnight.core.retry import again, treatment
from overnight.data.entries import KINDS, OUTCOMES, SUCCEEDED, UNKNOWN, Entries
from overnight.data.ledger import tries_of, write_ledger
from overnight.data.schemas import ANSWER, answer_rules
from overnight.data.spans import ordinals
from overnight.ports import Blobs
from overnight.spec import Policy, Spec
from overnight.types import (
    Batch,
    Counts,
    Entry,
    FailureKind,
    Job,
    Outcome,
    PicoUSD,
    Reply,
    Segment,
    Tokens,
    Totals,
)
from overnight.wire.custom_ids import custom_id_form
from overnight.wire.dialect import Dialect, dialect
from overnight.wire.plain import Plain, PlainReader

AnswerCheck = Callable[[Reply], str | None]
"""Holds the answer to the job's own rules: None, or why it does not, in words free of content."""

_BURNS: Mapping[FailureKind | None, int] = {
    None: 1,
    **{kind: 1 if treatment(kind).burns else 0 for kind in FailureKind},
}
_NEVER = (0, 0)


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
    totals = _totals(intake, policy)
    name = f"jobs/{batch.job_id}/answers/{batch.id}.ledger"
    write_ledger(name, intake.rows, batch.shard.spans, segments, blobs)
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
    dialect: Dialect = field(init=False)
    rows: Entries = field(init=False)
    tries: dict[int, tuple[int, int]] = field(init=False)
    ordinals: Sequence[int] = field(init=False)
    places: dict[str, int] = field(init=False)  # position by custom id
    judging: bool = field(init=False)
    plain: PlainReader = field(init=False)
    shown: Reply = field(default_factory=lambda: Reply("", Outcome.SUCCEEDED))  # what is checked of plain answers
    reports: dict[str | None, int] = field(default_factory=dict)  # of plain answers, by model
    further: dict[int, _Further] = field(default_factory=dict)
    lengths: dict[int, list[int]] = field(default_factory=dict)
    labels: Counter[str] = field(default_factory=Counter)
    foreign: int = 0
    repeated: int = 0
    malformed: int = 0

    def __post_init__(self) -> None:
        shard = self.batch.shard
        self.dialect = dialect(self.batch.dialect)
        self.rows = Entries.blank(shard.rows)
        self.tries = tries_of(shard, self.blobs)
        self.ordinals = list(ordinals(shard.spans))
        form = custom_id_form(self.tag, shard.generation)
        self.places = dict(zip(map(form.__mod__, self.ordinals), range(shard.rows), strict=True))
        self.judging = getattr(self.check, "judges", True)
        self.plain = self.dialect.plain_reader(shard.endpoint) or PlainReader(_not_plain, "")

    def read(self, number: int, name: str) -> None:
        """Judge every line of a downloaded file."""
        read, places, outcomes = self.plain.read, self.places, self.rows.outcome
        offset = 0
        with self.blobs.open(name) as file:
            for line in file:
                length = len(line)
                told = read(line)
                at = -1 if told is None else places.get(told[0], -1)
                if told is None or at < 0 or outcomes[at] or (self.judging and not self.good(told)):
                    self.take(line, number, offset)
                else:
                    self.succeed(told, at, number, offset, length)
                offset += length

    def good(self, told: Plain) -> bool:
        """Whether a plain answer holds to the job's own rules; counts its label."""
        self.shown.custom_id, self.shown.text = told[:2]
        if self.check(self.shown) is not None:
            return False
        if self.fields is not None:
            self.labels[self.fields(told[1])[ANSWER]] += 1
        return True

    def succeed(self, told: Plain, at: int, file: int, offset: int, length: int) -> None:
        """The row's entry is that of a plain answer."""
        ordinal, model = self.ordinals[at], told[2]
        burned, paid = self.tries.get(ordinal, _NEVER) if self.tries else _NEVER
        cost = UNKNOWN if self.rates is None else price(Tokens(*told[7:]), self.rates)
        report = self.reports.get(model)
        if report is None:
            report = self.reports[model] = self.rows.reports.number((self.plain.finish_reason, model))
        self.rows.put_plain(at, ordinal, file, offset, length, told, report, cost, burned + 1, paid + 1)

    def take(self, line: bytes, file: int, offset: int) -> None:
        """Judge one line."""
        try:
            reply = self.dialect.read_line(line, self.batch.shard.endpoint)
        except ValueError:
            self.malformed += not line.isspace()
            return
        at = self.places.get(reply.custom_id, -1)
        if at < 0:
            self.foreign += 1
            return
        new, kept = self.judge(reply, self.ordinals[at], file, offset, len(line)), self.rows[at]
        if kept is None:
            self.keep(new, reply, at)
        else:
            self.repeat(reply, at, kept, new)

    def judge(self, reply: Reply, ordinal: int, file: int, offset: int, length: int) -> Entry:
        """The row's entry if this answer is the one that counts."""
        outcome, kind, message = reply.outcome, reply.kind, reply.message
        if outcome is Outcome.SUCCEEDED and (wrong := self.check(reply)) is not None:
            outcome, kind, message = Outcome.ERRORED, FailureKind.INVALID, wrong
        burned, paid = self.tries.get(ordinal, _NEVER) if self.tries else _NEVER
        ran, tokens, rates = reply.ran, reply.tokens, self.rates
        cost: PicoUSD | None
        if tokens is not None:
            cost = None if rates is None else price(tokens, rates)
        else:
            tokens, cost = (None, None) if ran else (Tokens(), PicoUSD(0))
        if ran:
            paid += 1
        return Entry(ordinal, outcome, kind, file, offset, length, tokens, cost, burned + _BURNS[kind], paid, message)

    def keep(self, entry: Entry, reply: Reply, at: int) -> None:
        """The row's entry is this one; remember what is judged over the whole batch: vectors' lengths, shares of
        labels."""
        self.rows[at] = entry
        if entry.outcome is not Outcome.SUCCEEDED:
            return
        if reply.vector is not None:
            self.lengths.setdefault(len(reply.vector), []).append(at)
        elif self.fields is not None and reply.text is not None:
            self.labels[self.fields(reply.text)[ANSWER]] += 1

    def repeat(self, reply: Reply, at: int, kept: Entry, new: Entry) -> None:
        """A further answer of a row: it replaces a failure if it is a success, and is booked if it ran on its own."""
        self.repeated += 1
        twice = self.ran_apart(kept, reply)
        lost = new
        if kept.outcome is not Outcome.SUCCEEDED and new.outcome is Outcome.SUCCEEDED:
            lost = kept
            self.keep(new, reply, at)
        if twice:
            known = self.further.get(at, _Further(Tokens(), 0, 0))
            tokens = None if lost.tokens is None or known.tokens is None else known.tokens + lost.tokens
            cost = None if lost.cost is None or known.cost is None else known.cost + lost.cost
            self.further[at] = _Further(tokens, cost, known.ran + 1)

    def ran_apart(self, kept: Entry, reply: Reply) -> bool:
        """Whether both answers are of executions, and not the same one told twice (one request id)."""
        reader = self.blobs.reader(self.batch.answers[kept.file])
        try:
            earlier = self.dialect.read_line(
                reader.read_at(kept.offset, kept.length), self.batch.shard.endpoint, text=False
            )
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
                self.rows[at] = replace(row, outcome=Outcome.ERRORED, kind=FailureKind.INVALID, message=message)

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
        for at, there in enumerate(self.rows.outcome):
            if not there:
                ordinal = self.ordinals[at]
                burned, paid = self.tries.get(ordinal, _NEVER)
                self.rows[at] = Entry(
                    ordinal, outcome, kind, -1, 0, 0, None, None, burned + _BURNS[kind], paid + 1, why
                )


def _not_plain(line: bytes) -> None:
    return None


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


def _sum(rows: Entries) -> _Money:
    inputs, costs = rows.input.tolist(), rows.cost.tolist()
    unknown, priceless = inputs.count(UNKNOWN), costs.count(UNKNOWN)
    further = (rows.cached, rows.output, rows.reasoning, rows.written)
    tokens = Tokens(sum(inputs) - unknown * UNKNOWN, *map(sum, further))
    # A cost is not known where the tokens are not; where more are not, it lacks a price.
    return _Money(tokens, sum(costs) - priceless * UNKNOWN, unknown, priceless > unknown)


def _sum_further(parts: Collection[_Further]) -> _Money:
    known = [more for more in parts if more.tokens is not None]
    return _Money(
        sum((more.tokens for more in known if more.tokens is not None), Tokens()),
        sum(more.cost for more in parts if more.cost is not None),
        len(parts) - len(known),
        any(more.cost is None for more in known),
    )


def _settled(intake: _Intake) -> _Money:
    """The batch's money, by the rule in `collect`; books repeated executions to their rows where they are believed."""
    kept, further = _sum(intake.rows), _sum_further(intake.further.values())
    remote = intake.batch.remote
    usage = remote.usage if remote is not None else None
    believed = (
        usage is not None
        and usage.input + usage.output > 0
        and usage.input >= kept.tokens.input
        and usage.output >= kept.tokens.output
    )
    if usage is None or not believed:
        _book(intake)
        return kept + further
    rest = Tokens(
        usage.input - kept.tokens.input,
        min(max(usage.cached - kept.tokens.cached, 0), usage.input - kept.tokens.input),
        usage.output - kept.tokens.output,
        max(usage.reasoning - kept.tokens.reasoning, 0),
        max(usage.written - kept.tokens.written, 0),
    )
    if rest.input >= further.tokens.input and rest.output >= further.tokens.output:
        _book(intake)
    unpriced = intake.rates is None
    # Which rows the rest belongs to is not known, so neither is a tier by the length of a row.
    priced = 0 if intake.rates is None else price(rest, replace(intake.rates, above=()))
    return _Money(usage, kept.cost + priced, 0, unpriced)


def _book(intake: _Intake) -> None:
    for at, more in intake.further.items():
        row = intake.rows[at]
        assert row is not None
        row.tokens = None if row.tokens is None or more.tokens is None else row.tokens + more.tokens
        row.cost = None if row.cost is None or more.cost is None else PicoUSD(row.cost + more.cost)
        row.paid += more.ran
        intake.rows[at] = row


def _totals(intake: _Intake, policy: Policy) -> Totals:
    money, rows = _settled(intake), intake.rows
    outcomes = Counter(rows.outcome.tolist())
    by_outcome = {outcome: outcomes[number] for number, outcome in enumerate(OUTCOMES)}
    kinds: Counter[str] = Counter()
    retryable: Counter[str] = Counter()
    if outcomes[SUCCEEDED] < len(rows):
        for number, burned, paid in zip(rows.kind, rows.burned, rows.paid, strict=True):
            kind = KINDS[number]
            if kind is not None:
                kinds[kind.value] += 1
                retryable[kind.value] += again(kind, burned, paid, policy)
    counts = Counts(
        total=len(rows),
        succeeded=by_outcome[Outcome.SUCCEEDED],
        errored=by_outcome[Outcome.ERRORED],
        canceled=by_outcome[Outcome.CANCELED],
        expired=by_outcome[Outcome.EXPIRED],
    )
    unpriced = money.unpriced or (intake.rates is None and money.unknown > 0)
    return Totals(
        rows=len(rows),
        counts=counts,
        kinds=dict(kinds),
        retryable=dict(+retryable),
        tokens=money.tokens,
        cost=None if unpriced else PicoUSD(money.cost),
        unknown_rows=money.unknown,
        foreign=intake.foreign,
        repeated=intake.repeated,
        malformed=intake.malformed,
        labels=dict(intake.labels),
    )
