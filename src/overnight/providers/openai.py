"""OpenAI's Batch API, and every API that speaks like it (our own server does)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import BinaryIO

import orjson

from overnight.core.catalog import PROVIDERS
from overnight.errors import ProviderError
from overnight.http import Http
from overnight.ports import BlobWriter, Search, Submission
from overnight.providers.accounts import account_of, own_server, stranger
from overnight.providers.calls import Calls, quoted
from overnight.providers.downloads import Sink, fetch
from overnight.types import Account, Failure, FailureKind, FileId, Limits, Proof, RemoteBatch, RemoteId
from overnight.wire import openai as wire

BASE_URL = "https://api.openai.com/v1"
LIMITS = PROVIDERS["openai"].limits

SKEW = 300.0  # seconds that the provider's `created_at` may differ from what the caller knows
LOOKS = 6  # for a fresh file to be seen, over about half a minute


class OpenAIProvider:
    """`ports.Provider` over HTTP. `create_timeout`: seconds after which no byte of a create leaves any more."""

    dialect = "openai"

    def __init__(
        self,
        api_key: str,
        base_url: str = BASE_URL,
        *,
        name: str = "openai",
        organization: str | None = None,
        project: str | None = None,
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
        headers = {"authorization": f"Bearer {api_key}"}
        if organization:
            headers["openai-organization"] = organization
        if project:
            headers["openai-project"] = project
        self._http = Http(base_url, headers, proxy=proxy, sleep=sleep, jitter=jitter)
        self._calls = Calls(self._http, wire, api_key, "/batches", "after", 100)
        self._create_timeout = create_timeout
        self._sleep = sleep

    # ----------------------------------------------------------------------------------------- account

    async def identify(self, known_batch: RemoteId | None, known_file: FileId | None, known: Account | None) -> Account:
        """See `ports.Provider`."""
        answer = await self._http.get("/files", {"purpose": "batch", "limit": "1"})
        self._calls.document(answer, "look at the account")
        server = own_server(answer.headers)
        self.short_polling = server is not None
        where = server or self._http.base_url
        organization = answer.headers.get("openai-organization") or None
        project = answer.headers.get("openai-project") or None
        if organization or server is not None or known is None or (known_batch is None and known_file is None):
            return account_of(self.name, where, organization, project)
        return known if await self._sees(known_batch, known_file) else stranger(self.name, where)

    async def _sees(self, batch: RemoteId | None, file: FileId | None) -> bool:
        paths = [f"/batches/{quoted(batch)}"] if batch is not None else []
        paths += [f"/files/{quoted(file)}"] if file is not None else []
        for path in paths:
            answer = await self._http.get(path)
            if answer.status != 404:
                self._calls.document(answer, "look at the account")
                return True
        return False

    # ------------------------------------------------------------------------------------------- files

    async def upload(self, content: Callable[[], BinaryIO], size: int, filename: str) -> FileId:
        """Store a batch input file, and wait until it is seen: a batch made too early fails."""
        answer = await self._http.upload("/files", [("purpose", "batch")], content, size, filename)
        document = self._calls.document(answer, "upload the batch file")
        file_id = document.get("id")
        if not isinstance(file_id, str) or not file_id:
            raise self._calls.error(
                Failure(FailureKind.PERMANENT, "the answer is no file object"), "upload the batch file"
            )
        stored = document.get("bytes")
        if isinstance(stored, int) and stored != size:
            await self.delete_file(FileId(file_id))
            failure = Failure(FailureKind.TRANSIENT, f"{stored:,} of {size:,} bytes arrived", code="upload_cut")
            raise self._calls.error(failure, "upload the batch file")
        for look in range(LOOKS):
            if (await self._http.get(f"/files/{quoted(file_id)}")).status != 404:
                break
            await self._sleep(0.5 * 2**look)
        return FileId(file_id)

    async def find_files(self, filename: str) -> Sequence[FileId]:
        """Our input files of that name. Complete, or it raises."""
        query = {"purpose": "batch", "limit": "1000"}
        return [
            FileId(document["id"])
            async for page in self._calls.pages("/files", query, "list the files")
            for document in page
            if document.get("filename") == filename
        ]

    async def download(self, file_id: FileId, into: BlobWriter) -> None:
        """Write the file's bytes. Whole means as long as the file object says, and its last line ended. A further try
        compares by checksum what is written already, and goes on behind it. After three tries it raises, with code
        `download_short` where the last two brought the same whole answer, else `download_cut` where something came;
        `into` then holds that beginning."""
        doing = "download the answers"
        path = f"/files/{quoted(file_id)}"
        seen = await self._http.get(path)
        stored = None if seen.status == 404 else self._calls.document(seen, doing).get("bytes")
        sink = Sink(into, stored if isinstance(stored, int) else None)
        try:
            await fetch(
                lambda write: self._http.download(f"{path}/content", write), self._calls.refusal, sink, self._sleep
            )
        except ProviderError as error:
            raise self._calls.error(error.failure, doing) from None

    async def delete_file(self, file_id: FileId) -> None:
        """Delete; a file that is gone counts as deleted."""
        answer = await self._http.delete(f"/files/{quoted(file_id)}")
        if answer.status != 404:
            self._calls.document(answer, "delete a file")

    # ----------------------------------------------------------------------------------------- batches

    async def create(self, submission: Submission) -> RemoteBatch:
        """One POST on a connection of its own."""
        body = {
            "input_file_id": submission.file_id,
            "endpoint": submission.endpoint,
            "completion_window": "24h",
            "metadata": {**submission.metadata, wire.TAG_KEY: submission.tag},
        }
        doing = "create the batch"
        answer = await self._http.post_alone("/batches", orjson.dumps(body), timeout=self._create_timeout)
        return self._calls.batch(self._calls.document(answer, doing), doing)

    async def find(self, search: Search) -> Sequence[RemoteBatch]:
        """See `ports.Provider`."""
        async with aclosing(self._calls.newest(search.since - SKEW, "list the batches")) as batches:
            found = [
                batch
                async for batch in batches
                if batch.tag == search.tag or (search.file_id and batch.input_file == search.file_id)
            ]
        return sorted(found, key=lambda batch: (batch.created_at or 0.0, batch.id))

    async def status(self, ids: Sequence[RemoteId]) -> Mapping[RemoteId, RemoteBatch]:
        """See `ports.Provider`."""
        return await self._calls.status(ids)

    async def cancel(self, remote_id: RemoteId) -> RemoteBatch | None:
        """Ask to cancel; None where the batch is already over."""
        doing = "cancel the batch"
        answer = await self._http.post(f"{self._calls.path_of(remote_id)}/cancel", b"")
        return None if answer.status == 409 else self._calls.batch(self._calls.document(answer, doing), doing)

    async def first_id(self, remote: RemoteBatch) -> str | None:
        """See `ports.Provider`: the tag has proved it."""
        return None

    async def delete_batch(self, remote_id: RemoteId) -> None:
        """See `ports.Provider`: there is no such call, the record stays."""

    async def close(self) -> None:
        """Close connections."""
        await self._http.close()
