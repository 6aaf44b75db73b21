"""`overnight clean`."""

from __future__ import annotations

import click

from overnight.cli.asking import document, say
from overnight.cli.group import Call, verb
from overnight.cli.running import with_client
from overnight.cli.words import size


@verb(
    """Remove a finished job's files and records from this home. Refused where its answers stand in no table yet.

    \b
    Example:
      overnight clean reviews
    """
)
@click.argument("job")
def clean(call: Call, job: str) -> int:
    """See its help."""
    freed = with_client(call, lambda client: client.clean(job))
    say(f"{size(freed)} freed")
    if call.json:
        document({"freed_bytes": freed})
    return 0
