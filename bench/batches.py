"""What all APIs of the bench have in common: the ids of the rows that came, and batches that stay in progress until
they are released."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import Any

from aiohttp import web

from answers import Output


class Ids:
    """The ids in request lines that come in any pieces, each of which begins `{"NAME":"<id>"`: nothing else of them is
    kept. Inside of a JSON text that cannot stand."""

    def __init__(self, name: str) -> None:
        self.found: list[bytes] = []
        self.head = b""  # what stood before the first
        self.structured = False  # whether the first asks for an answer with a schema
        self._open = b'{"%b":"' % name.encode()
        self._pattern = re.compile(re.escape(self._open) + rb'([^"]*)"')
        self._start = self._rest = b""

    def feed(self, piece: bytes) -> None:
        """Take the next bytes."""
        data = self._rest + piece
        fresh = self._pattern.findall(data)
        if not self.found:
            self._start += piece
            if fresh:
                self.head, _, first = self._start.partition(self._open)
                self.structured = b'"json_schema"' in first
        self.found += fresh
        last = data.rfind(self._open)
        whole = last < 0 or data.find(b'"', last + len(self._open)) >= 0
        self._rest = data[1 - len(self._open) :] if whole else data[last:]


@dataclass(slots=True)
class Batch:
    """A batch of whatever dialect; `asked` is what its create said."""

    id: str
    dialect: str
    ids: list[bytes]
    structured: bool
    created_at: float
    asked: dict[str, Any]
    output: Output | None = None  # once it has ended
    ended_at: float | None = None

    @property
    def counts(self) -> tuple[int, int]:
        """Rows, and those that succeeded."""
        return len(self.ids), len(self.ids) if self.output else 0

    def end(self) -> None:
        """Everything is answered, in another order than it came."""
        if self.output is None:
            Random(len(self.ids)).shuffle(self.ids)
            self.output = Output(self.dialect, self.ids, self.structured)
            self.ended_at = time.time()


class Batches:
    """The batches of one dialect by their ids, newest last; as long as `held`, new ones stay in progress."""

    def __init__(self, dialect: str, id: str) -> None:
        self.made: dict[str, Batch] = {}
        self.held = True
        self._dialect = dialect
        self._id = id
        self._numbers = count(1)

    def make(self, ids: Ids, asked: dict[str, Any]) -> Batch:
        """A new batch of these rows."""
        id = self._id % next(self._numbers)
        batch = Batch(id, self._dialect, ids.found, ids.structured, time.time(), asked)
        self.made[id] = batch
        if not self.held:
            batch.end()
        return batch

    def release(self, *, hold: bool) -> None:
        """Hold those to come; or end all, and those to come at once."""
        self.held = hold
        for batch in () if hold else self.made.values():
            batch.end()


async def ids_in(request: web.Request, name: str) -> Ids:
    """The ids in a request's body."""
    ids = Ids(name)
    async for piece in request.content.iter_any():
        ids.feed(piece)
    return ids


async def sent(request: web.Request, output: Output | None, size_told: bool) -> web.StreamResponse:
    """The answers, made while they are sent."""
    if output is None:
        return web.json_response({"error": {"message": "not yet"}}, status=404)
    response = web.StreamResponse(headers={"content-length": str(output.size)} if size_told else {})
    await response.prepare(request)
    for block in output.blocks():
        await response.write(block)
    await response.write_eof()
    return response
