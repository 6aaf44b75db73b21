"""Running a job under the eyes of its user: progress, Ctrl-C, the end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from overnight.cli.asking import say
from overnight.cli.ends import Interrupted
from overnight.cli.finish import Finish, finish
from overnight.cli.group import Call
from overnight.cli.interrupts import Interrupts
from overnight.cli.progress import Progress

if TYPE_CHECKING:
    from overnight.api import Client
    from overnight.types import JobView

T = TypeVar("T")
GARBAGE = 50_000
"""Objects made and not freed before cycles are looked for."""

on_done_option = click.option(
    "--on-done", metavar="CMD", help="Run in the shell at the end, with OVERNIGHT_JOB, _STATUS, _EXIT, _OUTPUT."
)


def with_client(call: Call, act: Callable[[Client], Awaitable[T]]) -> T:
    """What `act` returns, given the opened home."""
    import asyncio

    from overnight.api import Client

    _tune()

    async def opened() -> T:
        async with Client(call.config()) as client:
            return await act(client)

    return asyncio.run(opened())


def _tune() -> None:
    """Settings of the whole process, which a library must leave alone."""
    import gc
    import os

    # Rows are tuples and lists without cycles: to look for cycles among them costs a quarter of all work.
    gc.set_threshold(GARBAGE)
    # Arrow's own pool keeps what was freed, tens of megabytes, and is no faster here.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")


async def carry_on(client: Client, job_id: str, interrupts: Interrupts, *, once: bool = False) -> Finish:
    """Run the job, or watch the process that does, to its end. Raises `Interrupted` where the user gave up before the
    provider was reached."""
    import asyncio

    progress = Progress("connecting to the provider")
    running = asyncio.ensure_future(_run(client, job_id, interrupts, progress, once))
    loop = asyncio.get_running_loop()

    def give_up() -> None:
        if not progress.looked:
            loop.call_soon_threadsafe(running.cancel)

    interrupts.on_first = give_up
    try:
        with progress.showing():
            end = await running
            return await finish(client, end)
    except asyncio.CancelledError:
        if not interrupts.asked:
            raise
        job = await client.job(job_id)
        raise Interrupted(f"{job.id}: interrupted before anything was sent; go on: overnight watch {job.id}") from None
    finally:
        interrupts.on_first = None


async def _run(client: Client, job_id: str, interrupts: Interrupts, progress: Progress, once: bool) -> Any:
    watching = False

    def watch(view: JobView) -> None:
        nonlocal watching
        if not watching:
            watching = True
            say(f"{view.job.id} is being run by another process: watching, and taking over when that one is gone")
        progress.look(view)

    return await client.run(job_id, on_look=progress.look, on_watch=watch, stop=interrupts.stop, once=once)
