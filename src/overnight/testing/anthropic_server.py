"""HTTP in front of the fake Anthropic, on loopback, in a thread of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import orjson
from aiohttp import web

from overnight.testing.anthropic_fake import FakeAnthropic, NoAnswer, Refusal
from overnight.testing.serving import cut_short, hang_up, served

Route = Callable[[web.Request, str], Awaitable[web.StreamResponse]]


@contextmanager
def serving(fake: FakeAnthropic) -> Iterator[str]:
    """The base URL, as long as the `with` lasts. The fake is called from the server's thread only; its log may be read
    whenever no call is under way."""
    with served(lambda: application(fake)) as root:
        fake.root = root
        yield root


def application(fake: FakeAnthropic) -> web.Application:
    """The routes of the API."""
    face = _Face(fake)
    app = web.Application(client_max_size=1 << 30)
    for method, path, route in (
        ("POST", "", face.create),
        ("GET", "", face.batches),
        ("GET", "/{id}", face.batch),
        ("GET", "/{id}/results", face.results),
        ("POST", "/{id}/cancel", face.cancel),
        ("DELETE", "/{id}", face.delete),
    ):
        app.router.add_route(method, f"/v1/messages/batches{path}", face.guarded(route))
    return app


class _Face:
    def __init__(self, fake: FakeAnthropic) -> None:
        self.fake = fake

    def guarded(self, route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """The route with the key read from either header, refusals and lost answers as HTTP shows them, and the
        fake's own time."""

        async def answer(request: web.Request) -> web.StreamResponse:
            bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
            try:
                if "anthropic-version" not in request.headers:
                    raise Refusal("invalid_request_error", "anthropic-version: header is required")
                response = await route(request, request.headers.get("x-api-key", bearer))
            except NoAnswer:
                return hang_up(request)
            except Refusal as refusal:
                response = web.Response(status=refusal.status, body=refusal.body, content_type="application/json")
            if not response.prepared:
                response.headers["date"] = format_datetime(datetime.fromtimestamp(self.fake.now(), UTC), usegmt=True)
            return response

        return answer

    async def create(self, request: web.Request, key: str) -> web.StreamResponse:
        return self._json(key, self.fake.create(key, await request.read()))

    async def batches(self, request: web.Request, key: str) -> web.StreamResponse:
        after, limit = request.query.get("after_id"), int(request.query.get("limit", 20))
        return self._json(key, self.fake.batches(key, after, limit))

    async def batch(self, request: web.Request, key: str) -> web.StreamResponse:
        return self._json(key, self.fake.batch(key, request.match_info["id"]))

    async def results(self, request: web.Request, key: str) -> web.StreamResponse:
        data, cut = self.fake.results(key, request.match_info["id"])
        if cut:
            return await cut_short(request, data, cleanly=self.fake.quirks.cut_cleanly)
        response = web.StreamResponse(headers={"content-type": "application/x-jsonl"})  # no length is told
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(data)
        await response.write_eof()
        return response

    async def cancel(self, request: web.Request, key: str) -> web.StreamResponse:
        return self._json(key, self.fake.cancel(key, request.match_info["id"]))

    async def delete(self, request: web.Request, key: str) -> web.StreamResponse:
        return self._json(key, self.fake.delete(key, request.match_info["id"]))

    def _json(self, key: str, document: dict[str, Any]) -> web.Response:
        headers = {"request-id": f"req_{len(self.fake.calls):06d}"}
        if self.fake.quirks.names_account:
            headers["anthropic-organization-id"] = "org-fake"
            headers["anthropic-workspace-id"] = self.fake.accounts[key]
        if self.fake.quirks.home is not None:
            headers["overnight-server"] = f"0; home={self.fake.quirks.home}"
        return web.Response(body=orjson.dumps(document), content_type="application/json", headers=headers)
