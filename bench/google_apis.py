"""Google's two batch services for the bench: the Gemini API with its files, and Vertex AI with objects in a bucket."""

from __future__ import annotations

import re
from itertools import count
from typing import Any

from aiohttp import web

from answers import Output
from batches import Batch, Batches, Ids, sent
from overnight.types import Counts
from overnight.wire import vertex
from overnight.wire.gemini import objects as gemini

_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_PART = re.compile(rb"<PartNumber>(\d+)</PartNumber>")


class Gemini:
    """The state of the Gemini API."""

    def __init__(self) -> None:
        self.batches = Batches("gemini", "bench%024d")
        self.files: dict[str, tuple[int, Ids]] = {}

    def add_to(self, app: web.Application) -> None:
        """Its routes."""
        app.router.add_post("/upload/v1beta/files", self.upload)
        app.router.add_get("/v1beta/files/{id}:download", self.download)
        app.router.add_get("/v1beta/files/{id}", self.file)
        app.router.add_delete("/v1beta/files/{id}", self.delete_file)
        app.router.add_post("/v1beta/models/{model}:batchGenerateContent", self.create)
        app.router.add_get("/v1beta/batches", self.list_batches)
        app.router.add_get("/v1beta/batches/{id}", self.batch)
        app.router.add_delete("/v1beta/batches/{id}", self.delete_batch)

    async def upload(self, request: web.Request) -> web.Response:
        """The start of a file, or its next part."""
        command = request.headers["x-goog-upload-command"]
        if command == "start":
            file = (await request.json())["file"]
            self.files[file["name"]] = (int(file["size_bytes"]), Ids("key"))
            url = f"{request.url.origin()}{request.path}?upload_id={file['name']}"
            return web.Response(headers={"x-goog-upload-url": url, "x-goog-upload-status": "active"})
        ids = self.files[request.query["upload_id"]][1]
        async for piece in request.content.iter_any():
            ids.feed(piece)
        return web.Response(headers={"x-goog-upload-status": "final" if "finalize" in command else "active"})

    async def file(self, request: web.Request) -> web.Response:
        """A file's object."""
        name = f"files/{request.match_info['id']}"
        if name not in self.files:
            return _not_found()
        return web.json_response({"name": name, "sizeBytes": str(self.files[name][0]), "state": "ACTIVE"})

    async def delete_file(self, request: web.Request) -> web.Response:
        """Forget a file."""
        return _gone(self.files.pop(f"files/{request.match_info['id']}", None))

    async def download(self, request: web.Request) -> web.StreamResponse:
        """The answers of a batch; no length is told."""
        found = self.batches.made.get(request.match_info["id"].removeprefix("batch-"))
        return _not_found() if found is None else await sent(request, found.output, size_told=False)

    async def create(self, request: web.Request) -> web.Response:
        """A batch."""
        asked = (await request.json())["batch"]
        batch = self.batches.make(self.files[asked["inputConfig"]["fileName"]][1], asked)
        return web.json_response(self._document(batch))

    async def list_batches(self, request: web.Request) -> web.Response:
        """All of them."""
        return web.json_response({"operations": [self._document(batch) for batch in self.batches.made.values()]})

    async def batch(self, request: web.Request) -> web.Response:
        """A batch's operation."""
        found = self.batches.made.get(request.match_info["id"])
        return _not_found() if found is None else web.json_response(self._document(found))

    async def delete_batch(self, request: web.Request) -> web.Response:
        """Forget a batch."""
        return _gone(self.batches.made.pop(request.match_info["id"], None))

    def _document(self, batch: Batch) -> dict[str, Any]:
        total, succeeded = batch.counts
        return gemini.operation(
            id=batch.id,
            model="gemini-2.5-flash",
            state="SUCCEEDED" if batch.output else "RUNNING",
            created_at=batch.created_at,
            updated_at=batch.ended_at or batch.created_at,
            ended_at=batch.ended_at,
            display_name=batch.asked["displayName"],
            input_file=batch.asked["inputConfig"]["fileName"],
            responses_file=f"files/batch-{batch.id}" if batch.output else None,
            counts=Counts(total, succeeded),
        )


class Vertex:
    """The state of Vertex AI, and of the one bucket. A part of an object may come before those that stand before it, so
    parts are kept until the object is whole."""

    def __init__(self) -> None:
        self.batches = Batches("vertex", "%019d")
        self.inputs: dict[str, tuple[int, Ids]] = {}
        self.parts: dict[str, dict[int, bytes]] = {}
        self.numbers = count(1)

    def add_to(self, app: web.Application) -> None:
        """Its routes."""
        jobs = "/v1/projects/{project}/locations/{location}/batchPredictionJobs"
        app.router.add_post(jobs, self.create)
        app.router.add_get(jobs, self.list_jobs)
        app.router.add_get(jobs + "/{id}", self.job)
        app.router.add_delete(jobs + "/{id}", self.delete_job)
        app.router.add_get("/bucket", self.list_objects)
        app.router.add_put("/bucket/{name:.+}", self.put)
        app.router.add_post("/bucket/{name:.+}", self.put_in_parts)
        app.router.add_get("/bucket/{name:.+}", self.read)  # and HEAD
        app.router.add_delete("/bucket/{name:.+}", self.delete)

    async def create(self, request: web.Request) -> web.Response:
        """A job."""
        asked = await request.json()
        (uri,) = asked["inputConfig"]["gcsSource"]["uris"]
        batch = self.batches.make(self.inputs[uri.removeprefix("gs://bucket/")][1], asked)
        return web.json_response(self._document(batch))

    async def list_jobs(self, request: web.Request) -> web.Response:
        """All of them: nobody asks for one of these."""
        return web.json_response(
            vertex.list_object([self._document(each) for each in self.batches.made.values()], None)
        )

    async def job(self, request: web.Request) -> web.Response:
        """A job."""
        found = self.batches.made.get(request.match_info["id"])
        return _not_found() if found is None else web.json_response(self._document(found))

    async def delete_job(self, request: web.Request) -> web.Response:
        """Forget a job."""
        return _gone(self.batches.made.pop(request.match_info["id"], None))

    async def put(self, request: web.Request) -> web.Response:
        """An object, or a part of one."""
        data, query = await request.read(), request.query
        if "uploadId" in query:
            self.parts[query["uploadId"]][int(query["partNumber"])] = data
        else:
            self._keep(request.match_info["name"], [data])
        return web.Response(headers={"etag": '"0"', "x-goog-generation": "1"})

    async def put_in_parts(self, request: web.Request) -> web.Response:
        """The beginning of an object in parts, and its end."""
        if "uploads" in request.query:
            id = str(next(self.numbers))
            self.parts[id] = {}
            return _xml(f"<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>")
        parts = self.parts.pop(request.query["uploadId"])
        self._keep(request.match_info["name"], [parts[int(each)] for each in _PART.findall(await request.read())])
        answer = _xml("<CompleteMultipartUploadResult><ETag>0</ETag></CompleteMultipartUploadResult>")
        answer.headers["x-goog-generation"] = "1"
        return answer

    def _keep(self, name: str, parts: list[bytes]) -> None:
        ids = Ids("key")
        for part in parts:
            ids.feed(part)
        self.inputs[name] = (sum(map(len, parts)), ids)

    async def read(self, request: web.Request) -> web.Response:
        """An object's answers, or the part that is asked for; of an input the size only."""
        name = request.match_info["name"]
        output = self._outputs().get(name)
        headers = {"etag": '"0"', "last-modified": "Thu, 01 Jan 1970 00:00:00 GMT"}
        if request.method == "HEAD" and (output is not None or name in self.inputs):
            size = self.inputs[name][0] if output is None else output.size
            return web.Response(headers={**headers, "content-length": str(size)})
        if output is None:
            return web.Response(status=404)
        wanted = _RANGE.fullmatch(request.headers["range"])
        assert wanted is not None
        data = output.read(int(wanted[1]), int(wanted[2]) + 1 - int(wanted[1]))
        headers["content-range"] = f"bytes {wanted[1]}-{int(wanted[1]) + len(data) - 1}/{output.size}"
        return web.Response(status=206, body=data, headers=headers)

    async def list_objects(self, request: web.Request) -> web.Response:
        """Answers under a prefix."""
        prefix = request.query.get("prefix", "")
        entries = "".join(
            f"<Contents><Key>{name}</Key><LastModified>1970-01-01T00:00:00.000Z</LastModified>"
            f"<ETag>&quot;0&quot;</ETag><Size>{output.size}</Size></Contents>"
            for name, output in self._outputs().items()
            if name.startswith(prefix)
        )
        return _xml(f"<ListBucketResult>{entries}</ListBucketResult>")

    async def delete(self, request: web.Request) -> web.Response:
        """Forget an object; that of answers stays."""
        self.inputs.pop(request.match_info["name"], None)
        return web.Response(status=204)

    def _outputs(self) -> dict[str, Output]:
        return {
            f"{_folder(batch).removeprefix('gs://bucket/')}/predictions.jsonl": batch.output
            for batch in self.batches.made.values()
            if batch.output is not None
        }

    def _document(self, batch: Batch) -> dict[str, Any]:
        total, succeeded = batch.counts
        return vertex.job_object(
            name=f"projects/1/locations/global/batchPredictionJobs/{batch.id}",
            asked=batch.asked,
            state="JOB_STATE_SUCCEEDED" if batch.output else "JOB_STATE_RUNNING",
            created_at=batch.created_at,
            updated_at=batch.ended_at or batch.created_at,
            ended_at=batch.ended_at,
            output_directory=_folder(batch) if batch.output else None,
            succeeded=succeeded if batch.output else None,
            incomplete=total - succeeded,
        )


def _folder(batch: Batch) -> str:
    prefix = batch.asked["outputConfig"]["gcsDestination"]["outputUriPrefix"]
    return f"{prefix}/prediction-model-2026-11-20T18:13:16.826Z"


def _gone(found: object) -> web.Response:
    return _not_found() if found is None else web.json_response({})


def _not_found() -> web.Response:
    return web.json_response(gemini.error_envelope(404, "no such object"), status=404)


def _xml(text: str) -> web.Response:
    return web.Response(text=f'<?xml version="1.0" encoding="UTF-8"?>{text}', content_type="application/xml")
