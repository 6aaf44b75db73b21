"""`overnight status`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from overnight.cli.asking import answer, document
from overnight.cli.documents import batch_document, job_document, state_word
from overnight.cli.group import Call, verb
from overnight.cli.jobs import told_jobs
from overnight.cli.progress import shown
from overnight.cli.running import with_client
from overnight.cli.words import facts, moment, table

if TYPE_CHECKING:
    from overnight.api import Client, Status
    from overnight.types import Batch

_HEAD: Final = (
    "batch",
    "state",
    "rows",
    "ok",
    "failed",
    "sent",
    "seen",
    "latest end",
    "ended",
    "in",
    "out",
    "cost",
    "kept until",
)
_NUMBERS: Final = frozenset({2, 3, 4, 9, 10, 11})


@verb(
    """Where a job stands, batch by batch; without JOB, the jobs of this home.

    A job is named by its id, the start of it, or its name. `sent`, `seen`, `latest end` and `ended` are times of the
    batch at the provider, `kept until` is how long its answers stay there.

    \b
    Examples:
      overnight status
      overnight status reviews --json
    """
)
@click.argument("job", required=False)
def status(call: Call, job: str | None) -> int:
    """See its help."""
    if job is None:
        return told_jobs(call)

    async def act(client: Client) -> tuple[Status, list[tuple[Batch, float | None]]]:
        found = await client.status(job)
        keeps = client.retention(found.job)
        return found, [(batch, _kept_until(batch, keeps)) async for batch in client.batches(found.job.id)]

    found, batches = with_client(call, act)
    if call.json:
        document({**job_document(found), "batch_list": [batch_document(batch, until) for batch, until in batches]})
    else:
        answer(_text(found, batches))
    return 0


def _kept_until(batch: Batch, keeps: float | None) -> float | None:
    """Until when the provider keeps the batch's answers; None where it has none, or we deleted them."""
    over = batch.remote is not None and batch.ended_at is not None and not batch.cleaned
    return batch.ended_at + keeps if over and batch.ended_at is not None and keeps is not None else None


def _text(found: Status, batches: list[tuple[Batch, float | None]]) -> str:
    job = found.job
    seen = shown(found.view)
    about = [
        ("job", f"{job.id}: {state_word(found)}"),
        ("held", "" if job.hold is None else job.hold.message),
        *(("undecided", told) for told in _undecided(found)),
        ("model", found.spec.model),
        ("account", "" if job.account is None else job.account.name),
        ("made", moment(job.created_at)),
        *seen.facts(),
        ("output", job.output or ""),
    ]
    lines = [_line(batch, until) for batch, until in batches]
    return facts(about) + (f"\n\n{table(_HEAD, lines, _NUMBERS)}" if lines else "")


def _undecided(found: Status) -> list[str]:
    from overnight.types import BatchState

    told = []
    for batch in found.view.open:
        if batch.state is BatchState.HELD and batch.failure is not None:
            told.append(f"batch {batch.id}: {batch.failure.message}")
        elif not batch.proved and batch.remote is not None:
            told.append(f"batch {batch.id}: taken for {batch.remote.id}, of as many requests; its answers will tell")
    return told


def _line(batch: Batch, until: float | None) -> tuple[str, ...]:
    from overnight.core.cost import dollars

    remote, totals = batch.remote, batch.totals
    counts: Any = totals.counts if totals is not None else remote.counts if remote is not None else None
    failed = "" if counts is None else f"{counts.errored + counts.expired + counts.canceled:,}"
    return (
        batch.id,
        batch.state.value.replace("_", " "),
        f"{batch.shard.rows:,}",
        "" if counts is None else f"{counts.succeeded:,}",
        failed,
        moment(batch.submitted_at),
        moment(batch.first_seen_at),
        "" if remote is None or batch.ended_at is not None else moment(remote.expires_at),
        moment(batch.ended_at),
        "" if totals is None else f"{totals.tokens.input:,}",
        "" if totals is None else f"{totals.tokens.output:,}",
        "" if totals is None else dollars(totals.cost),
        moment(until),
    )
