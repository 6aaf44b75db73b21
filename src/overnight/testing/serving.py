"""HTTP in front of a fake, on loopback, in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from aiohttp import web


@contextmanager
def served(application: Callable[[], web.Application]) -> Iterator[str]:
    """`http://127.0.0.1:PORT`, as long as the `with` lasts. The application is made and called in the server's thread
    only."""
    ready: list[str] = []
    started, stop = threading.Event(), threading.Event()

    async def serve() -> None:
        runner = web.AppRunner(application(), access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            ready.append(f"http://127.0.0.1:{runner.addresses[0][1]}")
            started.set()
            await asyncio.to_thread(stop.wait)
        finally:
            started.set()
            await runner.cleanup()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="fake", daemon=True)
    thread.start()
    started.wait()
    try:
        yield ready[0]
    finally:
        stop.set()
        thread.join()


async def cut_short(
    request: web.Request, data: bytes, *, cleanly: bool, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.StreamResponse:
    """The first half of a body, then the end of the connection; `cleanly`: and it looks whole, a shorter length being
    announced."""
    half = data[: len(data) // 2]
    if cleanly:
        return web.Response(body=half, content_type="application/octet-stream")
    response = web.StreamResponse(status=status, headers={**(headers or {}), "content-length": str(len(data))})
    await response.prepare(request)
    await response.write(half)
    return hang_up(request)


def hang_up(request: web.Request) -> web.Response:
    """Close the connection without another byte; what is returned goes nowhere."""
    if request.transport is not None:
        request.transport.close()
    return web.Response()
