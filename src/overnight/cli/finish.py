"""The end of a command that runs a job: the table is written, what happened is told, and is the exit code."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from overnight.cli.asking import say
from overnight.cli.documents import job_document
from overnight.cli.ends import INTERRUPTED
from overnight.cli.words import facts, listed, plural

if TYPE_CHECKING:
    from overnight.api import Client, End, Status
    from overnight.types import PicoUSD

SUCCEEDED: Final = 0
FAILED_ROWS: Final = 3
TROUBLE: Final = 4
OUTCOMES: Final = ("succeeded", "errored", "expired", "canceled", "skipped", "pending")


class Finish:
    """What became of a job. `code`: the exit code; `document`: all of it for machines."""

    def __init__(self, end: End, status: Status) -> None:
        self.end = end
        self.status = status
        self.outcomes: Mapping[str, int] = {}
        self.reasons: Mapping[str, tuple[int, str]] = {}
        self.real_time: PicoUSD | None = None
        self.failed_key: str | None = None

    @property
    def code(self) -> int:
        """The exit code of the end."""
        from overnight.api import EndReason

        match self.end.reason:
            case EndReason.FINISHED:
                return FAILED_ROWS if self.status.totals.failed else SUCCEEDED
            case EndReason.HELD:
                return self.end.hold.exit_code if self.end.hold is not None else TROUBLE
            case EndReason.TROUBLE:
                return TROUBLE
            case EndReason.STOPPED:
                return INTERRUPTED
            case EndReason.ONCE:
                return SUCCEEDED

    @property
    def document(self) -> dict[str, Any]:
        """For machines."""
        failure = self.end.failure
        return {
            **job_document(self.status),
            "end": self.end.reason.value,
            "exit_code": self.code,
            "outcomes": dict(self.outcomes),
            "reasons": {kind: {"rows": rows, "first": message} for kind, (rows, message) in self.reasons.items()},
            "real_time_usd": None if self.real_time is None else self.real_time / 1e12,
            "first_failed_key": self.failed_key,
            "trouble": None if failure is None else failure.message,
        }

    def text(self) -> str:
        """For people: how it ended, and the commands that come next."""
        job = self.status.job
        body = facts(self._facts())
        after = "\n".join(self._next())
        return f"{job.id}: {self._head()}\n{body}" + (f"\n{after}" if after else "")

    def _head(self) -> str:
        from overnight.api import EndReason

        match self.end.reason:
            case EndReason.FINISHED:
                return "canceled" if self.status.job.cancel_requested else "finished"
            case EndReason.HELD:
                return f"held: {self.end.hold.message if self.end.hold is not None else 'somebody must act'}"
            case EndReason.TROUBLE:
                return f"paused: {self.end.failure.message if self.end.failure is not None else 'no answer'}"
            case EndReason.STOPPED:
                return "interrupted"
            case EndReason.ONCE:
                if self.status.view.open:
                    return "waiting for the provider"
                return "finished" if self.status.finished else "waiting to be sent"

    def _facts(self) -> Iterator[tuple[str, str]]:
        from overnight.core.cost import dollars

        totals = self.status.totals
        if self.outcomes:
            yield "rows", listed({name: self.outcomes.get(name, 0) for name in OUTCOMES})
        else:
            done = {"succeeded": totals.succeeded, "failed": totals.failed, "to be sent again": totals.backlog}
            yield "rows", listed({**done, "without an answer yet": totals.rows - sum(done.values())})
            yield "batches", listed({state.value: number for state, number in totals.batches.items()})
        for number, (kind, (rows, message)) in enumerate(sorted(self.reasons.items(), key=lambda each: -each[1][0])):
            example = f": {' '.join(message.split())[:120]}" if message else ""
            yield "reasons" if number == 0 else "", f"{rows:,} {kind}{example}"
        if totals.ended:
            used = totals.tokens
            yield "tokens", f"{used.input:,} in ({used.cached:,} cached), {used.output:,} out"
            paid = "unknown" if totals.cost_unknown and not totals.cost else dollars(totals.cost)
            if totals.cost_unknown and totals.cost:
                paid += f" and what {plural(totals.cost_unknown, 'batch', 'batches')} cost that nobody knows"
            beside = f"; in real time about {dollars(self.real_time)}" if self.real_time else ""
            yield "paid", paid + beside
        if totals.unknown_rows:
            yield "unknown", f"{plural(totals.unknown_rows, 'row')} may have run and never came back"

    def _next(self) -> Iterator[str]:
        from overnight.api import EndReason
        from overnight.types import BatchState

        job, view = self.status.job, self.status.view
        reason = self.end.reason
        if self.failed_key is not None:
            yield f"why:   overnight show {job.id} {shlex.quote(self.failed_key)}"
        if reason is EndReason.FINISHED:
            if self.failed_key is not None:
                yield f"again: overnight retry {job.id}"
            return
        if view.open:
            own = self.status.spec.model.startswith(("local/", "fake/")) and self.status.spec.base_url is None
            where = "until its server runs again: waiting" if own else "at the provider: going on"
            yield f"{where}: {plural(len(view.open), 'batch', 'batches')}"
        yield from self._unknown()
        unsent = view.totals.batches.get(BatchState.PLANNED, 0)
        if unsent:
            yield f"not yet sent: {plural(unsent, 'batch', 'batches')}"
        if reason is EndReason.HELD:
            kind = "" if self.end.hold is None else self.end.hold.kind
            yield {
                "undecidable": f"decide: overnight reconcile {job.id}",
                "limit": "go on: the same command with a higher limit",
            }.get(kind, f"go on: overnight resume {job.id}")
        else:
            yield f"go on: overnight watch {job.id}"

    def _unknown(self) -> Iterator[str]:
        """Submissions that are known by their number of requests only, and not for sure."""
        from overnight.api import EndReason
        from overnight.types import BatchState

        job, view = self.status.job, self.status.view
        held = sum(batch.state is BatchState.HELD for batch in view.open)
        if held and self.end.reason is not EndReason.HELD:
            yield f"undecided: {plural(held, 'submission')}: answers will tell, or overnight reconcile {job.id}"
        doubted = sum(not batch.proved for batch in view.open)
        if job.cancel_requested and doubted and not self.status.spec.policy.exclusive:
            who = plural(doubted, "batch", "batches")
            yield f"not canceled: {who} that may be somebody else's, until an answer tells that it is ours"


async def finish(client: Client, end: End) -> Finish:
    """Write the job's table where it is missing or stale, and gather what is told."""
    from overnight.api import EndReason

    status = await client.status(end.view.job.id)
    made, job = Finish(end, status), status.job
    if status.totals.failed:
        made.failed_key = await client.first_failed(job.id)
    if end.reason is not EndReason.FINISHED:
        return made
    output = None if job.output is None else Path(job.output)
    if output is not None and not await client.is_exported(job.id, output):
        summary = await client.export(job.id, output)
        made.outcomes, made.reasons = summary.outcomes, summary.reasons
    else:
        counted = await client.outcomes(job.id)
        made.outcomes, made.reasons = counted.rows, counted.reasons
    made.real_time = await client.real_time_cost(job.id)
    return made


def report(made: Finish, *, as_json: bool, on_done: str | None) -> int:
    """Tell it, run the user's command, and return the exit code."""
    from overnight.cli.asking import document

    say(made.text())
    job = made.status.job
    if made.outcomes:
        say(f"output: {job.output}" if job.output else f"output: overnight results {job.id} -o FILE")
    if as_json:
        document(made.document)
    if on_done is not None and made.code != INTERRUPTED:
        call_on_done(on_done, made)
    return made.code


def call_on_done(command: str, made: Finish) -> None:
    """Run the user's command in the shell; what it prints goes to standard error. Its failure is told, no more."""
    environment = {
        **os.environ,
        "OVERNIGHT_JOB": made.status.job.id,
        "OVERNIGHT_STATUS": made.end.reason.value,
        "OVERNIGHT_EXIT": str(made.code),
        "OVERNIGHT_OUTPUT": made.status.job.output or "",
    }
    done = subprocess.run(command, shell=True, env=environment, stdout=2, check=False)  # noqa: S602 - it is the user's
    if done.returncode:
        say(f"--on-done: the command ended with exit code {done.returncode}")
