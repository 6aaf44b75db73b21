"""`overnight watch`."""

from __future__ import annotations

import click

from overnight.cli.finish import report
from overnight.cli.group import Call, verb
from overnight.cli.interrupts import Interrupts
from overnight.cli.running import carry_on, on_done_option, with_client


@verb(
    """Follow a job to its end. Where no other process runs it, this one does; the source is not needed.

    \b
    Example:
      overnight watch reviews
    """
)
@click.argument("job")
@on_done_option
def watch(call: Call, job: str, on_done: str | None) -> int:
    """See its help."""
    return followed(call, job, on_done)


def followed(call: Call, job: str, on_done: str | None) -> int:
    """Run the job, or watch it, to its end, and report."""
    with Interrupts() as interrupts:
        made = with_client(call, lambda client: carry_on(client, job, interrupts))
    return report(made, as_json=call.json, on_done=on_done)
