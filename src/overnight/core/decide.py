"""What is left to do for a job, and when to look again: pure, from a small view.

`decide` changes nothing. It may be called at any time and any number of times; performing its actions and committing
the events that came of them leads to the next view.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import assert_never

from overnight.core.cost import Rates
from overnight.core.deadline import create_seconds, poll_interval
from overnight.core.stops import batch_ceiling, brake, committed, over_limit, unexpected
from overnight.spec import Spec
from overnight.types import Batch, BatchId, BatchState, Hold, JobView

SETTLE_LOOKS = 3
"""Looks at the provider's listing before a submission may be called absent (contracts: 15.1, step 4)."""
HELD_PACE = 6
"""A held submission is looked at so many times as rarely: it waits for batches of others to end."""
COUNT_PAUSE = 2.0
"""Seconds until a create is thought of again whose number of requests another one has that is on its way."""


@dataclass(frozen=True, slots=True)
class Submit:
    """Write the intent, upload the shard, create the batch."""

    batch: Batch


@dataclass(frozen=True, slots=True)
class Settle:
    """Find out what became of a submission. `prove`: enough has passed for the fence, or behind it for the proof that
    there is nothing to find."""

    batch: Batch
    prove: bool


@dataclass(frozen=True, slots=True)
class Prove:
    """Ask the answers of a batch that was adopted without proof whose they are."""

    batch: Batch


@dataclass(frozen=True, slots=True)
class PostponeCancel:
    """A batch that may be somebody else's is not stopped: its cancel waits for the proof."""

    batch: Batch


@dataclass(frozen=True, slots=True)
class Poll:
    """Ask the provider how these batches stand."""

    batches: tuple[Batch, ...]


@dataclass(frozen=True, slots=True)
class Cancel:
    """Ask the provider to stop a batch."""

    batch: Batch


@dataclass(frozen=True, slots=True)
class CancelUnsent:
    """Nothing left yet: cancel here."""

    batches: tuple[Batch, ...]


@dataclass(frozen=True, slots=True)
class Collect:
    """Download the answers, judge them, write the ledger."""

    batch: Batch


@dataclass(frozen=True, slots=True)
class FollowUp:
    """Put rows that wait for another attempt into new shards."""


@dataclass(frozen=True, slots=True)
class Clean:
    """Delete our files of ended batches at the provider."""


@dataclass(frozen=True, slots=True)
class HoldJob:
    """Stand still until somebody acts."""

    hold: Hold


Action = Submit | Settle | Prove | Poll | Cancel | PostponeCancel | CancelUnsent | Collect | FollowUp | Clean | HoldJob


@dataclass(frozen=True, slots=True)
class Wait:
    """What this process knows of a submission that is not settled, in elapsed (not wall-clock) seconds."""

    since: float  # first look, or the first failed attempt to send
    looks: int
    last: float
    owner_dead: bool  # its sender is known to be gone: nothing can leave any more
    unsent: bool = False  # nothing can have been created: send again
    fenced: float | None = None  # when the input file was deleted: whatever arrives later fails unpaid
    in_vain: bool = False  # no answers are to come that could tell: only a person can


@dataclass(frozen=True, slots=True)
class Terms:
    """What a decision needs beside the view."""

    spec: Spec
    in_flight: int
    follow_up_rows: int  # a follow-up of so many rows is full
    visibility: float
    settle_every: float
    poll: float | None
    creates_per_hour: int | None
    lease: float = 60.0
    rates: Rates | None = None  # for the ceiling of `max_cost`: the batch price, else the standard one
    clean: bool = True


@dataclass(frozen=True, slots=True)
class Decision:
    """Actions to perform now; `wake_at` (wall clock) is when to look again, None where nothing will ever be left."""

    actions: tuple[Action, ...]
    wake_at: float | None
    finished: bool = False


@dataclass(slots=True)
class _Draft:
    actions: list[Action] = field(default_factory=list)
    wakes: list[float] = field(default_factory=list)


def decide(view: JobView, now: float, elapsed: float, waits: Mapping[BatchId, Wait], terms: Terms) -> Decision:
    """Everything that can be done now. Submissions come last, and none while the job is held, canceled or not approved,
    nor where a rule (brake, expectation, limit) would be crossed: then the decision is to hold."""
    draft = _Draft()
    due: list[Batch] = []
    for batch in view.open:
        _open_batch(batch, view, now, elapsed, waits, terms, draft, due)
    if due:
        draft.actions.append(Poll(tuple(due)))
    if view.job.cancel_requested:
        if view.ready:
            draft.actions.append(CancelUnsent(view.ready))
        elif view.next_ready is not None:
            draft.wakes.append(view.next_ready)
    elif view.job.hold is None and _approved(view):
        _sending(view, now, terms, draft)
    if view.totals.uncleaned and terms.clean:
        draft.actions.append(Clean())
    return _decision(view, draft)


def _decision(view: JobView, draft: _Draft) -> Decision:
    nothing_open = not view.open and not draft.actions and not view.ready and view.next_ready is None
    waiting = view.totals.backlog > 0 and not view.job.cancel_requested
    finished = nothing_open and _approved(view) and not waiting
    wake = min(draft.wakes) if draft.wakes else None
    return Decision(tuple(draft.actions), None if finished else wake, finished)


def _approved(view: JobView) -> bool:
    return view.job.planned is not None and view.job.planned == view.job.approved


def _open_batch(
    batch: Batch,
    view: JobView,
    now: float,
    elapsed: float,
    waits: Mapping[BatchId, Wait],
    terms: Terms,
    draft: _Draft,
    due: list[Batch],
) -> None:
    match batch.state:
        case BatchState.SUBMITTING:
            _settle(batch, view, now, elapsed, waits.get(batch.id), terms, draft)
        case BatchState.IN_PROGRESS | BatchState.CANCELING:
            _running(batch, view, now, terms, draft, due)
        case BatchState.ENDED:
            draft.actions.append(Collect(batch) if batch.proved else Prove(batch))
        case BatchState.HELD:
            _held(batch, now, elapsed, waits.get(batch.id), terms, draft)
        case BatchState.PLANNED | BatchState.COLLECTED | BatchState.FAILED | BatchState.ABSENT | BatchState.CANCELED:
            pass  # never in `view.open`
        case _:
            assert_never(batch.state)


def _running(batch: Batch, view: JobView, now: float, terms: Terms, draft: _Draft, due: list[Batch]) -> None:
    look = next_poll(batch, now, terms.poll)
    asked = batch.cancel_requested or view.job.cancel_requested or batch.duplicate_of is not None
    wanted = asked and batch.state is BatchState.IN_PROGRESS
    ours = batch.proved or terms.spec.policy.exclusive
    if wanted and ours and (not batch.cancel_requested or look <= now):
        draft.actions.append(Cancel(batch))  # a cancel is asked again at every look until it shows
    elif wanted and not ours and not batch.cancel_requested:
        draft.actions.append(PostponeCancel(batch))
    elif look <= now:
        due.append(batch)
    else:
        draft.wakes.append(look)


def next_poll(batch: Batch, now: float, override: float | None) -> float:
    """When to look at a batch again: by its age, counted from its acceptance."""
    started = batch.accepted_at if batch.accepted_at is not None else batch.created_at
    last = batch.polled_at if batch.polled_at is not None else started
    if last > now:
        return now  # the wall clock was set back
    return last + poll_interval(max(0.0, last - started), override)


def _settle(
    batch: Batch, view: JobView, now: float, elapsed: float, wait: Wait | None, terms: Terms, draft: _Draft
) -> None:
    # A create leaves only after its deadline is committed: without one there is nothing to look for.
    if batch.create_deadline is None or (wait is not None and wait.unsent):
        _unsent(batch, view, now, elapsed, wait, draft)
        return
    if wait is None:
        draft.actions.append(Settle(batch, prove=False))
        return
    if _waited(batch, wait, elapsed, terms):
        draft.actions.append(Settle(batch, prove=True))
        return
    next_look = wait.last + terms.settle_every
    if elapsed >= next_look:
        draft.actions.append(Settle(batch, prove=False))
    else:
        draft.wakes.append(now + (next_look - elapsed))


def _held(batch: Batch, now: float, elapsed: float, wait: Wait | None, terms: Terms, draft: _Draft) -> None:
    """All waiting was done before it was held. What was accepted shows, and answers that come will tell."""
    again = elapsed if wait is None else wait.last + HELD_PACE * terms.settle_every
    if wait is not None and wait.in_vain:
        pass  # the operator's turn
    elif elapsed >= again:
        draft.actions.append(Settle(batch, prove=True))
    else:
        draft.wakes.append(now + (again - elapsed))


def _waited(batch: Batch, wait: Wait, elapsed: float, terms: Terms) -> bool:
    """Whether enough has passed for the next step of the proof: the fence, and after it once more the time in which
    what was accepted before must become visible. Where there is no file to fence with, both times are waited for."""
    if wait.fenced is not None:
        return elapsed - wait.fenced >= terms.visibility
    needed = terms.visibility if batch.file_id is not None else 2 * terms.visibility
    if not wait.owner_dead:
        needed += create_seconds(terms.spec.policy.create_timeout, batch.shard.size, batch.file_id)
    # With no visibility delay configured, one look behind us and one more are the proof.
    looks = SETTLE_LOOKS - 1 if terms.visibility > 0 else 1
    return elapsed - wait.since >= needed and wait.looks >= looks


def _unsent(batch: Batch, view: JobView, now: float, elapsed: float, wait: Wait | None, draft: _Draft) -> None:
    if view.job.cancel_requested:
        draft.actions.append(Settle(batch, prove=True))
    elif view.job.hold is None:
        again = elapsed if wait is None else wait.last + min(5.0 * 2.0 ** min(wait.looks, 6), 120.0)
        if elapsed >= again:
            draft.actions.append(Submit(batch))
        else:
            draft.wakes.append(now + (again - elapsed))


def _sending(view: JobView, now: float, terms: Terms, draft: _Draft) -> None:
    stop = brake(view, terms.spec) or unexpected(view, terms.spec)
    if stop is not None and (view.ready or view.next_ready is not None or view.totals.backlog):
        draft.actions.append(HoldJob(stop))
        return
    room = min(terms.in_flight - len(view.open), _creates_left(view, terms))
    sent, reserved = view.totals.sent, committed(view.totals, terms.rates)
    for batch in _distinct(view, now, terms, draft)[:room] if room > 0 else ():
        stop = over_limit(view, batch, sent, reserved, terms.rates)
        if stop is not None:
            draft.actions.append(HoldJob(stop))
            return
        sent += batch.shard.rows
        reserved += batch_ceiling(batch, terms.rates) or 0
        draft.actions.append(Submit(batch))
    if view.ready and not view.open and room <= 0:
        draft.wakes.append(now + 60)  # creations per hour are used up
    if view.next_ready is not None:
        draft.wakes.append(view.next_ready)
    if view.totals.backlog:
        _follow_up(view, now, terms, draft)


def _distinct(view: JobView, now: float, terms: Terms, draft: _Draft) -> Sequence[Batch]:
    """The planned batches that may go out now. Where the number of requests is all that a lost submission is known by,
    no two of a number are on their way at once, and one that is in doubt is used only where no other is left."""
    if view.unresolved is None:
        return view.ready
    in_doubt = {batch.shard.rows for batch in view.unresolved}
    busy = {batch.shard.rows for batch in view.unresolved if _is_being_sent(batch, now, terms)}
    if any(batch.shard.rows in busy for batch in view.ready):
        draft.wakes.append(now + COUNT_PAUSE)
    clear: list[Batch] = []
    doubtful: list[Batch] = []
    for batch in view.ready:
        rows = batch.shard.rows
        if rows not in busy:
            (doubtful if rows in in_doubt else clear).append(batch)
            busy.add(rows)
    return clear or doubtful


def _is_being_sent(batch: Batch, now: float, terms: Terms) -> bool:
    deadline = batch.create_deadline if batch.state is BatchState.SUBMITTING else None
    most = create_seconds(terms.spec.policy.create_timeout, batch.shard.size, batch.file_id)
    return deadline is not None and 0 <= deadline - now <= most


def _follow_up(view: JobView, now: float, terms: Terms, draft: _Draft) -> None:
    """Failed rows go out again when they fill a batch, when nothing else is open, or after a while."""
    alone = not view.open and not view.ready and view.next_ready is None
    oldest = view.oldest_backlog if view.oldest_backlog is not None else now
    latest = oldest + terms.spec.policy.follow_up_after
    if view.totals.backlog >= terms.follow_up_rows or alone or now >= latest:
        draft.actions.append(FollowUp())
    else:
        draft.wakes.append(latest)


def _creates_left(view: JobView, terms: Terms) -> int:
    if terms.creates_per_hour is None:
        return terms.in_flight
    return terms.creates_per_hour - view.creates_last_hour
