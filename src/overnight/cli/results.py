"""`overnight results`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from overnight.cli.asking import document, say
from overnight.cli.group import Call, verb
from overnight.cli.running import with_client
from overnight.cli.words import listed, plural

if TYPE_CHECKING:
    from overnight.api import Client
    from overnight.data.merge import MergeSummary
    from overnight.data.table import Which


@verb(
    """A job's table of answers: one row per source row, in order. Without -o, JSON Lines on standard output.

    \b
    Examples:
      overnight results reviews -o answers.parquet
      overnight results reviews --partial -o so-far.csv
      overnight results reviews --failed -o mend-me.csv
    """
)
@click.argument("job")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Where; the suffix is the format."
)
@click.option("--partial", is_flag=True, help="Also while the job runs: rows without an answer yet are `pending`.")
@click.option("--failed", is_flag=True, help="Only rows that ended without success, for `retry --from` or a new run.")
def results(call: Call, job: str, output: Path | None, partial: bool, failed: bool) -> int:
    """See its help."""
    if partial and failed:
        raise click.UsageError("--partial and --failed exclude each other: `failed` rows can be had at any time")
    which: Which = "partial" if partial else "failed" if failed else "finished"

    async def write(client: Client, path: Path) -> MergeSummary:
        return await client.export(job, path, which)

    async def stream(client: Client) -> None:
        out, between = sys.stdout.buffer, b"[\n"
        async for row in client.rows(job, which):
            line = _json(row)
            if call.json:
                out.write(between + line)
                between = b",\n"
            else:
                out.write(line + b"\n")
        if call.json:
            out.write(b"[]\n" if between == b"[\n" else b"\n]\n")

    if output is None:
        with_client(call, stream)
        return 0
    made = with_client(call, lambda client: write(client, output))
    told = ", ".join(part for part in (plural(made.rows, "row"), listed(made.outcomes)) if part)
    say(f"{output}: {told}")
    if call.json:
        document(_document(made, output))
    return 0


def _json(row: dict[str, Any]) -> bytes:
    import orjson

    try:
        return orjson.dumps(row)
    except TypeError:  # a number of the user's that has more than 64 bits
        return json.dumps(row, ensure_ascii=False, default=str).encode()


def _document(made: MergeSummary, output: Path) -> dict[str, Any]:
    return {
        "output": str(output.absolute()),
        "rows": made.rows,
        "outcomes": dict(made.outcomes),
        "reasons": {kind: {"rows": rows, "first": message} for kind, (rows, message) in made.reasons.items()},
        "labels": dict(made.labels),
        "cost_usd": None if made.cost is None else made.cost / 1e12,
        "rows_of_unknown_cost": made.unknown_rows,
    }
