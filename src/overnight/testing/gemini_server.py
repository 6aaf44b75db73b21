"""HTTP in front of the fake Gemini, on loopback, in a thread of its own: every version of the API, both paths of
downloads."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import orjson
from aiohttp import web

from overnight.testing.gemini_fake import FakeGemini, NoAnswer, Refusal
from overnight.testing.serving import cut_short, hang_up, served
from overnight.wire.gemini.answers import field

Route = Callable[[web.Request, str], Awaitable[web.StreamResponse]]
_VERSION = "{version:v1|v1beta|v1alpha}"


@contextmanager
def serving(fake: FakeGemini) -> Iterator[str]:
    """The base URL, as long as the `with` lasts. The fake is called from the server's thread only; its log may be read
    whenever no call is under way."""
    with served(lambda: application(fake)) as root:
        fake.root = root
        yield root


def application(fake: FakeGemini) -> web.Application:
    """The routes of the API."""
    face = _Face(fake)
    app = web.Application(client_max_size=1 << 30)
    for method, path, route in (
        ("POST", f"/upload/{_VERSION}/files", face.upload),
        ("GET", f"/{_VERSION}/files", face.files),
        ("GET", f"/{_VERSION}/files/{{id}}:download", face.download),
        ("GET", f"/download/{_VERSION}/files/{{id}}:download", face.download_as_documented),
        ("GET", f"/{_VERSION}/files/{{id}}", face.file),
        ("DELETE", f"/{_VERSION}/files/{{id}}", face.delete_file),
        ("POST", f"/{_VERSION}/models/{{model}}:{{method}}", face.create),
        ("GET", f"/{_VERSION}/batches", face.batches),
        ("GET", f"/{_VERSION}/batches/{{id}}", face.batch),
        ("POST", f"/{_VERSION}/batches/{{id}}:cancel", face.cancel),
        ("DELETE", f"/{_VERSION}/batches/{{id}}", face.delete_batch),
    ):
        app.router.add_route(method, path, face.guarded(route))
    return app


class _Face:
    def __init__(self, fake: FakeGemini) -> None:
        self.fake = fake

    def guarded(self, route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """The route with the key read, refusals and lost answers as HTTP shows them."""

        async def answer(request: web.Request) -> web.StreamResponse:
            try:
                return await route(request, request.headers.get("x-goog-api-key", request.query.get("key", "")))
            except NoAnswer:
                return hang_up(request)
            except Refusal as refusal:
                return web.Response(status=refusal.status, body=refusal.body, content_type="application/json")

        return answer

    async def upload(self, request: web.Request, key: str) -> web.StreamResponse:
        command = {word.strip() for word in request.headers.get("x-goog-upload-command", "").split(",")}
        data, headers = await request.read(), request.headers
        if "start" in command:
            about = field(orjson.loads(data or b"{}"), "file") or {}
            size = headers.get("x-goog-upload-header-content-length")
            id = self.fake.begin(key, about, int(size) if size else None)
            url = f"{self.fake.root}{request.path}?upload_id={id}&upload_protocol=resumable"
            told = {"x-goog-upload-url": url, "x-goog-upload-status": "active"}
            return web.Response(headers={**told, "x-goog-upload-chunk-granularity": "262144"})
        id = request.query.get("upload_id", "")
        if "query" in command:
            upload = self.fake.upload(id)
        else:
            upload = self.fake.piece(id, int(headers.get("x-goog-upload-offset", 0)), data, "finalize" in command)
        told = {
            "x-goog-upload-status": "final" if upload.final else "active",
            "x-goog-upload-size-received": str(len(upload.data)),
        }
        name = str(upload.about["name"])
        shown = {"file": self.fake.stored[name].document(self.fake.root)} if name in self.fake.stored else {}
        return self._json(shown, told)

    async def files(self, request: web.Request, key: str) -> web.StreamResponse:
        return self._json(self.fake.files(key, *_page_of(request, 10)))

    async def file(self, request: web.Request, key: str) -> web.StreamResponse:
        return self._json(self.fake.file(key, request.match_info["id"]))

    async def delete_file(self, request: web.Request, key: str) -> web.StreamResponse:
        return self._json(self.fake.delete_file(key, request.match_info["id"]))

    async def download(self, request: web.Request, key: str) -> web.StreamResponse:
        return await self._sent(request, key, documented=False)

    async def download_as_documented(self, request: web.Request, key: str) -> web.StreamResponse:
        return await self._sent(request, key, documented=True)

    async def _sent(self, request: web.Request, key: str, documented: bool) -> web.StreamResponse:
        if request.query.get("alt") != "media":
            raise Refusal(400, "alt: must be media.")
        data, cut = self.fake.download(key, request.match_info["id"], documented)
        if cut:
            return await cut_short(request, data, cleanly=self.fake.quirks.cut_cleanly)
        response = web.StreamResponse(headers={"content-type": "application/octet-stream"})  # no length is told
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(data)
        await response.write_eof()
        return response

    async def create(self, request: web.Request, key: str) -> web.StreamResponse:
        where, body = request.match_info, orjson.loads(await request.read())
        return self._json(self.fake.create(key, where["model"], where["method"], body))

    async def batches(self, request: web.Request, key: str) -> web.StreamResponse:
        return self._json(self.fake.batches(key, *_page_of(request, 50)))

    async def batch(self, request: web.Request, key: str) -> web.StreamResponse:
        return self._json(self.fake.batch(key, request.match_info["id"]))

    async def cancel(self, request: web.Request, key: str) -> web.StreamResponse:
        return self._json(self.fake.cancel(key, request.match_info["id"]))

    async def delete_batch(self, request: web.Request, key: str) -> web.StreamResponse:
        return self._json(self.fake.delete_batch(key, request.match_info["id"]))

    def _json(self, document: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> web.Response:
        home = self.fake.quirks.home
        told = {**(headers or {}), **({} if home is None else {"overnight-server": f"0; home={home}"})}
        return web.Response(body=orjson.dumps(document), content_type="application/json", headers=told)


def _page_of(request: web.Request, usual: int) -> tuple[int, str]:
    return int(request.query.get("pageSize", usual)), request.query.get("pageToken", "")
