"""Running jobs: leases, accounts, terms, and the runner over them."""

from __future__ import annotations

import asyncio
import json
import os
import random
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import msgspec

from overnight.app import OWN_SERVERS, Workspace
from overnight.config import LOG_LEVELS, model_name
from overnight.core.cost import writing
from overnight.core.decide import Decision, Terms
from overnight.core.families import official
from overnight.core.identity import run_tag
from overnight.data.planning import source_of
from overnight.data.schemas import answer_rules
from overnight.data.sources import Source
from overnight.engine.prepare import Target
from overnight.engine.runner import End, EndReason, Runner, lease_name, take
from overnight.engine.sweep import sweep
from overnight.engine.work import Work
from overnight.errors import LeaseLost, LocalError, UsageError
from overnight.ports import Lease, Provider
from overnight.prices import Prices, prices
from overnight.spec import Spec
from overnight.types import Account, BatchState, Job, JobId, JobView, Limits, RemoteId

OWN_POLL = 1.0
OWN_VISIBILITY = 2.0
"""Seconds between looks, and until an accepted batch is listed, at a server that named itself ours."""
VISIBILITY = 60.0
"""The same delay elsewhere (contracts: 15.1, step 4)."""
FOLLOW_UP_ROWS = 5_000
"""A follow-up of so many rows is full, where the spec does not say."""
WARNINGS = frozenset(
    {
        *("trouble", "create_unknown", "not_found", "failed_with_answers", "answers_gone", "answers_short"),
        *("not_cleaned", "not_canceled", "late_create_canceled", "undecidable", "not_peeked", "cancel_waits"),
    }
)
"""Log lines that are worth a look; the others tell what happened."""

Look = Callable[[JobView, Decision], None]
Stop = Callable[[], bool]


class JobBusy(UsageError):
    """Another process owns the job."""

    code = "busy"


def spec_of(job: Job) -> Spec:
    """The job's spec as it was last asked."""
    return msgspec.json.decode(job.spec, type=Spec)


def new_id() -> str:
    """128 random bits, printable."""
    return secrets.token_hex(16)


class Running:
    """What a client does to jobs that are to move."""

    def __init__(self, home: Workspace) -> None:
        self.home = home
        self._busy: set[JobId] = set()  # jobs that this very client works on: a lease knows only processes

    # ------------------------------------------------------------------------------------------ knowing

    async def job(self, job_id: str) -> Job:
        """The job of that id, or of an id that begins so and no other does. Raises `UsageError`."""
        found = await self.home.store.job(JobId(job_id))
        if found is not None:
            return found
        matches = [job for job in await self.home.store.jobs() if job.id.startswith(job_id) or job.name == job_id]
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise UsageError(f"{job_id} may be {', '.join(job.id for job in matches[:5])}: write more of it")
        raise UsageError(f"no job {job_id} in {self.home.config.home}: overnight jobs lists them")

    def target(self, spec: Spec) -> Target:
        """Where a spec's requests go."""
        every = self.home.config.access
        provider, model = model_name(spec.model, every)
        base_url, known = spec.base_url or every[provider].base_url, every[provider].known
        return Target(provider, model, base_url, known.limits, known.dialect, known.proof, known.speaks)

    def prices(self, spec: Spec) -> Prices:
        """The model's prices; none where the base URL is not the provider's own."""
        target = self.target(spec)
        if target.provider not in OWN_SERVERS and not official(target.like, target.base_url):
            note = f"the price of {target.model} at {target.base_url} is not known"
            return Prices(None, None, "none", note)
        return prices(target.like, target.model, self.home.clock.now())

    def terms(self, spec: Spec, limits: Limits, own: bool) -> Terms:
        """What decisions go by: the settings above the spec, the spec above the defaults."""
        config, policy, price = self.home.config, spec.policy, self.prices(spec)
        rates = price.batch or price.standard
        if rates is not None and (spec.prompt.cache or spec.raw):
            rates = writing(rates)
        visibility = _first(config.visibility, policy.visibility, OWN_VISIBILITY if own else VISIBILITY)
        return Terms(
            spec=spec,
            in_flight=spec.batch.in_flight,
            follow_up_rows=min(spec.batch.rows or FOLLOW_UP_ROWS, limits.rows),
            visibility=visibility if visibility is not None else VISIBILITY,
            settle_every=max((visibility or 0.0) / 3, 0.2),
            poll=_first(config.poll, policy.poll, OWN_POLL if own else None),
            creates_per_hour=None if own else limits.creates_per_hour,
            lease=self.lease_seconds(spec),
            rates=rates,
        )

    def lease_seconds(self, spec: Spec) -> float:
        """After how long a silent owner is replaced."""
        return self.home.config.lease if self.home.config.lease is not None else spec.policy.lease

    def source(self, spec: Spec) -> Source:
        """The spec's source, opened. Raises `UsageError`."""
        return source_of(spec, Path.cwd(), self.home.blobs)

    # ------------------------------------------------------------------------------------------- owning

    async def take(self, job: Job) -> Lease | None:
        """The job's lease, or None where somebody else, of another process or of this one, is at work."""
        home = self.home
        if job.id in self._busy:
            return None
        self._busy.add(job.id)
        lease = None
        try:
            seconds = self.lease_seconds(spec_of(job))
            lease = await take(home.store, lease_name(job.id), home.owner, seconds, home.is_dead)
        finally:
            if lease is None:
                self._busy.discard(job.id)
        return lease

    async def give_back(self, job: Job, lease: Lease) -> None:
        """Let others have the job."""
        try:
            await self.home.store.release(lease)
        finally:
            self._busy.discard(job.id)

    @asynccontextmanager
    async def owned(self, job: Job) -> AsyncIterator[Lease]:
        """The job's lease for a piece of work, kept alive. Raises `JobBusy` where another process runs the job."""
        lease = await self.take(job)
        if lease is None:
            raise JobBusy(f"job {job.id} is being run by another process: stop that one, or wait for it")
        heart = asyncio.create_task(self._beat(lease, self.lease_seconds(spec_of(job))))
        try:
            yield lease
        finally:
            heart.cancel()
            with suppress(asyncio.CancelledError, LeaseLost):
                await heart
            await self.give_back(job, lease)

    async def _beat(self, lease: Lease, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds / 3)
            lease = await self.home.store.renew(lease, seconds)

    @asynccontextmanager
    async def provider(self, job: Job) -> AsyncIterator[Provider]:
        """The job's batch API."""
        spec = spec_of(job)
        target = self.target(spec)
        provider = self.home.provider(target.provider, job.id, spec)
        try:
            yield provider
        finally:
            await provider.close()

    async def work(self, job: Job, lease: Lease, provider: Provider) -> Work:
        """All that the engine needs to advance the job."""
        home, spec = self.home, spec_of(job)
        return Work(
            job_id=job.id,
            lease=lease,
            is_dead=home.is_dead,
            store=home.store,
            provider=provider,
            blobs=home.blobs,
            clock=home.clock,
            terms=self.terms(spec, provider.limits, provider.short_polling),
            check=answer_rules(spec).check,
            rates=self.prices(spec).batch,
            run_tag=run_tag(job),
            segments=tuple(await home.store.segments(job.id)),
            new_id=new_id,
            jitter=random.random,
            log=self.log,
        )

    async def check_account(self, work: Work, job: Job) -> None:
        """Who is billed, before anything is sent: the same account as ever, or a `UsageError` that names both."""
        account = await work.provider.identify(await self._known_batch(job), None, job.account)
        if job.account is None:
            told = work.event("account", fingerprint=account.fingerprint)
            await self.home.store.ask(job.id, told, lambda old: replace(old, account=account))
        elif job.account.fingerprint != account.fingerprint:
            raise UsageError(
                f"job {job.id} belongs to the account {_named(job.account)}, and this key to {_named(account)}: "
                "use the key of the first, or start a job of its own with --new"
            )
        work.terms = self.terms(spec_of(job), work.provider.limits, work.provider.short_polling)

    async def _known_batch(self, job: Job) -> RemoteId | None:
        """One that is out, where there is one, else the newest: providers forget old ones. None that was deleted at our
        wish."""
        view = await self.home.store.view(job.id, self.home.clock.now(), 0)
        for batch in reversed(view.open):
            if batch.remote is not None:
                return batch.remote.id
        deleted = spec_of(job).policy.delete_batches
        newest: RemoteId | None = None
        async for batch in self.home.store.batches(job.id):
            if batch.remote is not None and not (deleted and batch.cleaned):
                newest = batch.remote.id
        return newest

    # ------------------------------------------------------------------------------------------ running

    async def run(
        self, job: Job, on_look: Look | None, on_watch: Callable[[JobView], None] | None, stop: Stop, once: bool
    ) -> End:
        """See `Client.run`."""
        home = self.home
        if job.planned is None or job.planned != job.approved:
            raise UsageError(f"job {job.id} is planned but not approved: `overnight run` with its spec goes on")
        while True:
            lease = await self.take(job)
            if lease is not None:
                try:
                    return await self._advance(job, lease, on_look, stop, once)
                except LeaseLost:
                    continue
            view = await home.store.view(job.id, home.clock.now(), 0)
            if on_watch is not None:
                on_watch(view)
            if is_finished(view):
                return End(EndReason.FINISHED, view)
            if once or stop():
                return End(EndReason.ONCE if once else EndReason.STOPPED, view)
            await home.clock.sleep(home.nap / 5)

    async def _advance(self, job: Job, lease: Lease, on_look: Look | None, stop: Stop, once: bool) -> End:
        home = self.home
        work: Work | None = None
        try:
            view = await home.store.view(job.id, home.clock.now(), 1)
            if is_finished(view):
                return End(EndReason.FINISHED, view)
            if view.job.hold is not None and not view.open and not view.job.cancel_requested:
                return End(EndReason.HELD, view, hold=view.job.hold)
            async with self.provider(job) as provider:
                work = await self.work(job, lease, provider)
                await self.check_account(work, view.job)
                end = await Runner(work, on_look=on_look, stop=stop, nap=home.nap).run(once=once)
                if end.reason is EndReason.FINISHED:
                    await sweep(home.store, home.blobs, home.clock, work.lease, work.terms.lease, job.id)
                return end
        finally:
            await self.give_back(job, work.lease if work is not None else lease)

    def log(self, name: str, data: Mapping[str, object]) -> None:
        """One line of JSON in the log: times, counts, ids and reasons, never content or keys."""
        level = "warning" if name in WARNINGS else "info"
        if LOG_LEVELS.index(level) < LOG_LEVELS.index(self.home.config.log_level):
            return
        line = json.dumps({"at": round(self.home.clock.now(), 3), "level": level, "event": name, **data}, default=str)
        path = self.home.config.log_file or self.home.config.home / "overnight.log"
        try:
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a") as file:
                file.write(line + "\n")
        except OSError as error:
            raise LocalError(f"the log {path} cannot be written: {error.strerror}") from None


def is_finished(view: JobView) -> bool:
    """Whether nothing is left to do for what was approved."""
    job, totals = view.job, view.totals
    if job.planned is None or job.planned != job.approved or view.open:
        return False
    planned = totals.batches.get(BatchState.PLANNED, 0)
    cleaned = not totals.uncleaned
    return cleaned and not planned and (job.cancel_requested or not totals.backlog)


def _first(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)


def _named(account: Account) -> str:
    return f"{account.name} ({account.fingerprint[:8]})"
