"""`overnight run`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from overnight.cli.asking import agreed, answer, document, on_terminal, say
from overnight.cli.ends import Interrupted
from overnight.cli.fields import Asked, spec_options
from overnight.cli.finish import report
from overnight.cli.group import Call, verb
from overnight.cli.interrupts import Interrupts
from overnight.cli.preview import preview_document, preview_text
from overnight.cli.progress import Progress
from overnight.cli.running import carry_on, on_done_option, with_client

if TYPE_CHECKING:
    from overnight.api import Client, Preview
    from overnight.data.planning import Summary
    from overnight.types import Job


@verb(
    """Run a job to its end: a table of documents in, a table of answers out.

    The same spec over the same source is the same job: running it again goes on where it was, or shows what it came
    to. Before anything is paid for there is a preview and a question (--yes answers it).

    \b
    Examples:
      overnight run reviews.csv -m openai/gpt-5.4-mini -p 'Sentiment of: {{ text }}' \\
          --labels positive,negative,neutral -o answers.csv
      overnight run news.yaml --limit 20
    """
)
@spec_options
@on_done_option
def run(call: Call, on_done: str | None, **options: Any) -> int:
    """See its help."""
    return ordered(call, Asked(**options), on_done, once=False)


def ordered(call: Call, asked: Asked, on_done: str | None, *, once: bool) -> int:
    """Plan, ask, send; `once`: return when all is sent that can be sent now."""
    spec = asked.spec()
    if asked.print_spec:
        _print_spec(call, spec)
        return 0

    async def act(client: Client) -> int:
        preview = await _prepared(client, spec, asked, interrupts)
        code = await _refused(client, preview, call, asked)
        if code is not None:
            return code
        job = await _approved(client, preview, asked, interrupts)
        if job is None:
            return 0
        return report(
            await carry_on(client, job.id, interrupts, once=once), as_json=call.json, on_done=None if once else on_done
        )

    with Interrupts() as interrupts:
        return with_client(call, act)


async def _prepared(client: Client, spec: Any, asked: Asked, interrupts: Interrupts) -> Preview:
    """The preview of what can be sent; Ctrl-C while planning, or a missing key, leaves nothing behind."""
    progress = Progress("reading the source")

    def on_progress(summary: Summary) -> None:
        if interrupts.asked:
            raise Interrupted("interrupted: nothing was sent")
        progress.planned(summary)

    with progress.showing():
        preview = await client.prepare(
            spec,
            asked.selection,
            new=asked.new,
            max_requests=asked.max_requests,
            max_cost=asked.most_money,
            on_progress=on_progress,
        )
    if preview.new and preview.summary.requests and not asked.dry_run:
        try:
            await client.check_access(preview)
        except Exception:
            await client.discard(preview)
            raise
    return preview


async def _refused(client: Client, preview: Preview, call: Call, asked: Asked) -> int | None:
    """The exit code where it ends before anybody is asked: a rule forbids it, or only the preview is wanted."""
    from overnight.errors import HoldError

    if preview.new:
        say(preview_text(preview))
    hold = await client.refusal(preview) if preview.new else None
    if hold is not None:
        await client.discard(preview)
        raise HoldError(hold.message)
    if not asked.dry_run:
        return None
    if not preview.new:
        say(f"{preview.job.id}: everything that is asked for was approved before; nothing new would be sent")
    await client.discard(preview)
    if call.json:
        document(preview_document(preview))
    return 0


async def _approved(client: Client, preview: Preview, asked: Asked, interrupts: Interrupts) -> Job | None:
    """The job that may run, or None where the user said no."""
    if preview.new and preview.summary.requests:
        try:
            yes = asked.yes or _asked(interrupts)
        except Exception:
            await client.discard(preview)
            raise
        if not yes:
            await client.discard(preview)
            say("nothing was sent")
            return None
    if interrupts.asked:
        await client.discard(preview)
        raise Interrupted("interrupted: nothing was sent")
    return await client.approve(preview)


def _asked(interrupts: Interrupts) -> bool:
    """The user's word. Raises `UsageError` where nobody can be asked."""
    if not on_terminal():
        from overnight.errors import UsageError

        raise UsageError("nobody can be asked here before it is sent: add --yes if this is what you want")
    return agreed("send it?", interrupts)


def _print_spec(call: Call, spec: Any) -> None:
    if call.json:
        import msgspec

        document(msgspec.to_builtins(spec))
    else:
        from overnight.specfile import dump_yaml

        answer(dump_yaml(spec).rstrip("\n"))
