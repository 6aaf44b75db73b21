"""`overnight jobs`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from overnight.cli.asking import answer, document, say
from overnight.cli.documents import job_document, state_word
from overnight.cli.group import Call, verb
from overnight.cli.progress import shown
from overnight.cli.running import with_client
from overnight.cli.words import moment, table

if TYPE_CHECKING:
    from overnight.api import Client, Status

_HEAD: Final = ("job", "state", "rows", "succeeded", "failed", "cost", "made", "model", "output")
_NUMBERS: Final = frozenset({2, 3, 4, 5})


@verb(
    """The jobs of this home, newest first.

    \b
    Example:
      overnight jobs --json
    """
)
def jobs(call: Call) -> int:
    """See its help."""
    return told_jobs(call)


def told_jobs(call: Call) -> int:
    """Show them."""

    async def act(client: Client) -> list[Status]:
        return [await client.status(job.id) for job in await client.jobs()]

    found = with_client(call, act)
    if call.json:
        document([job_document(each) for each in found])
    elif found:
        answer(table(_HEAD, map(_line, found), _NUMBERS))
    else:
        say(f"no jobs in {call.config().home}")
    return 0


def _line(found: Status) -> tuple[str, ...]:
    job, totals = found.job, found.totals
    return (
        job.id,
        state_word(found),
        f"{totals.rows:,}",
        f"{totals.succeeded:,}",
        f"{totals.failed:,}",
        shown(found.view).money,
        moment(job.created_at),
        found.spec.model,
        job.output or "",
    )
