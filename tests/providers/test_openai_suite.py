"""The provider's conformance suite, over HTTP and without."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from overnight.providers.openai import OpenAIProvider
from overnight.testing.openai_direct import DirectProvider
from overnight.testing.openai_fake import KEY, FakeOpenAI, Quirks
from overnight.testing.openai_server import serving
from overnight.testing.provider_suite import ProviderSuite, World

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
    yield f"http://127.0.0.1:{port[0]}"
    stop.set()
    thread.join()


def a_world(fake, time, provider, wrong_key, **more):
    def wait(seconds):
        time[0] += seconds
        fake.advance()

    def lose():
        fake.quirks = replace(fake.quirks, lost_creates=frozenset({fake.calls.count("create")}))

    def cut():
        fake.quirks = replace(fake.quirks, cut_downloads=frozenset({fake.calls.count("content")}))

    return World(
        provider=provider,
        wrong_key=wrong_key,
        wait=wait,
        lose_next_create=lose,
        cut_next_download=cut,
        accepted=lambda: len(fake.made),
        contents=lambda: {file.id: file.data for file in fake.stored.values()},
        window=fake.quirks.window,
        now=lambda: time[0],
        **more,
    )


class TestOverHttp(ProviderSuite):
    quirks = Quirks()

    @contextmanager
    def world(self):
        time = [1_800_000_000.0]
        fake = FakeOpenAI(lambda: time[0], self.quirks)
        with serving(fake) as url, web_page() as page:
            yield a_world(
                fake,
                time,
                lambda: OpenAIProvider(KEY, url, sleep=no_sleep),
                lambda: OpenAIProvider("wrong-key", url, sleep=no_sleep),
                html=lambda: OpenAIProvider(KEY, page, sleep=no_sleep),
            )


class TestOverHttpOfAnApiThatNamesNoAccount(TestOverHttp):
    quirks = Quirks(names_account=False, cut_cleanly=True, empty_ids=True)


class TestDirect(ProviderSuite):
    @contextmanager
    def world(self):
        time = [1_800_000_000.0]
        fake = FakeOpenAI(lambda: time[0])
        yield a_world(
            fake,
            time,
            lambda: DirectProvider(fake),
            lambda: DirectProvider(fake, "wrong-key"),
            retries_downloads=False,
        )
