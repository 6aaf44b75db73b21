"""`overnight submit`."""

from __future__ import annotations

from typing import Any

from overnight.cli.fields import Asked, spec_options
from overnight.cli.group import Call, verb
from overnight.cli.run import ordered


@verb(
    """Send a job's batches and return, without waiting for answers.

    `overnight collect`, from cron for example, brings the answers home and sends what is left; `overnight watch` stays
    until the end. It takes the options of `overnight run`.

    \b
    Example:
      overnight submit news.yaml --yes
    """
)
@spec_options
def submit(call: Call, **options: Any) -> int:
    """See its help."""
    return ordered(call, Asked(**options), None, once=True)
