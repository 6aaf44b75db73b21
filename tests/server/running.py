"""A real server in a thread, over real stores and files."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import openai
import uvicorn

from overnight.app import HOME_ID, open_server
from overnight.clock import SystemClock
from overnight.ports import Upstream, UpstreamReply
from overnight.server.app import create_app
from overnight.server.keys import Keys
from overnight.server.run import Server, listen
from overnight.stores.database import Database
from overnight.stores.objects import SqlObjects
from overnight.upstreams.fake import FakeUpstream


class MovableClock(SystemClock):
    """The real clock, which can be moved forward; who sleeps wakes when enough time has passed either way."""

    def __init__(self) -> None:
        self._offset = 0.0
        self._sleepers: list[tuple[float, asyncio.AbstractEventLoop, asyncio.Future[None]]] = []

    def now(self) -> float:
        return super().now() + self._offset

    def elapsed(self) -> float:
        return super().elapsed() + self._offset

    async def sleep(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        timer = loop.call_later(seconds, _wake, future)
        self._sleepers.append((self.elapsed() + seconds, loop, future))
        try:
            await future
        finally:
            timer.cancel()

    def advance(self, seconds: float) -> None:
        self._offset += seconds
        sleepers, self._sleepers = self._sleepers, []
        for until, loop, future in sleepers:
            if until <= self.elapsed():
                if not loop.is_closed():
                    loop.call_soon_threadsafe(_wake, future)
            else:
                self._sleepers.append((until, loop, future))


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class Gated(FakeUpstream):
    """The fake, but a request whose body holds the word `wait` is answered only when the gate is open."""

    def __init__(self, concurrency: int = 8) -> None:
        super().__init__(concurrency=concurrency)
        self.gate = threading.Event()
        self.waiting = 0
        self.ran = 0

    async def answer(self, endpoint: str, body: bytes) -> UpstreamReply:
        self.ran += 1
        if b"wait" in body:
            self.waiting += 1
            while not self.gate.is_set():
                await asyncio.sleep(0.002)
            self.waiting -= 1
        return await super().answer(endpoint, body)


@dataclass(frozen=True)
class Answer:
    """A raw HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Running:
    """A server that listens."""

    def __init__(self, home: Path, upstream: Upstream, clock: MovableClock, keys: Keys, any_model: bool) -> None:
        self.clock = clock
        self.home = home
        self._arguments = (home, upstream, clock, keys, any_model)
        self._listener = listen("127.0.0.1", 0)
        self.port: int = self._listener.getsockname()[1]
        self._ready = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._ready.wait(30)
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self._error = error
            self._ready.set()

    async def _serve(self) -> None:
        home, upstream, clock, keys, any_model = self._arguments
        parts = replace(open_server(home, upstream, any_model), clock=clock)
        app = create_app(
            objects=parts.objects,
            blobs=parts.blobs,
            journals=parts.journals,
            upstream=parts.upstream,
            clock=parts.clock,
            keys=keys,
            home_id=parts.home_id,
            any_model=parts.any_model,
        )
        config = uvicorn.Config(app, lifespan="off", log_config=None, timeout_graceful_shutdown=1)
        self._server = Server(config, self._ready.set)
        self._loop = asyncio.get_running_loop()
        try:
            async with app.router.lifespan_context(app):
                await self._server.serve(sockets=[self._listener])
        finally:
            await parts.close()

    def stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._server.stop)
            self._thread.join(30)
        assert not self._thread.is_alive()

    def blobs(self) -> list[str]:
        """Names of everything that lies on the disk, unfinished files included; but for the home's id."""
        root = self.home / "server" / "blobs"
        names = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
        return sorted(names - {HOME_ID})

    def forget(self, kind: str, id: str) -> None:
        """Take a document out of the store of a server that has stopped, as if it had never come there."""
        objects = SqlObjects(Database(self.home / "server" / "server.db"))

        async def work() -> None:
            assert await objects.delete(kind, "", id)
            await objects.close()

        asyncio.run(work())

    def client(self, key: str = "any") -> openai.OpenAI:
        return openai.OpenAI(api_key=key, base_url=f"http://127.0.0.1:{self.port}/v1", max_retries=0, timeout=30)

    def call(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def post(self, path: str, content: Any, headers: Mapping[str, str] | None = None) -> Answer:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        return self.call("POST", path, body, {"content-type": "application/json", **(headers or {})})


Start = Callable[..., Running]


def chat_line(custom_id: str, text: str = "hello", **body: Any) -> dict[str, Any]:
    """A request line of a batch."""
    content = {"model": "m-1", "messages": [{"role": "user", "content": text}], **body}
    return {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": content}


def jsonl(lines: list[Any]) -> bytes:
    """The lines as a file."""
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def upload(client: openai.OpenAI, content: bytes | list[Any]) -> str:
    """The id of a new batch input file."""
    data = content if isinstance(content, bytes) else jsonl(content)
    return client.files.create(file=("in.jsonl", data), purpose="batch").id


def create(client: openai.OpenAI, content: bytes | list[Any], **more: Any) -> Any:
    """A new batch."""
    return client.batches.create(
        input_file_id=upload(client, content), endpoint="/v1/chat/completions", completion_window="24h", **more
    )


def ended(client: openai.OpenAI, batch_id: str) -> Any:
    """The batch once it is over."""
    return until(lambda: client.batches.retrieve(batch_id), lambda batch: batch.status not in UNENDED)


UNENDED = ("validating", "in_progress", "finalizing", "cancelling")


def until(look: Callable[[], Any], good: Callable[[Any], bool]) -> Any:
    """What `look` returns once it is good; looks in quick succession, for at most 30 seconds."""
    clock = SystemClock()
    deadline = clock.elapsed() + 30
    while not good(seen := look()):
        assert clock.elapsed() < deadline, seen
    return seen


def rows(client: openai.OpenAI, file_id: str | None) -> dict[str, Any]:
    """The lines of a result file by custom id; each id once."""
    if file_id is None:
        return {}
    lines = [json.loads(line) for line in client.files.content(file_id).read().splitlines()]
    by_id = {line["custom_id"]: line for line in lines}
    assert len(by_id) == len(lines)
    return by_id
