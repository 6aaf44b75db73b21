"""`overnight retry`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from overnight.cli.asking import say
from overnight.cli.finish import Finish, report
from overnight.cli.group import Call, verb
from overnight.cli.interrupts import Interrupts
from overnight.cli.running import carry_on, on_done_option, with_client
from overnight.cli.words import plural

if TYPE_CHECKING:
    from overnight.api import Client

KINDS: Final = (
    "transient", "permanent", "truncated", "refused", "invalid", "empty", "expired", "canceled", "missing", "account",
    "quota", "file",
)  # fmt: skip


@verb(
    """Send rows again that ended without success, all of them unless you choose, into the same output.

    With --from, rows that you mended: a table with the columns of the source and its key (without a key, the column
    `row`), as `overnight results JOB --failed -o FILE` writes it. Rows that were bad or empty can be mended too.

    \b
    Examples:
      overnight retry reviews --kind transient --kind expired
      overnight retry reviews --from mended.csv
    """
)
@click.argument("job")
@click.option("--kind", "kinds", multiple=True, type=click.Choice(KINDS), help="Rows that ended so; may be repeated.")
@click.option("--batch", metavar="BATCH", help="Rows of this batch.")
@click.option("--key", "keys", metavar="KEY", multiple=True, help="The row with this key; may be repeated.")
@click.option("--from", "mended", type=click.Path(path_type=Path), metavar="FILE", help="Mended rows, found by key.")
@click.option("--no-run", is_flag=True, help="Only plan them: `watch` or `collect` sends them.")
@on_done_option
def retry(
    call: Call,
    job: str,
    kinds: tuple[str, ...],
    batch: str | None,
    keys: tuple[str, ...],
    mended: Path | None,
    no_run: bool,
    on_done: str | None,
) -> int:
    """See its help."""
    if mended is not None and (kinds or batch or keys):
        raise click.UsageError("--from names its rows itself: leave out --kind, --batch and --key")

    async def act(client: Client) -> Finish:
        if mended is None:
            await _again(client, job, kinds, batch, keys)
        else:
            await _mend(client, job, mended)
        return await _planned(client, job) if no_run else await carry_on(client, job, interrupts)

    with Interrupts() as interrupts:
        made = with_client(call, act)
    return report(made, as_json=call.json, on_done=on_done)


async def _again(client: Client, job: str, kinds: tuple[str, ...], batch: str | None, keys: tuple[str, ...]) -> None:
    from overnight.api import Chosen
    from overnight.types import BatchId, FailureKind

    chosen = Chosen(
        kinds=frozenset(map(FailureKind, kinds)), batch=None if batch is None else BatchId(batch), keys=frozenset(keys)
    )
    rows = await client.retry(job, chosen)
    say(f"{plural(rows, 'row')} to be sent again" if rows else "no row to send again")


async def _mend(client: Client, job: str, path: Path) -> None:
    told = await client.retry_from(job, path)
    say(f"{plural(told.sent, 'mended row')} to be sent")
    if told.succeeded:
        say(f"{plural(told.succeeded, 'row')} left alone: succeeded before")
    if told.on_their_way:
        say(f"{plural(told.on_their_way, 'row')} left alone: on the way already")


async def _planned(client: Client, job: str) -> Finish:
    from overnight.api import End, EndReason

    status = await client.status(job)
    return Finish(End(EndReason.ONCE, status.view), status)
