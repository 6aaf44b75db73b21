"""HTTP in front of the fake OpenAI, on loopback, in a thread of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import orjson
from aiohttp import BodyPartReader, web

from overnight.testing.openai_fake import FakeOpenAI, NoAnswer, Refusal
from overnight.testing.serving import cut_short, hang_up, served

Route = Callable[[web.Request, str], Awaitable[web.StreamResponse]]


@contextmanager
def serving(fake: FakeOpenAI) -> Iterator[str]:
    """The base URL, as long as the `with` lasts. The fake is called from the server's thread only; its log may be read
    whenever no call is under way."""
    with served(lambda: application(fake)) as root:
        yield f"{root}/v1"


def application(fake: FakeOpenAI) -> web.Application:
    """The routes of the API, under `/v1`."""
    face = _Face(fake)
    app = web.Application(client_max_size=1 << 30)
    for method, path, route in (
        ("POST", "/files", face.upload),
        ("GET", "/files", face.files),
        ("GET", "/files/{id}", face.file),
        ("GET", "/files/{id}/content", face.content),
        ("DELETE", "/files/{id}", face.delete_file),
        ("POST", "/batches", face.create),
        ("GET", "/batches", face.batches),
        ("GET", "/batches/{id}", face.batch),
        ("POST", "/batches/{id}/cancel", face.cancel),
    ):
        app.router.add_route(method, f"/v1{path}", face.guarded(route))
    return app


class _Face:
    def __init__(self, fake: FakeOpenAI) -> None:
        self.fake = fake

    def guarded(self, route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """The route with the key read, and with refusals and lost answers as HTTP shows them."""

        async def answer(request: web.Request) -> web.StreamResponse:
            key = request.headers.get("authorization", "").removeprefix("Bearer ")
            try:
                response = await route(request, key)
            except NoAnswer:
                return hang_up(request)
            except Refusal as refusal:
                return web.Response(status=refusal.status, body=refusal.body(), content_type="application/json")
            return response

        return answer

    async def upload(self, request: web.Request, key: str) -> web.StreamResponse:
        purpose, filename, data = "", "", b""
        async for part in await request.multipart():
            assert isinstance(part, BodyPartReader)
            if part.name == "file":
                filename, data = part.filename or "", bytes(await part.read())
            elif part.name == "purpose":
                purpose = await part.text()
        return self._json(key, self.fake.upload(key, filename, data, purpose))

    async def files(self, request: web.Request, key: str) -> web.StreamResponse:
        after, limit = _window(request, 10_000)
        return self._json(key, self.fake.files(key, after, limit, request.query.get("purpose")))

    async def file(self, request: web.Request, key: str) -> web.StreamResponse:
        return self._json(key, self.fake.file(key, request.match_info["id"]))

    async def content(self, request: web.Request, key: str) -> web.StreamResponse:
        data, cut = self.fake.content(key, request.match_info["id"])
        if not cut:
            return web.Response(body=data, content_type="application/octet-stream")
        return await cut_short(request, data, cleanly=self.fake.quirks.cut_cleanly)

    async def delete_file(self, request: web.Request, key: str) -> web.StreamResponse:
        return self._json(key, self.fake.delete_file(key, request.match_info["id"]))

    async def create(self, request: web.Request, key: str) -> web.StreamResponse:
        return self._json(key, self.fake.create(key, orjson.loads(await request.read())))

    async def batches(self, request: web.Request, key: str) -> web.StreamResponse:
        after, limit = _window(request, 20)
        return self._json(key, self.fake.batches(key, after, limit))

    async def batch(self, request: web.Request, key: str) -> web.StreamResponse:
        return self._json(key, self.fake.batch(key, request.match_info["id"]))

    async def cancel(self, request: web.Request, key: str) -> web.StreamResponse:
        return self._json(key, self.fake.cancel(key, request.match_info["id"]))

    def _json(self, key: str, document: dict[str, Any]) -> web.Response:
        headers = {"x-request-id": f"req_{len(self.fake.calls):06d}"}
        if self.fake.quirks.names_account:
            headers["openai-organization"] = self.fake.accounts[key]
        if self.fake.quirks.home is not None:
            headers["overnight-server"] = f"0; home={self.fake.quirks.home}"
        return web.Response(body=orjson.dumps(document), content_type="application/json", headers=headers)


def _window(request: web.Request, limit: int) -> tuple[str | None, int]:
    return request.query.get("after"), int(request.query.get("limit", limit))
