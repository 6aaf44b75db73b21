"""HTTP in front of the fake Vertex AI, on loopback, in a thread of its own: the jobs of `/v1` and `/v1beta1`, and as
much of Cloud Storage's XML API as an object store needs."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from email.utils import formatdate
from typing import Any
from xml.sax.saxutils import escape

import orjson
from aiohttp import web

from overnight.testing.serving import cut_short, hang_up, served
from overnight.testing.vertex_fake import FakeVertex, NoAnswer, NoObject, Refused

Route = Callable[[web.Request, str], Awaitable[web.StreamResponse]]
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_PART = re.compile(rb"<PartNumber>(\d+)</PartNumber>")


@contextmanager
def serving(fake: FakeVertex) -> Iterator[str]:
    """The base URL of both services, as long as the `with` lasts. The fake is called from the server's thread only; its
    log may be read whenever no call is under way."""
    with served(lambda: application(fake)) as root:
        yield root


def application(fake: FakeVertex) -> web.Application:
    """The routes of both services."""
    jobs, objects = _Jobs(fake), _Objects(fake)
    app = web.Application(client_max_size=1 << 30)
    path = "/{version:v1|v1beta1}/projects/{project}/locations/{location}/batchPredictionJobs"
    for method, below, route in (
        ("POST", "", jobs.create),
        ("GET", "", jobs.list),
        ("GET", "/{id}", jobs.get),
        ("POST", "/{id}:cancel", jobs.cancel),
        ("DELETE", "/{id}", jobs.delete),
    ):
        app.router.add_route(method, path + below, _guarded(route, _as_json))
    for method, route in (
        ("PUT", objects.put),
        ("POST", objects.post),
        ("HEAD", objects.head),
        ("GET", objects.get),
        ("DELETE", objects.delete),
    ):
        app.router.add_route(method, "/{bucket}/{name:.+}", _guarded(route, _as_xml))
    app.router.add_route("GET", "/{bucket}", _guarded(objects.list, _as_xml))
    return app


def _guarded(
    route: Route, told: Callable[[Refused], web.Response]
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """The route with the token read, and with refusals and lost answers as HTTP shows them."""

    async def answer(request: web.Request) -> web.StreamResponse:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        try:
            return await route(request, token)
        except NoAnswer:
            return hang_up(request)
        except NoObject:
            return told(Refused(404, "NoSuchKey", "The specified key does not exist."))
        except Refused as refused:
            return told(refused)

    return answer


def _as_json(refused: Refused) -> web.Response:
    body = orjson.dumps(refused.document())
    return web.Response(status=refused.code, body=body, content_type="application/json")


def _as_xml(refused: Refused) -> web.Response:
    text = f"<Error><Code>{refused.status}</Code><Message>{escape(refused.message)}</Message></Error>"
    return web.Response(status=refused.code, text=text, content_type="application/xml")


class _Jobs:
    """Batch prediction jobs."""

    def __init__(self, fake: FakeVertex) -> None:
        self.fake = fake

    async def create(self, request: web.Request, token: str) -> web.StreamResponse:
        where = request.match_info
        body = orjson.loads(await request.read())
        return self._json(self.fake.create(token, where["project"], where["location"], body))

    async def list(self, request: web.Request, token: str) -> web.StreamResponse:
        query = request.query
        size = int(query.get("pageSize", 100))
        project = request.match_info["project"]
        return self._json(self.fake.jobs(token, project, query.get("filter", ""), size, query.get("pageToken", "")))

    async def get(self, request: web.Request, token: str) -> web.StreamResponse:
        return self._json(self.fake.job(token, request.match_info["project"], request.match_info["id"]))

    async def cancel(self, request: web.Request, token: str) -> web.StreamResponse:
        return self._json(self.fake.cancel(token, request.match_info["project"], request.match_info["id"]))

    async def delete(self, request: web.Request, token: str) -> web.StreamResponse:
        return self._json(self.fake.delete_job(token, request.match_info["project"], request.match_info["id"]))

    def _json(self, document: Mapping[str, Any]) -> web.Response:
        home = self.fake.quirks.home
        headers = {} if home is None else {"overnight-server": f"0; home={home}"}
        return web.Response(body=orjson.dumps(document), content_type="application/json", headers=headers)


class _Objects:
    """Objects in buckets. Parts of an upload under way are kept here, and are no objects yet."""

    def __init__(self, fake: FakeVertex) -> None:
        self.fake = fake
        self.parts: dict[str, dict[int, bytes]] = {}
        self._uploads = itertools.count(1)

    async def put(self, request: web.Request, token: str) -> web.StreamResponse:
        data, upload = await request.read(), request.query.get("uploadId")
        if upload is None:
            self.fake.put(token, *_named(request), data)
        else:
            self.parts[upload][int(request.query["partNumber"])] = data
        return web.Response(headers={"etag": _etag(data), "x-goog-generation": "1"})

    async def post(self, request: web.Request, token: str) -> web.StreamResponse:
        if "uploads" in request.query:
            upload = f"upload-{next(self._uploads)}"
            self.parts[upload] = {}
            return _xml(f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>")
        parts = self.parts.pop(request.query["uploadId"])
        data = b"".join(parts[int(number)] for number in _PART.findall(await request.read()))
        self.fake.put(token, *_named(request), data)
        etag = escape(_etag(data))
        answer = _xml(f"<CompleteMultipartUploadResult><ETag>{etag}</ETag></CompleteMultipartUploadResult>")
        answer.headers["x-goog-generation"] = "1"
        return answer

    async def get(self, request: web.Request, token: str) -> web.StreamResponse:
        data, cut = self.fake.read(token, *_named(request))
        wanted = _RANGE.fullmatch(request.headers.get("range", ""))
        headers = {"etag": _etag(data), "last-modified": formatdate(0, usegmt=True)}
        status = 200
        if wanted is not None:
            first, last = int(wanted[1]), min(int(wanted[2] or len(data)), len(data) - 1)
            headers["content-range"] = f"bytes {first}-{last}/{len(data)}"
            status, data = 206, data[first : last + 1]
        if cut:
            return await cut_short(request, data, cleanly=False, status=status, headers=headers)
        return web.Response(status=status, body=data, headers=headers)

    async def head(self, request: web.Request, token: str) -> web.StreamResponse:
        size = self.fake.size(token, *_named(request))
        headers = {"etag": '"0"', "last-modified": formatdate(0, usegmt=True), "content-length": str(size)}
        return web.Response(headers=headers)

    async def list(self, request: web.Request, token: str) -> web.StreamResponse:
        sizes = self.fake.names(token, request.match_info["bucket"], request.query.get("prefix", ""))
        after = request.query.get("continuation-token", "")
        names = [name for name in sizes if name > after]
        page, more = names[:1000], len(names) > 1000
        entries = "".join(
            f"<Contents><Key>{escape(name)}</Key><LastModified>1970-01-01T00:00:00.000Z</LastModified>"
            f"<ETag>&quot;0&quot;</ETag><Size>{sizes[name]}</Size></Contents>"
            for name in page
        )
        token_of_next = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else ""
        return _xml(f"<ListBucketResult>{entries}{token_of_next}</ListBucketResult>")

    async def delete(self, request: web.Request, token: str) -> web.StreamResponse:
        if "uploadId" in request.query:
            self.parts.pop(request.query["uploadId"], None)
        else:
            self.fake.delete(token, *_named(request))
        return web.Response(status=204)


def _named(request: web.Request) -> tuple[str, str]:
    return request.match_info["bucket"], request.match_info["name"]


def _etag(data: bytes) -> str:
    return f'"{hashlib.sha256(data).hexdigest()[:32]}"'


def _xml(text: str) -> web.Response:
    return web.Response(text=f'<?xml version="1.0" encoding="UTF-8"?>{text}', content_type="application/xml")
