"""`overnight collect`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from overnight.cli.asking import document, say
from overnight.cli.ends import INTERRUPTED
from overnight.cli.finish import Finish, call_on_done
from overnight.cli.group import Call, verb
from overnight.cli.interrupts import Interrupts
from overnight.cli.running import carry_on, on_done_option, with_client

if TYPE_CHECKING:
    from overnight.api import Client
    from overnight.types import Job

_WORST_FIRST: Final = (INTERRUPTED, 1, 2, 4, 5, 3)


@verb(
    """Advance every job of this home once and return: collect what has ended, send what is due, write tables.

    Jobs on local models, which run only while a command does, are run to their end. The exit code is the worst of
    those jobs that moved.

    \b
    Example, a line of a crontab:
      */10 * * * *  overnight collect
    """
)
@on_done_option
def collect(call: Call, on_done: str | None) -> int:
    """See its help."""
    made: list[Finish] = []
    codes: set[int] = set()

    async def act(client: Client) -> None:
        from overnight.errors import OvernightError

        for job in await client.jobs():
            if interrupts.asked:
                codes.add(INTERRUPTED)
                return
            try:
                ended = await _advanced(client, job, interrupts)
            except OvernightError as error:  # one job's trouble is not the others'
                say(f"error: {job.id}: {error}")
                codes.add(error.exit_code)
                continue
            if ended is not None:
                made.append(ended)
                codes.add(ended.code)
                say(ended.text())

    with Interrupts() as interrupts:
        with_client(call, act)
    if call.json:
        document([each.document for each in made])
    for each in made:
        if on_done is not None and each.status.finished:
            call_on_done(on_done, each)
    return next((code for code in _WORST_FIRST if code in codes), 0)


async def _advanced(client: Client, job: Job, interrupts: Interrupts) -> Finish | None:
    """What became of the job, or None where there was nothing to do for it."""
    before = await client.status(job.id)
    held = before.job.hold is not None and not before.job.cancel_requested
    if job.planned is None or (held and not before.view.open):
        return None
    if before.finished and (job.output is None or await client.is_exported(job.id, Path(job.output))):
        return None
    own = before.spec.model.startswith(("local/", "fake/")) and before.spec.base_url is None
    return await carry_on(client, job.id, interrupts, once=not own)
