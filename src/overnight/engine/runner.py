"""The runner: load, decide, perform, commit, sleep. The only loop of the pipeline, and the only place that waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from overnight.core.decide import Action, Decision, Submit, decide
from overnight.engine.perform import perform
from overnight.engine.work import Work
from overnight.errors import Conflict, LeaseLost, ProviderError
from overnight.ports import Lease, Store
from overnight.types import BatchState, Failure, FailureKind, Hold, JobId, JobView

PATIENCE = 900.0
"""Seconds of a provider that does not answer at all before a run gives up; the job goes on with the next run."""
MOST_CONFLICTS = 10
"""Commits in a row that do not fit what is stored, before that is no race any more."""
READY = 32
"""Planned batches that one look loads."""


class EndReason(StrEnum):
    """Why a run came to its end."""

    FINISHED = "finished"
    HELD = "held"
    STOPPED = "stopped"  # somebody asked this process to stop
    TROUBLE = "trouble"  # the provider does not answer
    ONCE = "once"  # all that could be done now is done


@dataclass(frozen=True, slots=True)
class End:
    """How a run ended."""

    reason: EndReason
    view: JobView
    hold: Hold | None = None
    failure: Failure | None = None


async def take(store: Store, name: str, owner: str, seconds: float, is_dead: Callable[[str], bool]) -> Lease | None:
    """The lease of a job: free, expired, or of an owner that is known to be gone. None: somebody else is at work."""
    holder = await store.holder(name)
    gone = holder is not None and holder.owner != owner and is_dead(holder.owner)
    # By name: another heir may have been faster, and he is alive.
    return await store.acquire(name, owner, seconds, holder.owner if holder is not None and gone else None)


class Runner:
    """Advances one job under its lease until nothing is left to do, or somebody has to act."""

    def __init__(
        self,
        work: Work,
        *,
        on_look: Callable[[JobView, Decision], None] | None = None,
        stop: Callable[[], bool] = lambda: False,
        patience: float = PATIENCE,
        nap: float = 5.0,
    ) -> None:
        self.work = work
        self._on_look = on_look
        self._stop = stop
        self._patience = patience
        self._nap = min(nap, work.terms.lease / 4)
        self._trouble: Failure | None = None
        self._trouble_since = 0.0
        self._troubles = 0
        self._conflicts = 0
        self._renewed = work.clock.elapsed()

    async def run(self, *, once: bool = False) -> End:
        """Loop until the job is finished, held, stopped, or the provider stays silent too long. `once`: until only
        waiting for the provider is left (open submissions are settled first). Raises `LeaseLost` when another
        process took over."""
        while True:
            view, decision = await self.tick()
            end = self._end(view, decision, once)
            if end is not None:
                return end
            if self._trouble is not None:
                await self._sleep(min(2.0**self._troubles, 60.0))
            elif not decision.actions:
                wake = decision.wake_at if decision.wake_at is not None else self.work.clock.now() + self._nap
                await self._sleep(wake - self.work.clock.now())

    async def tick(self) -> tuple[JobView, Decision]:
        """Load, decide, perform, commit, once. May be called at any time by the owner of the lease."""
        work = self.work
        now = work.clock.now()
        view = await work.store.view(work.job_id, now, READY)
        if work.provider.proof == "count" and view.ready:
            account = view.job.account.fingerprint if view.job.account is not None else ""
            view = replace(view, unresolved=tuple(await work.store.unresolved(account)))
        decision = decide(view, now, work.clock.elapsed(), work.waits, work.terms)
        if self._on_look is not None:
            self._on_look(view, decision)
        troubled, conflicts = False, self._conflicts
        submits = [action for action in decision.actions if isinstance(action, Submit)]
        for action in decision.actions:
            if not isinstance(action, Submit):
                troubled |= await self._perform([action], view)
                await self._keep_lease()
        if submits and not self._stop():
            troubled |= await self._perform(submits, view)
        if decision.actions and not troubled:
            self._trouble, self._troubles = None, 0
        if self._conflicts == conflicts:
            self._conflicts = 0
        return view, decision

    async def _perform(self, actions: Sequence[Action], view: JobView) -> bool:
        """Carry out the actions side by side, keeping the lease alive. True where the provider made trouble."""
        tasks = {asyncio.create_task(perform(self.work, action, view.job)): action for action in actions}
        pending = set(tasks)
        try:
            while pending:
                _, pending = await asyncio.wait(pending, timeout=self.work.terms.lease / 3)
                if pending:
                    await self._keep_lease()
        except LeaseLost:
            answered = [task for task, action in tasks.items() if _is_answered(self.work, action)]
            if answered:  # each finds out by itself, and may have to take back what it made
                await asyncio.wait(answered)
            raise
        finally:
            for task in pending:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        troubled = False
        for result in results:
            if isinstance(result, ProviderError):
                troubled = True
                await self._troubled(result.failure)
            elif isinstance(result, Conflict) and self._conflicts < MOST_CONFLICTS:
                self._conflicts += 1  # somebody was faster: the next look tells
            elif isinstance(result, BaseException):
                raise result
        return troubled

    async def _troubled(self, failure: Failure) -> None:
        if failure.kind is FailureKind.ACCOUNT:
            await self.work.hold(_held_by(failure))
        if self._trouble is None:
            self._trouble_since = self.work.clock.elapsed()
        self._trouble = failure
        self._troubles += 1
        self.work.log("trouble", {"reason": failure.message, "status": failure.status})

    async def _keep_lease(self) -> None:
        now = self.work.clock.elapsed()
        if now - self._renewed < self.work.terms.lease / 4:
            return
        self._renewed = now
        self.work.lease = await self.work.store.renew(self.work.lease, self.work.terms.lease)

    async def _sleep(self, seconds: float) -> None:
        """At most a nap, cut short when somebody asks to stop."""
        left = min(max(seconds, 0.0), self._nap)
        while True:
            await self.work.clock.sleep(min(left, self._nap / 10))
            left -= self._nap / 10
            if left <= 0 or self._stop():
                break
        await self._keep_lease()

    def _end(self, view: JobView, decision: Decision, once: bool) -> End | None:
        if decision.finished:
            return End(EndReason.FINISHED, view)
        if self._stop():
            return End(EndReason.STOPPED, view)
        if self._trouble is not None and self._trouble.kind is FailureKind.ACCOUNT:
            return End(EndReason.HELD, view, hold=_held_by(self._trouble))  # asking on would not make it better
        if self._trouble is not None:
            long = self.work.clock.elapsed() - self._trouble_since >= self._patience
            return End(EndReason.TROUBLE, view, failure=self._trouble) if long or once else None
        if decision.actions:
            return None
        if view.job.hold is not None and decision.wake_at is None:  # nothing is out that it still waits for
            return End(EndReason.HELD, view, hold=view.job.hold)
        if view.open and all(batch.state is BatchState.HELD for batch in view.open) and decision.wake_at is None:
            told = "; ".join(f"batch {each.id}: {each.failure.message}" for each in view.open if each.failure)
            return End(EndReason.HELD, view, hold=Hold("undecidable", f"overnight reconcile decides: {told}", 5))
        settling = any(batch.state is BatchState.SUBMITTING for batch in view.open)
        return End(EndReason.ONCE, view) if once and not settling else None


def _is_answered(work: Work, action: Action) -> bool:
    return isinstance(action, Submit) and action.batch.id in work.answered


def _held_by(failure: Failure) -> Hold:
    return Hold("account", failure.message, 4)


def lease_name(job_id: JobId) -> str:
    """Name of a job's lease in the store."""
    return f"job/{job_id}"
