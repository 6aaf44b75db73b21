"""`Client`: one opened home, and everything that can be asked of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, TypeVar

import msgspec

from overnight.api.live import LivePlan, plan_live, run_live
from overnight.api.reading import Reading, RowHistory, Status
from overnight.api.running import JobBusy, Look, Running, Stop, new_id, spec_of
from overnight.app import Workspace, open_workspace
from overnight.config import Config, read_config
from overnight.core.cost import cost
from overnight.core.identity import run_tag
from overnight.core.stops import committed
from overnight.data.mended import Mending
from overnight.data.merge import MergeSummary
from overnight.data.outcomes import Outcomes
from overnight.data.planning import Planning, Summary, verify_segments
from overnight.data.schemas import answer_rules
from overnight.data.spool import spool_rows
from overnight.data.table import Which
from overnight.data.writers import check_output
from overnight.engine import operate, prepare
from overnight.engine.live import Fact
from overnight.engine.mend import Mended, mend
from overnight.engine.operate import Chosen
from overnight.engine.prepare import Plan, Preview, Target
from overnight.engine.runner import End
from overnight.engine.work import Work, in_thread
from overnight.errors import UsageError
from overnight.ports import Event
from overnight.spec import Spec
from overnight.types import Batch, BatchId, Hold, Job, JobView, PicoUSD, RemoteBatch, RemoteId, Selection

WHOLE = Selection()
T = TypeVar("T")


class Client:
    """An opened home: `async with Client() as client`. Jobs are named by their id, the start of one, or their name."""

    def __init__(
        self, config: Config | None = None, *, opener: Callable[[Config], Workspace] = open_workspace, **flags: Any
    ) -> None:
        """Settings as `config.read_config` gives them; `flags` stand above the environment (`home=...`)."""
        self.config = config if config is not None else read_config(flags)
        self._opener = opener
        self._opened: Workspace | None = None

    async def __aenter__(self) -> Self:
        self._opened = await in_thread(self._opener, self.config)
        self._running = Running(self._opened)
        self._reading = Reading(self._running)
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._opened is not None:
            await self._opened.close()
            self._opened = None

    @property
    def _home(self) -> Workspace:
        if self._opened is None:
            raise UsageError("the client is not open: use it as `async with Client() as client`")
        return self._opened

    # -------------------------------------------------------------------------------------- live providers

    def plan_live(self, provider: str, model: str | None = None) -> LivePlan:
        """What `live` would do with a provider and this model (None: a small one of its own), and the most that can
        cost. Raises `UsageError`."""
        return plan_live(self._running, provider, model)

    async def live(self, plan: LivePlan, on_fact: Callable[[Fact], None]) -> Sequence[Fact]:
        """Two rows through the whole life of a batch on the user's account; which facts held, each told when it is
        known. Spends up to the plan's bound. Raises `UsageError` where the key is missing."""
        return await run_live(self._running, plan, on_fact)

    # ------------------------------------------------------------------------------------------ planning

    async def spool(self, rows: Any) -> str:
        """Write rows (dicts, an Arrow table) where a job can read them twice; what comes back is a spec's `source`."""
        return await in_thread(spool_rows, rows, self._home.blobs)

    async def prepare(
        self,
        spec: Spec,
        selection: Selection = WHOLE,
        *,
        new: bool = False,
        max_requests: int | None = None,
        max_cost: PicoUSD | None = None,
        on_progress: Callable[[Summary], None] | None = None,
    ) -> Preview:
        """Read, check and write all that the selection asks for, send nothing, and say what would be sent: `approve` or
        `discard` comes next. A job whose rows are approved is left as it is. Raises `UsageError` for whatever is wrong
        with spec, source, template, schema or keys, or where the source changed since the job was planned; `LocalError`
        where the output cannot be written."""
        from overnight.specfile import spec_from

        home, running = self._home, self._running
        spec = spec_from(msgspec.to_builtins(spec), "spec")
        rules, target, price = answer_rules(spec), running.target(spec), running.prices(spec)
        output = None if spec.output is None else str(Path(spec.output).absolute())
        if output is not None:
            await in_thread(check_output, Path(output))
        with await in_thread(running.source, spec) as source:
            job, made = await prepare.find_or_create(
                home.store, home.clock, spec, rules, source, new=new, output=output
            )
            try:
                prepare.check_kept(spec, source.columns)
                requests, limit = prepare.requests_of(spec, target, rules, source, run_tag(job))
                task = Planning(
                    spec,
                    job.id,
                    source,
                    requests,
                    home.blobs,
                    target.limits,
                    selection,
                    new_id,
                    target.dialect,
                    proof=target.proof,
                )
                plan, summary = await self._plan(job, task, target, on_progress)
                job = _asked(await self.job(job.id), spec, output, max_requests, max_cost)
            except BaseException:
                if made:
                    await self._forget(job)
                raise
        money = prepare.money_of(spec, summary, price)
        notes = (*rules.notes, *prepare.cache_notes(summary), *prepare.expiry_notes(target))
        return Preview(job, spec, target, summary, limit, notes, money, selection, plan, made)

    async def _plan(
        self, job: Job, task: Planning, target: Target, on_progress: Callable[[Summary], None] | None
    ) -> tuple[Plan | None, Summary]:
        home = self._home
        while not prepare.is_planned(job, task.selection):
            try:
                async with self._running.owned(job):
                    job = await self.job(job.id)
                    if not prepare.is_planned(job, task.selection):
                        return await prepare.plan(home.store, home.blobs, home.clock, job, task, target, on_progress)
            except JobBusy:
                if job.planned is not None:
                    raise
                await home.clock.sleep(home.nap / 5)  # another process is planning it
                job = await self.job(job.id)
        segments = await home.store.segments(job.id)
        await in_thread(verify_segments, task.source, segments, whole=job.planned == WHOLE)
        return None, Summary()

    async def _ask(self, told: Job) -> Job:
        """Store what was asked of the job beside its rows. A limit that holds the job is judged anew by the new one."""

        def change(old: Job) -> Job:
            released = told.hold is None and old.hold is not None and old.hold.kind == "limit"
            return replace(
                old,
                spec=told.spec,
                name=told.name,
                project=told.project,
                tags=told.tags,
                output=told.output,
                max_requests=told.max_requests,
                max_cost=told.max_cost,
                hold=None if released else old.hold,
            )

        return await self._home.store.ask(told.id, Event(told.id, self._home.clock.now(), "asked"), change)

    async def refusal(self, preview: Preview) -> Hold | None:
        """Why the plan may not be sent as it is: a limit, or an expectation that does not hold."""
        totals = await self._home.store.totals(preview.job.id)
        unexpected = prepare.check_expected_rows(preview.spec, preview.summary)
        price = self._running.prices(preview.spec)
        spent = PicoUSD(committed(totals, price.batch or price.standard))
        return unexpected or prepare.over_limits(preview, totals.sent, spent)

    async def check_access(self, preview: Preview) -> None:
        """Raises `UsageError` where the provider's key is missing."""
        async with self._running.provider(preview.job):
            pass

    async def approve(self, preview: Preview) -> Job:
        """Let the planned rows be sent by whoever runs the job, by what was asked with them (policy, limits, output).
        Raises `UsageError` where another process planned the job otherwise in the meantime."""
        home, job = self._home, await self._ask(preview.job)
        if preview.plan is None:
            return job
        if prepare.is_planned(job, preview.asked):  # another process was faster
            await in_thread(prepare.remove_files, home.blobs, preview.plan)
            return job
        async with self._running.owned(job) as lease:
            seconds, current = self._running.lease_seconds(preview.spec), await self.job(job.id)
            return await prepare.approve(home.store, home.blobs, home.clock, lease, seconds, current, preview.plan)

    async def discard(self, preview: Preview) -> None:
        """Drop a plan that is not wanted: everything is as it was before `prepare`."""
        if preview.plan is not None:
            await in_thread(prepare.remove_files, self._home.blobs, preview.plan)
        if preview.made:
            await self._forget(preview.job)

    async def _forget(self, job: Job) -> None:
        """Remove a job that was made just now, unless somebody else has planned it."""
        async with self._running.owned(job) as lease:
            current = await self._home.store.job(job.id)
            if current is not None and current.planned is None:
                await self._home.store.delete_job(lease, job.id)
                await in_thread(self._reading.remove_files, job)

    # ------------------------------------------------------------------------------------------- running

    async def run(
        self,
        job_id: str,
        *,
        on_look: Look | None = None,
        on_watch: Callable[[JobView], None] | None = None,
        stop: Stop = lambda: False,
        once: bool = False,
    ) -> End:
        """Advance the job until it is finished, held, stopped or in trouble; `once`: until only waiting is left. Where
        another process runs it, watch, and take over when that one is gone. Raises `ProviderError` where the provider
        cannot be reached or refuses the key before anything is sent, `UsageError` where it is another account."""
        return await self._running.run(await self.job(job_id), on_look, on_watch, stop, once)

    async def cancel(self, job_id: str) -> Job:
        """Ask that nothing more is sent and what is out is canceled; whoever runs the job carries it out."""
        return await operate.cancel(self._home.store, (await self.job(job_id)).id, self._home.clock.now())

    async def resume(self, job_id: str) -> Job:
        """Release a held job; running it goes on."""
        return await operate.resume(self._home.store, (await self.job(job_id)).id, self._home.clock.now())

    async def retry(self, job_id: str, chosen: Chosen = Chosen()) -> int:  # noqa: B008
        """Put rows that ended without success into new batches; running the job sends them. Returns how many."""
        return await self._working(job_id, lambda work: operate.retry(work, chosen))

    async def retry_from(self, job_id: str, path: Path) -> Mended:
        """Put mended rows into new batches; running the job sends them, and their answers stand in the same table. The
        file has the columns of the job's prompt and its key (the column `row` where the job has none). Raises
        `UsageError` where a row is not the job's, or cannot be sent."""
        home, running, job = self._home, self._running, await self.job(job_id)
        spec = spec_of(job)
        rules, target = answer_rules(spec), running.target(spec)
        mended = msgspec.structs.replace(spec, source=str(path.absolute()))
        with await in_thread(running.source, mended) as source:
            requests, _ = prepare.requests_of(spec, target, rules, source, run_tag(job))
            segments = await home.store.segments(job.id)
            task = Mending(source, spec, requests, segments, job.id, home.blobs, target.dialect)
            chosen = await self._reading.selected(job, segments)
            return await self._working(job.id, lambda work: mend(work, task, chosen))

    async def _working(self, job_id: str, act: Callable[[Work], Awaitable[T]], *, check_account: bool = False) -> T:
        job = await self.job(job_id)
        async with self._running.owned(job) as lease, self._running.provider(job) as provider:
            work = await self._running.work(job, lease, provider)
            if check_account:
                await self._running.check_account(work, job)
            return await act(work)

    async def held(self, job_id: str) -> Sequence[tuple[Batch, Sequence[RemoteBatch]]]:
        """The job's submissions that cannot be told from others, each with the provider's batches that it may be. These
        three raise `UsageError` where the key is another account's: it would find nothing."""
        return await self._working(job_id, operate.held, check_account=True)

    async def adopt(self, job_id: str, batch_id: str, remote_id: str) -> None:
        """The operator's word that a held submission is this batch of the provider."""
        batch, remote = BatchId(batch_id), RemoteId(remote_id)
        await self._working(job_id, lambda work: operate.adopt(work, batch, remote), check_account=True)

    async def declare_absent(self, job_id: str, batch_id: str) -> None:
        """The operator's word that a held submission never arrived; its rows go out in a new batch."""
        batch = BatchId(batch_id)
        await self._working(job_id, lambda work: operate.declare_absent(work, batch), check_account=True)

    # ------------------------------------------------------------------------------------------- reading

    async def job(self, job_id: str) -> Job:
        """The job of that id, start of an id, or name. Raises `UsageError`."""
        return await self._running.job(job_id)

    async def jobs(self) -> Sequence[Job]:
        """Newest first."""
        return await self._home.store.jobs()

    async def status(self, job_id: str) -> Status:
        """Where the job stands."""
        return await self._reading.status(await self.job(job_id))

    def retention(self, job: Job) -> float | None:
        """Seconds that the job's provider keeps answers; None: for ever."""
        return self._home.limits(self._running.target(spec_of(job)).provider).retention

    async def batches(self, job_id: str) -> AsyncIterator[Batch]:
        """Its batches in order of creation."""
        async for batch in self._home.store.batches((await self.job(job_id)).id):
            yield batch

    async def export(self, job_id: str, path: Path, which: Which = "finished") -> MergeSummary:
        """Write the job's table to a file; its suffix tells the format."""
        return await self._reading.export(await self.job(job_id), path, which)

    async def is_exported(self, job_id: str, path: Path) -> bool:
        """Whether the file is there and holds the job's table as it is now."""
        return await self._reading.is_exported(await self.job(job_id), path)

    async def outcomes(self, job_id: str) -> Outcomes:
        """How the selected rows ended, and why those without success did."""
        return await self._reading.outcomes(await self.job(job_id))

    async def first_failed(self, job_id: str) -> str | None:
        """The key of the first row that was sent and ended without success."""
        return await self._reading.first_failed(await self.job(job_id))

    async def real_time_cost(self, job_id: str) -> PicoUSD | None:
        """What the job's tokens would cost in real time, without long-context tiers; None where no price is known."""
        job = await self.job(job_id)
        totals = await self._home.store.totals(job.id)
        rates = (await in_thread(self._running.prices, spec_of(job))).standard
        return None if rates is None else cost(totals.tokens, replace(rates, above=()))

    async def rows(self, job_id: str, which: Which = "finished") -> AsyncIterator[dict[str, Any]]:
        """The table's rows as dictionaries, in the source's order, in constant memory."""
        async for row in self._reading.rows(await self.job(job_id), which):
            yield row

    async def show(self, job_id: str, key: str) -> RowHistory:
        """Everything about one row."""
        return await self._reading.show(await self.job(job_id), key)

    async def clean(self, job_id: str) -> int:
        """Remove a finished and exported job's files and records; returns the bytes freed. Raises `UsageError` where
        something would be lost."""
        job = await self.job(job_id)
        async with self._running.owned(job) as lease:
            return await self._reading.clean(job, lease)


def _asked(old: Job, spec: Spec, output: str | None, max_requests: int | None, max_cost: PicoUSD | None) -> Job:
    """The job with what may change without making another one: policy, output, limits, names. A new limit takes the
    place of the one that the job is held for."""
    raised = max_requests is not None or max_cost is not None
    return replace(
        old,
        spec=msgspec.json.encode(spec),
        name=spec.name or old.name,
        project=spec.project,
        tags=spec.tags,
        output=output or old.output,
        max_requests=max_requests if max_requests is not None else old.max_requests,
        max_cost=max_cost if max_cost is not None else old.max_cost,
        hold=None if raised and old.hold is not None and old.hold.kind == "limit" else old.hold,
    )
