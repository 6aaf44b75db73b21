"""Planning a job: everything is read, checked, rendered and written before anything is sent, then committed at once."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import msgspec

from overnight.core.catalog import HOUR, PROVIDERS
from overnight.core.cost import ceiling, cost, writing
from overnight.core.families import family
from overnight.core.identity import identity, job_id
from overnight.core.limits import OutputLimit, output_limit
from overnight.core.parameters import endpoint_of, sent
from overnight.data.planning import Planning, SegmentPlan, Summary, plan_segments
from overnight.data.planning import requests_of as requests
from overnight.data.requests import Requests, RequestShape
from overnight.data.schemas import AnswerRules
from overnight.data.sources import Source
from overnight.engine.sweep import check_there, files_of, sweep
from overnight.engine.work import in_thread, planned_batch
from overnight.errors import Conflict, LocalError, UsageError
from overnight.ports import Blobs, Changes, Clock, Event, Lease, Store
from overnight.prices import Prices
from overnight.spec import Spec
from overnight.types import BatchState, Hold, Job, Limits, PicoUSD, Proof, Segment, Selection, Tokens

WHOLE = Selection()
DISK_MARGIN = 200_000_000
"""Bytes that must stay free after planning."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a job goes: the provider's name, the model's, and the base URL if it is not the provider's own; what its
    batches may hold, whose words they are in, how a lost one is known again, and which provider's API that is."""

    provider: str
    model: str
    base_url: str | None
    limits: Limits
    dialect: str
    proof: Proof
    like: str


@dataclass(frozen=True, slots=True)
class Money:
    """What the planned requests may cost in pico-dollars. `likely` counts a quarter of the output limit; `most` is not
    exceeded. None: no price, or no limit. `standard` prices the likely tokens in real time. `bound`: only the standard
    price is known, so that all figures are upper bounds."""

    likely: PicoUSD | None
    most: PicoUSD | None
    standard: PicoUSD | None
    source: str
    note: str | None
    bound: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What planning made: its files are written, its records are stored when it is approved. `before` is what was
    planned then."""

    before: Selection | None
    changes: Changes


@dataclass(frozen=True, slots=True)
class Preview:
    """What will happen if the plan is approved. `plan` None: everything that is asked for was approved before. `made`:
    the job is known only since this was asked."""

    job: Job
    spec: Spec
    target: Target
    summary: Summary
    limit: OutputLimit | None
    notes: tuple[str, ...]
    money: Money
    asked: Selection
    plan: Plan | None
    made: bool

    @property
    def new(self) -> bool:
        """Whether there is anything that was not approved yet."""
        return self.plan is not None


def requests_of(
    spec: Spec, target: Target, rules: AnswerRules, source: Source, tag: str
) -> tuple[Requests, OutputLimit | None]:
    """How rows become requests, and the limit of an answer. Raises `UsageError` for templates and parameters that do
    not work."""
    shape, limit = shape_of(spec, target, rules)
    return requests(spec, shape, source.columns, tag, source.locator), limit


def shape_of(spec: Spec, target: Target, rules: AnswerRules) -> tuple[RequestShape, OutputLimit | None]:
    """What a job's requests have in common, and the limit of an answer. Raises `UsageError` for parameters that do not
    work."""
    limit = output_limit(spec, target.like, target.model, target.base_url, rules.schema)
    shape = RequestShape(
        dialect=target.dialect,
        endpoint=endpoint_of(spec, target.like),
        model=target.model,
        parameters={} if spec.raw else sent(spec, target.like, target.model, target.base_url),
        answer_format=rules.format,
        max_output=0 if limit is None else limit.tokens,
        limit_field=family(target.like, target.model, target.base_url).limit_name,
        extra=spec.parameters.get("extra", {}),
        cache=spec.prompt.cache,
    )
    return shape, limit


def check_kept(spec: Spec, columns: Sequence[str]) -> None:
    """Raises `UsageError` where `keep` names a column that the source does not have."""
    for name in spec.keep if isinstance(spec.keep, tuple) else ():
        if name not in columns:
            near = difflib.get_close_matches(name, columns, n=1, cutoff=0.5)
            meant = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(map(repr, columns[:20]))}"
            raise UsageError(f"keep: the source has no column {name!r}: {meant}")


async def find_or_create(
    store: Store, clock: Clock, spec: Spec, rules: AnswerRules, source: Source, *, new: bool, output: str | None
) -> tuple[Job, bool]:
    """The job that this spec over this source is, and whether it was made now; `new` starts another one of the same,
    which is meant from then on."""
    newest = max((job.salt for job in await store.jobs()), default=0)
    salt = 0
    for earlier in range(newest, -1, -1):
        known = await store.find_job(identity(spec, rules.schema, source.locator, earlier))
        if known is not None and not new:
            return known, False
        if known is not None:
            salt = earlier + 1
            break
    told = identity(spec, rules.schema, source.locator, salt)
    name = spec.name or _name_of(source)
    job = Job(
        id=job_id(name, told),
        identity=told,
        name=name,
        spec=msgspec.json.encode(spec),
        created_at=clock.now(),
        salt=salt,
        project=spec.project,
        tags=spec.tags,
        output=output,
    )
    return await store.create_job(job), True


def _name_of(source: Source) -> str:
    first = source.locator.split("\n")[0]
    return "rows" if first.startswith("spool:") else first.rsplit("/", 1)[-1].split(".")[0]


async def plan(
    store: Store,
    blobs: Blobs,
    clock: Clock,
    job: Job,
    task: Planning,
    target: Target,
    on_progress: Callable[[Summary], None] | None = None,
) -> tuple[Plan, Summary]:
    """Plan what the selection asks for beyond what is planned. Only files are written: a plan that nobody approves
    changes nothing. A plan of which nothing was ever sent is made anew, so that a mended source or setting needs no
    new job. The caller owns the job."""
    totals = await store.totals(job.id)
    afresh = set(totals.batches) <= {BatchState.PLANNED}
    known = () if afresh else tuple(await store.segments(job.id))
    shards = () if afresh else tuple(await store.shards(job.id))
    task = replace(task, known=known, shards=[shard for shard in shards if shard.generation == 0])
    _check_disk(blobs, task)
    summary = Summary()
    plans = await in_thread(_all, task, summary, on_progress)
    segments: dict[int, Segment] = {made.segment.index: made.segment for made in plans if made.new}
    new_shards = tuple(shard for made in plans for shard in made.shards)
    now = clock.now()
    new_batches = tuple(
        planned_batch(shard, target.provider, target.dialect, task.new_id, now=now, rank=0) for shard in new_shards
    )
    selection = task.selection if afresh else widened(job.planned, task.selection)
    changes = Changes(
        job=replace(job, spec=msgspec.json.encode(task.spec), planned=selection),
        forget_plan=afresh,
        new_segments=tuple(segments[index] for index in sorted(segments)),
        new_shards=new_shards,
        new_batches=new_batches,
        events=(Event(job.id, now, "planned", data={"rows": summary.requests, "batches": len(new_batches)}),),
    )
    return Plan(job.planned, changes), summary


async def approve(store: Store, blobs: Blobs, clock: Clock, lease: Lease, seconds: float, job: Job, made: Plan) -> Job:
    """Commit the plan as one transaction: from now on whoever runs the job sends it. The files of a plan whose place it
    takes are removed. The caller owns the job under a lease of so many seconds. Raises `UsageError` where the job was
    planned otherwise in the meantime."""
    wanted = made.changes.job
    assert wanted is not None
    if job.planned != made.before:
        raise UsageError(f"job {job.id} was planned by another process in the meantime: run it again")
    await check_there(blobs, job.id, made.changes.new_segments, made.changes.new_shards)
    approved = replace(job, spec=wanted.spec, planned=wanted.planned, approved=wanted.planned, cancel_requested=False)
    told = Event(job.id, clock.now(), "approved")
    try:
        await store.commit(lease, replace(made.changes, job=approved, events=(*made.changes.events, told)))
    except Conflict:
        raise UsageError(f"job {job.id} changed while this was asked: run it again") from None
    await sweep(store, blobs, clock, lease, seconds, job.id)
    return replace(approved, version=approved.version + 1)


def _all(task: Planning, summary: Summary, on_progress: Callable[[Summary], None] | None) -> list[SegmentPlan]:
    plans = []
    for made in plan_segments(task, summary):
        plans.append(made)
        if on_progress is not None:
            on_progress(summary)
    return plans


def _check_disk(blobs: Blobs, task: Planning) -> None:
    """Requests are about as large as the source, answers as well; a disk that cannot take that is said before."""
    free = blobs.free()
    needed = 2 * task.source.size + DISK_MARGIN
    if free is not None and free < needed:
        raise LocalError(
            f"the disk of the home has {free / 1e9:.1f} GB left and this job may need {needed / 1e9:.1f} GB: "
            "free some, or choose another with --home"
        )


def widened(planned: Selection | None, asked: Selection) -> Selection:
    """Everything that either selects: the first rows and the sample both stay, and all is all."""
    if planned is None:
        return asked
    if WHOLE in (planned, asked):
        return WHOLE
    limits = [limit for limit in (planned.limit, asked.limit) if limit is not None]
    samples = [sample for sample in (planned.sample, asked.sample) if sample is not None]
    return Selection(max(limits, default=None), max(samples, default=None))


def covers(planned: Selection | None, asked: Selection) -> bool:
    """Whether everything that is asked for is planned already."""
    return planned is not None and widened(planned, asked) == planned


def is_planned(job: Job, asked: Selection) -> bool:
    """Whether everything that is asked for is planned and approved already."""
    return job.planned == job.approved and covers(job.planned, asked)


def remove_files(blobs: Blobs, made: Plan) -> None:
    """The files of a plan that nobody approves."""
    for name in files_of(made.changes.new_segments, made.changes.new_shards):
        blobs.delete(name)


LIKELY_SHARE = 4
"""The likely answer is taken as this part of the output limit, until something better is known."""
CACHE_HITS = (0.30, 0.98)
"""The share of a marked prefix that was read from the cache within a batch: best effort. The rest is written again."""
LEAST_CACHED = 1_024
"""Tokens below which no model keeps a prefix."""


def likely_tokens(summary: Summary) -> Tokens:
    """What the planned requests are likely to use."""
    kept = summary.shared if _is_kept(summary) else 0
    read = round(kept * sum(CACHE_HITS) / 2)
    return Tokens(summary.tokens, read, (summary.max_output or 0) // LIKELY_SHARE, written=kept - read)


def cache_notes(summary: Summary) -> tuple[str, ...]:
    """For people: what the prompt cache may bring, as a range."""
    if not summary.shared:
        return ()
    each = summary.shared // max(1, summary.requests)
    if not _is_kept(summary):
        return (f"prompt.cache: about {each:,} tokens are shared, and under {LEAST_CACHED:,} nothing is kept",)
    least, most = (round(summary.shared * share) for share in CACHE_HITS)
    return (
        f"prompt.cache: about {each:,} tokens a row are shared; {least:,} to {most:,} tokens will be read from the "
        f"cache, the rest of {summary.shared:,} written into it",
    )


def expiry_notes(target: Target) -> tuple[str, ...]:
    """For people: what an expired batch costs, where the provider gives nothing of it back."""
    if PROVIDERS[target.like].keeps_expired:
        return ()
    hours = round(target.limits.window / HOUR)
    return (f"{target.provider}: of a batch that is not through after {hours} hours nothing comes back, whatever ran",)


def _is_kept(summary: Summary) -> bool:
    return summary.shared >= LEAST_CACHED * summary.requests > 0


def money_of(spec: Spec, summary: Summary, price: Prices) -> Money:
    """The first cost figure. Where the batch price is unknown the standard price stands in as an upper bound."""
    standard, source, note = price.standard, price.source, price.note
    rates = price.batch if price.batch is not None else standard
    if rates is None:
        return Money(None, None, None, source, note)
    most_output = summary.max_output
    likely = likely_tokens(summary)
    unlimited = most_output is None and rates.output > 0
    dearest = writing(rates) if spec.prompt.cache or spec.raw else rates
    return Money(
        likely=None if unlimited else cost(likely, replace(rates, above=())),
        most=None if unlimited else ceiling(summary.tokens_ceiling, most_output or 0, dearest),
        standard=None if unlimited or standard is None else cost(likely, replace(standard, above=())),
        source=source,
        note=note,
        bound=price.batch is None,
    )


def over_limits(preview: Preview, sent: int, spent: PicoUSD) -> Hold | None:
    """Why the plan would cross --max-requests or --max-cost, before anything of it is sent."""
    job, summary, money = preview.job, preview.summary, preview.money
    if job.max_requests is not None and sent + summary.requests > job.max_requests:
        told = f"{sent + summary.requests:,} requests are over --max-requests {job.max_requests:,}"
        return Hold("limit", f"{told}: raise it, or select fewer rows with --limit", 5)
    if job.max_cost is None or not summary.requests:
        return None
    if money.most is None:
        why = "the price of this model is unknown" if money.note else "a request has no output limit"
        return Hold("limit", f"--max-cost cannot be kept: {why}", 5)
    if spent + money.most > job.max_cost:
        told = f"this may cost ${(spent + money.most) / 1e12:,.4f}, over --max-cost ${job.max_cost / 1e12:,.4f}"
        return Hold("limit", f"{told}: raise it, or select fewer rows with --limit", 5)
    return None


def check_expected_rows(spec: Spec, summary: Summary) -> Hold | None:
    """`rows.expect.rows` against what the source holds."""
    expected = spec.rows.expect.rows if spec.rows.expect is not None else None
    if expected is None:
        return None
    least, most = (expected, expected) if isinstance(expected, int) else expected
    if least <= summary.rows <= most:
        return None
    wanted = f"{least:,}" if least == most else f"{least:,} to {most:,}"
    return Hold("expect", f"the source has {summary.rows:,} rows, rows.expect says {wanted}", 5)
