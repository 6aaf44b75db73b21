"""A batch API on loopback that answers as fast as it can, so that what is measured is the client: uploaded rows are
remembered by their ids alone, and an answer is one of some thousand made beforehand with the id put in.

Batches stay in progress until `POST /release`. Answers come in another order than the requests, as OpenAI's do.
`POST /v1/chat/completions` is a model that answers at once. Run as a process it prints its address, and
ends with its standard input; with `RESULTS.jsonl ROWS` as arguments it writes so many answers into a file instead.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import orjson
from aiohttp import web

_ID = b'{"custom_id":"'
_BLOCK = 256
"""Answers that are sent in one piece."""
_ANSWERS = 4_096
_TOPICS = ("business", "politics", "sports", "technology")


def completion(number: int, content: str) -> dict[str, Any]:
    """A body as OpenAI gives it, about 700 bytes beside its content."""
    taken, made = 300 + number * 7 % 397, 40 + number * 13 % 101
    return {
        "id": f"chatcmpl-C{number:08d}xQ7pLm2Vn4Rt9Ks",
        "object": "chat.completion",
        "created": 1_790_000_000 + number,
        "model": "gpt-5.4-mini-2026-03-05",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": content, "refusal": None, "annotations": []},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": taken,
            "completion_tokens": made,
            "total_tokens": taken + made,
            "prompt_tokens_details": {"cached_tokens": 128 * (number % 2), "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": number % 7,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        },
        "service_tier": "default",
        "system_fingerprint": "fp_a7d06e42a7",
    }


def contents(structured: bool) -> list[str]:
    """What the model says: prose with quotes, commas and now and then a line break; or an object of the schema."""
    random, made = Random(11), []
    for number in range(_ANSWERS):
        topic = _TOPICS[number % len(_TOPICS)]
        summary = f"The text is about {topic}, and {'mostly' if number % 3 else 'only partly'} approves: " + " ".join(
            random.choices(("delivery", "price", "café", "market", "“quality”", "late,", "again", "support"), k=12)
        )
        if structured:
            answer = {
                "topic": topic,
                "summary": summary,
                "score": number % 100 / 100,
                "mentions": number % 9,
                "urgent": number % 5 == 0,
                "keywords": random.sample(("price", "quality", "service", "delivery", "growth"), 3),
            }
            made.append(orjson.dumps(answer).decode())
        else:
            made.append(summary + ('\nIt says so "twice".' if number % 8 == 0 else ""))
    return made


def result_lines(structured: bool) -> list[tuple[bytes, bytes]]:
    """Of every answer what stands before and behind the custom id."""
    lines = []
    for number, content in enumerate(contents(structured)):
        head = b'{"id": "batch_req_%024d", "custom_id": "' % number
        response = {"status_code": 200, "request_id": f"req_{number:032d}", "body": completion(number, content)}
        lines.append((head, b'", "response": ' + orjson.dumps(response) + b', "error": null}\n'))
    return lines


@dataclass(slots=True)
class Held:
    """An uploaded file: the ids of its rows; or the output made of one."""

    id: str
    size: int
    ids: list[bytes] = field(default_factory=list)
    filename: str = "file.jsonl"
    structured: bool = False


class Provider:
    """The state of the API."""

    def __init__(self) -> None:
        self.files: dict[str, Held] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.released = False
        self.lines = {structured: result_lines(structured) for structured in (False, True)}
        self.numbers = count(1)
        self.completion = orjson.dumps(completion(1, contents(False)[0]))

    def application(self) -> web.Application:
        """Its routes."""
        app = web.Application(client_max_size=1 << 30)
        app.router.add_post("/release", self.release)
        app.router.add_post("/v1/files", self.upload)
        app.router.add_get("/v1/files", self.list_files)
        app.router.add_get("/v1/files/{id}", self.file)
        app.router.add_get("/v1/files/{id}/content", self.content)
        app.router.add_delete("/v1/files/{id}", self.delete)
        app.router.add_post("/v1/batches", self.create)
        app.router.add_get("/v1/batches", self.list_batches)
        app.router.add_get("/v1/batches/{id}", self.batch)
        app.router.add_get("/v1/models", self.models)
        app.router.add_post("/v1/chat/completions", self.chat)
        return app

    async def release(self, request: web.Request) -> web.Response:
        """All batches are over, those to come at once; `?hold=1`: those to come stay in progress again."""
        self.released = "hold" not in request.query
        for batch in self.batches.values() if self.released else ():
            self._complete(batch)
        return web.json_response({"batches": len(self.batches)})

    async def upload(self, request: web.Request) -> web.Response:
        """Keep the ids. Every line of ours starts with its id and ends with a line break; the form around has none
        that looks so."""
        held = Held(f"file-in{next(self.numbers):022d}", 0)
        rest = b""
        async for chunk in request.content.iter_any():
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                if line.startswith(_ID):
                    held.ids.append(line[len(_ID) : line.index(b'"', len(_ID))])
                    held.size += len(line) + 1
                    if len(held.ids) == 1:
                        held.structured = b'"json_schema"' in line
                elif b'filename="' in line:
                    held.filename = line.split(b'filename="')[1].split(b'"')[0].decode()
        self.files[held.id] = held
        return web.json_response(self._file(held))

    async def list_files(self, request: web.Request) -> web.Response:
        """No page of files is ever needed but an empty one."""
        return web.json_response({"object": "list", "data": [], "has_more": False})

    async def file(self, request: web.Request) -> web.Response:
        """A file's object."""
        held = self.files.get(request.match_info["id"])
        return _not_found() if held is None else web.json_response(self._file(held))

    async def delete(self, request: web.Request) -> web.Response:
        """Forget a file."""
        gone = self.files.pop(request.match_info["id"], None)
        return _not_found() if gone is None else web.json_response({"id": gone.id, "object": "file", "deleted": True})

    async def content(self, request: web.Request) -> web.StreamResponse:
        """The answers of a batch, made while they are sent."""
        held = self.files[request.match_info["id"]]
        response = web.StreamResponse(headers={"content-length": str(held.size)})
        await response.prepare(request)
        for block in self._answers(held):
            await response.write(block)
        await response.write_eof()
        return response

    def _answers(self, held: Held) -> Iterator[bytes]:
        lines = self.lines[held.structured]
        for start in range(0, len(held.ids), _BLOCK):
            parts: list[bytes] = []
            for number, custom_id in enumerate(held.ids[start : start + _BLOCK], start):
                head, tail = lines[number % len(lines)]
                parts += (head, custom_id, tail)
            yield b"".join(parts)

    async def create(self, request: web.Request) -> web.Response:
        """A batch, in progress."""
        asked = await request.json()
        number = next(self.numbers)
        rows = len(self.files[asked["input_file_id"]].ids)
        batch = {
            "id": f"batch_{number:024d}",
            "object": "batch",
            "endpoint": asked["endpoint"],
            "input_file_id": asked["input_file_id"],
            "completion_window": "24h",
            "status": "in_progress",
            "output_file_id": None,
            "error_file_id": None,
            "errors": None,
            "created_at": int(time.time()),
            "expires_at": int(time.time()) + 86_400,
            "completed_at": None,
            "request_counts": {"total": rows, "completed": 0, "failed": 0},
            "metadata": asked.get("metadata"),
        }
        self.batches[str(batch["id"])] = batch
        if self.released:
            self._complete(batch)
        return web.json_response(batch)

    async def list_batches(self, request: web.Request) -> web.Response:
        """Newest first."""
        ids = list(reversed(self.batches))
        after, limit = request.query.get("after"), int(request.query.get("limit", "20"))
        start = ids.index(after) + 1 if after else 0
        page = [self.batches[each] for each in ids[start : start + limit]]
        return web.json_response({"object": "list", "data": page, "has_more": start + limit < len(ids)})

    async def batch(self, request: web.Request) -> web.Response:
        """A batch's object."""
        found = self.batches.get(request.match_info["id"])
        return _not_found() if found is None else web.json_response(found)

    async def models(self, request: web.Request) -> web.Response:
        """The one model."""
        return web.json_response({"object": "list", "data": [{"id": "bench", "object": "model"}]})

    async def chat(self, request: web.Request) -> web.Response:
        """The same answer to everything."""
        await request.read()
        return web.Response(body=self.completion, content_type="application/json")

    def _complete(self, batch: dict[str, Any]) -> None:
        if batch["status"] == "completed":
            return
        source = self.files[batch["input_file_id"]]
        ids = source.ids
        Random(len(ids)).shuffle(ids)
        lines = self.lines[source.structured]
        around = sum(
            len(lines[number % len(lines)][0]) + len(lines[number % len(lines)][1]) for number in range(len(ids))
        )
        output = Held(
            f"file-out{next(self.numbers):021d}", around + sum(map(len, ids)), ids, structured=source.structured
        )
        self.files[output.id] = output
        rows = len(ids)
        batch |= {
            "status": "completed",
            "output_file_id": output.id,
            "completed_at": int(time.time()),
            "request_counts": {"total": rows, "completed": rows, "failed": 0},
        }

    def _file(self, held: Held) -> dict[str, Any]:
        return {
            "id": held.id,
            "object": "file",
            "bytes": held.size,
            "created_at": int(time.time()),
            "filename": held.filename,
            "purpose": "batch",
            "status": "processed",
        }


def _not_found() -> web.Response:
    error = {"error": {"message": "no such object", "type": "invalid_request_error", "param": None, "code": None}}
    return web.json_response(error, status=404)


async def _serve() -> None:
    runner = web.AppRunner(Provider().application(), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.to_thread(sys.stdin.read)  # the parent closes it
    await runner.cleanup()


def _write_results(path: Path, rows: int) -> None:
    """A file of answers, for the floor."""
    lines = result_lines(structured=False)
    with path.open("wb") as file:
        for number in range(rows):
            head, tail = lines[number % len(lines)]
            file.write(b"%bbenchmrk-%09d-00%b" % (head, number, tail))
    print(rows)


if __name__ == "__main__":
    if sys.argv[1:]:
        _write_results(Path(sys.argv[1]), int(sys.argv[2]))
    else:
        asyncio.run(_serve())
