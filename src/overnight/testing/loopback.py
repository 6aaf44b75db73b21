"""What real processes talk to while they are killed: a model that logs whatever it executes, and a turnstile before a
server, at which somebody can be struck between a request and its answer."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from overnight.types import Tokens
from overnight.upstreams.fake import tokens_of

CHUNK = 1 << 16
METHODS = (b"GET ", b"POST ", b"DELETE ")
Side = Literal["request", "answer"]


class Listener:
    """A TCP server on a free loopback port, in the running loop."""

    def __init__(self) -> None:
        self.port = 0
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Base URL of an API behind it."""
        return f"http://127.0.0.1:{self.port}/v1"

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening and cut all connections."""
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._talk(reader, writer)
        finally:
            self._connections.discard(task)
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise NotImplementedError


@dataclass(slots=True)
class Execution:
    """A request that the model was asked. Times by the loop's clock; `ended` None: not answered yet."""

    text: str
    number: int  # of the executions of the same text, from 0
    began: float
    status: int
    tokens: Tokens
    ended: float | None = None


class Model(Listener):
    """An OpenAI-compatible chat API that echoes. `word(text, number)` says how an execution ends: `ok`, `empty` (billed
    and without an answer), or an HTTP status; `takes(text, number)` how many seconds it lasts."""

    def __init__(self, word: Callable[[str, int], str], takes: Callable[[str, int], float]) -> None:
        super().__init__()
        self.executions: list[Execution] = []
        self._word = word
        self._takes = takes
        self._numbers: Counter[str] = Counter()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                return
            if head.startswith(b"GET "):
                await _send(writer, 200, {"object": "list", "data": [{"id": "echo", "object": "model"}]})
                continue
            await self._execute(json.loads(await reader.readexactly(_length(head))), writer)

    async def _execute(self, asked: dict[str, list[dict[str, str]]], writer: asyncio.StreamWriter) -> None:
        loop, text = asyncio.get_running_loop(), asked["messages"][-1]["content"]
        number = self._numbers[text]
        self._numbers[text] += 1
        word = self._word(text, number)
        answer = "" if word == "empty" else text
        status = int(word) if word.isdigit() else 200
        tokens = Tokens(tokens_of(text), 0, tokens_of(answer), 0) if status == 200 else Tokens()
        done = Execution(text, number, loop.time(), status, tokens)
        self.executions.append(done)
        await asyncio.sleep(self._takes(text, number))
        await _send(writer, status, _completion(answer, tokens) if status == 200 else {"error": {"message": "no"}})
        done.ended = loop.time()


def _length(head: bytes) -> int:
    lines = (line.partition(b":") for line in head.split(b"\r\n"))
    return next(int(value) for name, _, value in lines if name.lower() == b"content-length")


def _completion(text: str, tokens: Tokens) -> dict[str, object]:
    usage = {
        "prompt_tokens": tokens.input,
        "completion_tokens": tokens.output,
        "total_tokens": tokens.input + tokens.output,
    }
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    return {"id": "chatcmpl-1", "object": "chat.completion", "model": "echo", "choices": [choice], "usage": usage}


async def _send(writer: asyncio.StreamWriter, status: int, document: object) -> None:
    body = json.dumps(document).encode()
    head = f"HTTP/1.1 {status} .\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()


class Turnstile(Listener):
    """Passes on what comes, byte by byte, to `target` (a port of loopback). `aim` chooses a request: when it comes,
    `strike` is called before a byte of it is passed on, or before a byte of its answer is."""

    def __init__(self) -> None:
        super().__init__()
        self.target = 0
        self._left = 0
        self._kind = b""
        self._side: Side = "request"
        self._strike: Callable[[], None] | None = None

    def aim(self, kind: str, number: int, side: Side, strike: Callable[[], None]) -> None:
        """Strike once, at the `number`-th request from now (from 1) that begins with these words."""
        self._kind, self._left, self._side, self._strike = kind.encode(), number, side, strike

    def rest(self) -> None:
        """Strike at nothing."""
        self._strike = None

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection("127.0.0.1", self.target)
        chosen = asyncio.Event()
        asking = asyncio.create_task(self._pass_requests(reader, forth, chosen))
        answering = asyncio.create_task(self._pass_answers(back, writer, chosen))
        try:
            await asyncio.wait({asking, answering}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (asking, answering):
                task.cancel()
            await asyncio.gather(asking, answering, return_exceptions=True)
            forth.close()

    async def _pass_requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, chosen: asyncio.Event
    ) -> None:
        while chunk := await reader.read(CHUNK):
            if self._strike is not None and chunk.startswith(METHODS) and chunk.startswith(self._kind):
                self._left -= 1
                if self._left == 0 and self._side == "answer":
                    chosen.set()
                elif self._left == 0:
                    self._struck()
                    return
            writer.write(chunk)
            await writer.drain()

    async def _pass_answers(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, chosen: asyncio.Event
    ) -> None:
        while chunk := await reader.read(CHUNK):
            if chosen.is_set():
                self._struck()
                return
            writer.write(chunk)
            await writer.drain()

    def _struck(self) -> None:
        strike, self._strike = self._strike, None
        if strike is not None:
            strike()
