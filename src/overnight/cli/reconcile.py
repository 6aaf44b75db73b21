"""`overnight reconcile`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from overnight.cli.asking import agreed, answer, document, on_terminal, say
from overnight.cli.ends import Interrupted
from overnight.cli.group import Call, verb
from overnight.cli.running import with_client
from overnight.cli.words import iso, moment

if TYPE_CHECKING:
    from overnight.api import Client
    from overnight.types import Batch, RemoteBatch


@verb(
    """Decide about submissions whose fate nobody knows: without decisions, list them, each with what it may be.

    Where an API tells batches apart by their number of requests only, a lost submission is held until answers tell
    which one it is; a run waits for that by itself. --adopt says that a submission is this batch of the provider, which
    its answers confirm when it ends; --absent that it never arrived: then its rows go out in a new batch, and are paid
    for twice if that is wrong.

    \b
    Examples:
      overnight reconcile reviews
      overnight reconcile reviews --adopt 1f2e3d4c5b6a7980 batch_abc
    """
)
@click.argument("job")
@click.option("--adopt", nargs=2, multiple=True, metavar="BATCH REMOTE", help="It is this batch of the provider.")
@click.option("--absent", multiple=True, metavar="BATCH", help="It never arrived; send its rows anew.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def reconcile(call: Call, job: str, adopt: tuple[tuple[str, str], ...], absent: tuple[str, ...], yes: bool) -> int:
    """See its help."""
    for question in _questions(adopt, absent):
        if not yes:
            _ask(question)

    async def act(client: Client) -> tuple[str, Sequence[tuple[Batch, Sequence[RemoteBatch]]]]:
        for batch, remote in adopt:
            await client.adopt(job, batch, remote)
        for batch in absent:
            await client.declare_absent(job, batch)
        found = await client.job(job)
        return found.id, await client.held(job)

    name, held = with_client(call, act)
    if call.json:
        document({"job": name, "held": [_document(batch, remotes) for batch, remotes in held]})
    elif held:
        answer("\n\n".join(_text(batch, remotes) for batch, remotes in held))
    else:
        say(f"{name}: nothing is to be decided; go on: overnight watch {name}")
    return 0


def _questions(adopt: tuple[tuple[str, str], ...], absent: tuple[str, ...]) -> list[str]:
    told = [f"adopt {remote} as batch {batch}?" for batch, remote in adopt]
    return told + [f"declare batch {batch} absent and send its rows again?" for batch in absent]


def _ask(question: str) -> None:
    if not on_terminal():
        from overnight.errors import UsageError

        raise UsageError(f"nobody can be asked here: {question} Add --yes")
    if not agreed(question):
        raise Interrupted("nothing was decided")


def _text(batch: Batch, remotes: Sequence[RemoteBatch]) -> str:
    lines = [
        f"batch {batch.id}: {batch.shard.rows:,} rows, sent {moment(batch.submitted_at)}, file {batch.filename}",
        *(f"  may be {each.id}: {each.raw_status}, made {moment(each.created_at)}" for each in remotes),
    ]
    if not remotes:
        lines.append("  nothing like it is at the provider")
    return "\n".join(lines)


def _document(batch: Batch, remotes: Sequence[RemoteBatch]) -> dict[str, Any]:
    return {
        "batch": batch.id,
        "rows": batch.shard.rows,
        "submitted_at": iso(batch.submitted_at),
        "file": batch.filename,
        "may_be": [
            {"remote": each.id, "status": each.raw_status, "created_at": iso(each.created_at)} for each in remotes
        ],
    }
