"""Google's Gemini API (the Developer API): a file goes up, a batch is made of it under our tag, and its answers come as
a file that the batch names, or stand in the batch itself."""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, BinaryIO, Final

import orjson

from overnight.core.catalog import PROVIDERS
from overnight.errors import ProviderError
from overnight.http import AGAIN, Answer, Http
from overnight.ports import BlobWriter, Search, Submission
from overnight.providers.accounts import account_of, own_server, stranger
from overnight.providers.calls import Calls, quoted
from overnight.providers.downloads import Sink, fetch
from overnight.providers.resumable import DOING, TYPE, Taken, Upload
from overnight.types import (
    Account,
    Endpoint,
    Failure,
    FailureKind,
    FileId,
    Limits,
    Outcome,
    Proof,
    RemoteBatch,
    RemoteId,
    RemoteState,
)
from overnight.wire import gemini as wire

BASE_URL: Final = "https://generativelanguage.googleapis.com"
VERSION: Final = "v1beta"
LIMITS = PROVIDERS["gemini"].limits
LOOKS: Final = 6  # for a fresh file to be seen, over about half a minute
GENERATED: Final = "files/batch-"
"""Begins the id of a file that a batch made: it goes with its batch, and cannot be deleted by itself."""
_VERSION = re.compile(r"/(v\d+(?:alpha|beta)?)/?$")
METHODS: Final = {Endpoint.GENERATE: "batchGenerateContent", Endpoint.EMBED: "asyncBatchEmbedContent"}
_OVER: Final = frozenset({RemoteState.ENDED, RemoteState.FAILED})


def file_id_of(filename: str) -> FileId:
    """The id that we choose for an input file, the same for the same name: 40 characters, as many as there may be."""
    return FileId(f"files/overnight-{hashlib.sha256(filename.encode()).hexdigest()[:30]}")


def create_body(submission: Submission) -> dict[str, Any]:
    """What a create says; the field that names the file is written as the SDK writes it for each method."""
    field = "file_name" if submission.endpoint == Endpoint.EMBED else "fileName"
    return {"batch": {"inputConfig": {field: submission.file_id}, "displayName": submission.tag}}


class GeminiProvider:
    """`ports.Provider` over HTTP. `version` of the API (`v1`, `v1beta`): else the one that the base URL ends with, else
    `VERSION`. `create_timeout`: seconds after which no byte of a create leaves any more."""

    dialect = "gemini"

    def __init__(
        self,
        api_key: str,
        base_url: str = BASE_URL,
        *,
        name: str = "gemini",
        version: str | None = None,
        proxy: str | None = None,
        create_timeout: float = 120.0,
        limits: Limits = LIMITS,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.name = name
        self.limits = limits
        self.proof: Proof = "tag"
        self.short_polling = False
        told = _VERSION.search(base_url)
        root = base_url[: told.start()] if told else base_url
        self._version = version or (told[1] if told else VERSION)
        self._http = Http(root, {"x-goog-api-key": api_key}, proxy=proxy, sleep=sleep, jitter=jitter)
        self._calls = Calls(self._http, wire, api_key, f"/{self._version}/batches", "pageToken", 100)
        self._create_timeout = create_timeout
        self._sleep = sleep

    # ----------------------------------------------------------------------------------------- account

    async def identify(self, known_batch: RemoteId | None, known_file: FileId | None, known: Account | None) -> Account:
        """See `ports.Provider`: the API names no account."""
        doing = "look at the account"
        answer = await self._http.get(f"/{self._version}/batches", {"pageSize": "1"})
        self._calls.document(answer, doing)
        server = own_server(answer.headers)
        self.short_polling = server is not None
        where = server or self._http.base_url
        if server is not None or known is None or (known_batch is None and known_file is None):
            return account_of(self.name, where, None, None)
        paths = [self._path(known_batch)] if known_batch is not None else []
        paths += [self._path(known_file)] if known_file is not None else []
        for path in paths:
            if await self._seen(path, doing) is not None:
                return known
        return stranger(self.name, where)

    # ------------------------------------------------------------------------------------------- files

    async def upload(self, content: Callable[[], BinaryIO], size: int, filename: str) -> FileId:
        """Store a batch input file under an id of our own, in parts. One that an earlier try has stored is taken where
        it is as long."""
        file_id = file_id_of(filename)
        about = {"name": file_id, "display_name": filename, "mime_type": TYPE, "size_bytes": size}
        upload = Upload(self._http, self._calls, f"/upload/{self._version}/files", about, size, self._sleep)
        file = await asyncio.to_thread(content)
        taken = False
        try:
            await upload.send(file)
        except Taken:
            taken = True
        finally:
            file.close()
        stored = await self._stored(file_id)
        if stored is None and not taken:
            return file_id
        if stored != size:
            await self.delete_file(file_id)
            # Under this id nothing can be stored: the shard goes out again under another.
            kind = FailureKind.FILE if taken else FailureKind.TRANSIENT
            told = f"{stored or 0:,} of {size:,} bytes are there"
            raise self._calls.error(Failure(kind, told, code="upload_cut", proves_refusal=True), DOING)
        return file_id

    async def _stored(self, file_id: FileId) -> int | None:
        """Bytes of a file; None where it cannot be seen, after some looks."""
        for look in range(LOOKS):
            document = await self._seen(self._path(file_id), DOING)
            if document is not None:
                return int(document.get("sizeBytes") or document.get("size_bytes") or 0)
            await self._sleep(0.5 * 2**look)
        return None

    async def find_files(self, filename: str) -> Sequence[FileId]:
        """See `ports.Provider`: there is one id that it can have."""
        file_id = file_id_of(filename)
        return [] if await self._seen(self._path(file_id), "look for a file") is None else [file_id]

    async def download(self, file_id: FileId, into: BlobWriter) -> None:
        """The answers of a batch. The file's length is told by nobody: whole means that its last line ended and, where
        the file's name tells the batch and all of that ran, that it has as many lines as requests."""
        doing = "download the answers"
        if file_id.startswith(wire.INLINE):
            await self._copy_inlined(RemoteId(file_id.removeprefix(wire.INLINE)), into, doing)
            return
        rows = None
        if file_id.startswith(GENERATED):
            rows = await self._rows(RemoteId(f"batches/{file_id.removeprefix(GENERATED)}"), doing)
        try:
            await fetch(
                lambda write: self._get(file_id, write), self._calls.refusal, Sink(into, None, rows), self._sleep
            )
        except ProviderError as error:
            raise self._calls.error(error.failure, doing) from None

    async def _rows(self, remote_id: RemoteId, doing: str) -> int | None:
        """How many lines there must be; None where the batch is not the one that the name tells, or did not all run."""
        answer = await self._http.get(self._path(remote_id))
        if 400 <= answer.status < 500 and answer.status not in AGAIN:
            return None
        batch = self._calls.batch(self._calls.document(answer, doing), doing)
        return batch.counts.total or None if batch.end is Outcome.SUCCEEDED else None

    async def _get(self, file_id: FileId, write: Callable[[bytes], object]) -> Answer:
        """By the path of the SDK; by that of the documentation where the first is refused."""
        path = f"{self._path(file_id)}:download?alt=media"
        first = await self._http.download(path, write)
        if first.status < 300 or first.status in AGAIN:
            return first
        second = await self._http.download(f"/download{path}", write)
        return second if second.status < 300 or second.status in AGAIN else first

    async def _copy_inlined(self, remote_id: RemoteId, into: BlobWriter, doing: str) -> None:
        document = self._calls.document(await self._http.get(self._path(remote_id)), doing)
        for line in wire.inlined_lines(document):
            into.write(line)

    async def delete_file(self, file_id: FileId) -> None:
        """Delete an input file; answers go with their batch, and one that is gone counts as deleted."""
        if not file_id.startswith((GENERATED, wire.INLINE)):
            await self._delete(file_id, "delete a file")

    # ----------------------------------------------------------------------------------------- batches

    async def create(self, submission: Submission) -> RemoteBatch:
        """One POST on a connection of its own."""
        doing = "create the batch"
        model, method = quoted(submission.model.removeprefix("models/")), METHODS[Endpoint(submission.endpoint)]
        path, body = f"/{self._version}/models/{model}:{method}", create_body(submission)
        answer = await self._http.post_alone(path, orjson.dumps(body), timeout=self._create_timeout)
        return self._calls.batch(self._calls.document(answer, doing), doing)

    async def find(self, search: Search) -> Sequence[RemoteBatch]:
        """See `ports.Provider`. The list has no filter and no order that is promised: all of it is read."""
        found = [
            batch
            async for batch in self._calls.tokened({}, "operations", "list the batches")
            if batch.tag == search.tag or (search.file_id and batch.input_file == search.file_id)
        ]
        return sorted(found, key=lambda batch: (batch.created_at or 0.0, batch.id))

    async def status(self, ids: Sequence[RemoteId]) -> Mapping[RemoteId, RemoteBatch]:
        """See `ports.Provider`. One by one: an account has a hundred batches at the most that are not over."""
        doing = "look at the batches"
        found = {}
        for remote_id in ids:
            document = await self._seen(self._path(remote_id), doing)
            if document is not None:
                found[remote_id] = self._calls.batch(document, doing)
        return found

    async def cancel(self, remote_id: RemoteId) -> RemoteBatch | None:
        """Ask to cancel; None where the batch is already over. The answer says nothing, so the batch is looked at
        before and after."""
        doing = "cancel the batch"
        path = self._path(remote_id)
        if await self._is_over(path, doing):
            return None
        answer = await self._http.post(f"{path}:cancel", b"{}")
        if answer.status >= 300:
            if await self._is_over(path, doing):
                return None
            raise self._calls.error(self._calls.refusal(answer), doing)
        return self._calls.batch(self._calls.document(await self._http.get(path), doing), doing)

    async def _is_over(self, path: str, doing: str) -> bool:
        return self._calls.batch(self._calls.document(await self._http.get(path), doing), doing).state in _OVER

    async def first_id(self, remote: RemoteBatch) -> str | None:
        """See `ports.Provider`: the tag has proved it."""
        return None

    async def delete_batch(self, remote_id: RemoteId) -> None:
        """Delete the record of an ended batch, and the file of its answers; one that is gone counts as deleted."""
        await self._delete(remote_id, "delete the batch")

    async def close(self) -> None:
        """Close connections."""
        await self._http.close()

    # ------------------------------------------------------------------------------------------- calls

    def _path(self, name: str) -> str:
        """Where a batch (`batches/..`) or a file (`files/..`) is; another name is that of a batch nobody knows."""
        kind, _, id = name.rpartition("/")
        return f"/{self._version}/{kind if kind == 'files' else 'batches'}/{quoted(id)}"

    async def _seen(self, path: str, doing: str) -> dict[str, Any] | None:
        """The object there; None where there is none, or none for us."""
        answer = await self._http.get(path)
        if answer.status >= 300 and self._calls.refusal(answer).status == 404:
            return None
        return self._calls.document(answer, doing)

    async def _delete(self, name: str, doing: str) -> None:
        answer = await self._http.delete(self._path(name))
        if answer.status >= 300 and self._calls.refusal(answer).status != 404:
            raise self._calls.error(self._calls.refusal(answer), doing)
