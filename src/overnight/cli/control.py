"""`overnight resume` and `overnight cancel`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from overnight.cli.finish import Finish, report
from overnight.cli.group import Call, verb
from overnight.cli.interrupts import Interrupts
from overnight.cli.running import carry_on, on_done_option, with_client

if TYPE_CHECKING:
    from overnight.api import Client


@verb(
    """Let a held job go on: after a brake, an expectation, a limit, or when the account works again.

    What failed so far is forgiven: the brake judges what ends from now on.

    \b
    Example:
      overnight resume reviews
    """
)
@click.argument("job")
@on_done_option
def resume(call: Call, job: str, on_done: str | None) -> int:
    """See its help."""

    async def act(client: Client) -> Finish:
        await client.resume(job)
        return await carry_on(client, job, interrupts)

    with Interrupts() as interrupts:
        made = with_client(call, act)
    return report(made, as_json=call.json, on_done=on_done)


@verb(
    """Send nothing more of a job, and cancel at the provider what is out.

    What ran until then is paid for and is in the results; `overnight retry` sends the rest again. Where another process
    runs the job, that one carries it out.

    \b
    Example:
      overnight cancel reviews
    """
)
@click.argument("job")
def cancel(call: Call, job: str) -> int:
    """See its help."""

    async def act(client: Client) -> Finish:
        await client.cancel(job)
        return await carry_on(client, job, interrupts, once=True)

    with Interrupts() as interrupts:
        made = with_client(call, act)
    code = report(made, as_json=call.json, on_done=None)
    return 0 if made.status.finished else code
