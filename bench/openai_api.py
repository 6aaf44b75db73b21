"""OpenAI's files and batches, and its model, for the bench."""

from __future__ import annotations

import re
from itertools import count
from typing import Any

import orjson
from aiohttp import web

from answers import Output, completion, contents
from batches import Batch, Batches, Ids, ids_in, sent

_FILENAME = re.compile(rb'filename="([^"]*)"')


class OpenAI:
    """The state of the API."""

    def __init__(self) -> None:
        self.batches = Batches("openai", "batch_%024d")
        self.files: dict[str, tuple[str, int, Ids]] = {}
        self.outputs: dict[str, Batch] = {}
        self.numbers = count(1)
        self.completion = orjson.dumps(completion(1, contents(False)[0]))

    def add_to(self, app: web.Application) -> None:
        """Its routes."""
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

    async def upload(self, request: web.Request) -> web.Response:
        """Keep the ids. The file is what stands between the form's head and its end."""
        ids = await ids_in(request, "custom_id")
        named = _FILENAME.search(ids.head)
        id = f"file-in{next(self.numbers):022d}"
        end = len(request.headers["content-type"].partition("boundary=")[2]) + 8
        size = (request.content_length or 0) - len(ids.head) - end
        self.files[id] = (named[1].decode() if named else "file.jsonl", size, ids)
        return web.json_response(self._file(id))

    async def list_files(self, request: web.Request) -> web.Response:
        """No page of files is ever needed but an empty one."""
        return web.json_response({"object": "list", "data": [], "has_more": False})

    async def file(self, request: web.Request) -> web.Response:
        """A file's object."""
        id = request.match_info["id"]
        return web.json_response(self._file(id)) if id in self.files or id in self.outputs else _not_found()

    async def delete(self, request: web.Request) -> web.Response:
        """Forget a file."""
        id = request.match_info["id"]
        if self.files.pop(id, None) is None and self.outputs.pop(id, None) is None:
            return _not_found()
        return web.json_response({"id": id, "object": "file", "deleted": True})

    async def content(self, request: web.Request) -> web.StreamResponse:
        """The answers of a batch."""
        return await sent(request, self._output(request.match_info["id"]), size_told=True)

    async def create(self, request: web.Request) -> web.Response:
        """A batch."""
        asked = await request.json()
        batch = self.batches.make(self.files[asked["input_file_id"]][2], asked)
        self.outputs[_output_id(batch)] = batch
        return web.json_response(_document(batch))

    async def list_batches(self, request: web.Request) -> web.Response:
        """Newest first."""
        ids = list(reversed(self.batches.made))
        after, limit = request.query.get("after"), int(request.query.get("limit", "20"))
        start = ids.index(after) + 1 if after else 0
        page = [_document(self.batches.made[each]) for each in ids[start : start + limit]]
        return web.json_response({"object": "list", "data": page, "has_more": start + limit < len(ids)})

    async def batch(self, request: web.Request) -> web.Response:
        """A batch's object."""
        found = self.batches.made.get(request.match_info["id"])
        return _not_found() if found is None else web.json_response(_document(found))

    async def models(self, request: web.Request) -> web.Response:
        """The one model."""
        return web.json_response({"object": "list", "data": [{"id": "bench", "object": "model"}]})

    async def chat(self, request: web.Request) -> web.Response:
        """The same answer to everything."""
        await request.read()
        return web.Response(body=self.completion, content_type="application/json")

    def _output(self, id: str) -> Output | None:
        return self.outputs[id].output if id in self.outputs else None

    def _file(self, id: str) -> dict[str, Any]:
        output = self._output(id)
        name, size = ("output.jsonl", output.size if output else 0) if id in self.outputs else self.files[id][:2]
        return {
            "id": id,
            "object": "file",
            "bytes": size,
            "created_at": 1_790_000_000,
            "filename": name,
            "purpose": "batch",
            "status": "processed",
        }


def _output_id(batch: Batch) -> str:
    return f"file-out{batch.id.removeprefix('batch_')}"


def _document(batch: Batch) -> dict[str, Any]:
    total, completed = batch.counts
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.asked["endpoint"],
        "input_file_id": batch.asked["input_file_id"],
        "completion_window": "24h",
        "status": "completed" if batch.output else "in_progress",
        "output_file_id": _output_id(batch) if batch.output else None,
        "error_file_id": None,
        "errors": None,
        "created_at": int(batch.created_at),
        "expires_at": int(batch.created_at) + 86_400,
        "completed_at": int(batch.ended_at) if batch.ended_at else None,
        "request_counts": {"total": total, "completed": completed, "failed": 0},
        "metadata": batch.asked.get("metadata"),
    }


def _not_found() -> web.Response:
    error = {"error": {"message": "no such object", "type": "invalid_request_error", "param": None, "code": None}}
    return web.json_response(error, status=404)
