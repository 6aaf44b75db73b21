"""Worlds for the conformance suite of providers: what can be done to a fake from outside."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from overnight.testing.provider_suite import World

PAGE = b"<!doctype html><title>Welcome</title>"


async def no_sleep(seconds: float) -> None:
    await asyncio.sleep(0)


@contextmanager
def web_page() -> Iterator[str]:
    """A server that answers everything with HTML."""
    started, stop, port = threading.Event(), threading.Event(), []

    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: %d\r\n\r\n" % len(PAGE) + PAGE)
        await writer.drain()
        writer.close()

    async def serve():
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port.append(server.sockets[0].getsockname()[1])
        started.set()
        await asyncio.to_thread(stop.wait)
        server.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    started.wait()
    try:
        yield f"http://127.0.0.1:{port[0]}"
    finally:
        stop.set()
        thread.join()


def a_world(
    fake: Any,
    time: list[float],
    provider: Callable[[], Any],
    wrong_key: Callable[[], Any],
    contents: Callable[[], dict[str, bytes]],
    downloads: str = "content",
    **more: Any,
) -> World:
    """A world over a fake whose quirks number the calls of a kind; `downloads` is what it calls a download."""

    def wait(seconds):
        time[0] += seconds
        fake.advance()

    def lose():
        fake.quirks = replace(fake.quirks, lost_creates=frozenset({fake.calls.count("create")}))

    def cut():
        fake.quirks = replace(fake.quirks, cut_downloads=frozenset({fake.calls.count(downloads)}))

    return World(
        provider=provider,
        wrong_key=wrong_key,
        wait=wait,
        lose_next_create=lose,
        cut_next_download=cut,
        accepted=lambda: len(fake.made),
        contents=contents,
        window=fake.quirks.window,
        now=lambda: time[0],
        **more,
    )
