"""OpenAI's Batch API, and every API that speaks like it (our own server does)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import orjson

from overnight.core.catalog import PROVIDERS
from overnight.errors import ProviderError
from overnight.http import Http
from overnight.ports import BlobWriter, Search, Submission
from overnight.providers.accounts import account_of, own_server, stranger
from overnight.providers.calls import Calls, Spoken, quoted
from overnight.providers.downloads import Sink, fetch
from overnight.providers.lines import Line, in_other_lines
from overnight.types import Account, Failure, FailureKind, FileId, Limits, Proof, RemoteBatch, RemoteId
from overnight.wire import openai as wire

BASE_URL = "https://api.openai.com/v1"
LIMITS = PROVIDERS["openai"].limits

SKEW = 300.0  # seconds that the provider's `created_at` may differ from what the caller knows
LOOKS = 6  # for a fresh file to be seen, over about half a minute


class OpenAIProvider:
    """`ports.Provider` over HTTP. `create_timeout`: seconds after which no byte of a create leaves any more. What an
    API made after this one does otherwise, its class says (`azure`, `mistral`, `groq`, `together`)."""

    dialect = "openai"
    proof: Proof = "tag"
    spoken: Spoken = wire
    root = ""
    """Appended to a base URL that is nothing but a host."""
    batches = "/batches"
    uploads = "/files"
    cursor = "after"
    limited_by: str | None = "limit"
    """How its lists are read (`calls.Calls`)."""
    most_files = 1_000
    """In a page of a list."""
    looks = LOOKS
    line: Line | None = None
    """What becomes of a shard's lines on their way."""

    def __init__(
        self,
        api_key: str,
        base_url: str = BASE_URL,
        *,
        name: str = "openai",
        organization: str | None = None,
        project: str | None = None,
        version: str | None = None,
        proxy: str | None = None,
        create_timeout: float = 120.0,
        limits: Limits = LIMITS,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
        transport: Callable[..., Http] = Http,
    ) -> None:
        self.name = name
        self.limits = limits
        self.short_polling = False
        self._http = transport(
            self.address(base_url, version),
            self.headers(api_key, organization, project),
            query=self.query(version),
            proxy=proxy,
            sleep=sleep,
            jitter=jitter,
        )
        self._calls = Calls(self._http, self.spoken, api_key, self.batches, self.cursor, 100, self.limited_by)
        self._create_timeout = create_timeout
        self._sleep = sleep

    # -------------------------------------------------------------------------------- what others do otherwise

    def address(self, base_url: str, version: str | None) -> str:
        """Where the API is."""
        return base_url if urlsplit(base_url).path.strip("/") else base_url.rstrip("/") + self.root

    def headers(self, api_key: str, organization: str | None, project: str | None) -> dict[str, str]:
        """What every request carries."""
        named = {"openai-organization": organization, "openai-project": project}
        return {"authorization": f"Bearer {api_key}", **{name: value for name, value in named.items() if value}}

    def query(self, version: str | None) -> dict[str, str]:
        """What the address of every request carries."""
        return {}

    def form(self, filename: str) -> list[tuple[str, str]]:
        """Fields of an upload, before the file."""
        return [("purpose", "batch")]

    def is_ready(self, file: Mapping[str, Any]) -> bool:
        """Whether a batch can be made of an uploaded file that is seen so."""
        return True

    def asked(self, submission: Submission) -> dict[str, Any]:
        """The body of a create."""
        return {
            "input_file_id": submission.file_id,
            "endpoint": submission.endpoint,
            "completion_window": "24h",
            "metadata": {**submission.metadata, wire.TAG_KEY: submission.tag},
        }

    # ----------------------------------------------------------------------------------------- account

    async def identify(self, known_batch: RemoteId | None, known_file: FileId | None, known: Account | None) -> Account:
        """See `ports.Provider`."""
        limit = {} if self.limited_by is None else {"purpose": "batch", self.limited_by: "1"}
        answer = await self._http.get("/files", limit)
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
        """Store a batch input file, and wait until it is seen and ready: a batch made too early fails."""
        doing = "upload the batch file"
        if self.line is not None:
            content, size = await asyncio.to_thread(in_other_lines, content, self.line)
        answer = await self._http.upload(self.uploads, self.form(filename), content, size, filename)
        document = self._calls.document(answer, doing)
        file_id = document.get("id")
        if not isinstance(file_id, str) or not file_id:
            raise self._calls.error(Failure(FailureKind.PERMANENT, "the answer is no file object"), doing)
        stored = document.get("bytes")
        if isinstance(stored, int) and stored != size:
            await self.delete_file(FileId(file_id))
            failure = Failure(FailureKind.TRANSIENT, f"{stored:,} of {size:,} bytes arrived", code="upload_cut")
            raise self._calls.error(failure, doing)
        await self._until_ready(FileId(file_id), doing)
        return FileId(file_id)

    async def _until_ready(self, file_id: FileId, doing: str) -> None:
        pending = False
        for look in range(self.looks):
            seen = await self._http.get(f"/files/{quoted(file_id)}")
            pending = seen.status != 404
            if pending and self.is_ready(self._calls.document(seen, doing)):
                return
            await self._sleep(0.5 * 2**look)
        if pending:
            failure = Failure(FailureKind.TRANSIENT, "the file is not processed yet", code="file_pending")
            raise self._calls.error(failure, doing)

    async def find_files(self, filename: str) -> Sequence[FileId]:
        """Our input files of that name. Complete, or it raises."""
        query, doing = {"purpose": "batch"}, "list the files"
        return [
            FileId(document["id"])
            async for page in self._calls.pages("/files", query, doing, self.most_files)
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
        body = self.asked(submission)
        doing = "create the batch"
        answer = await self._http.post_alone(self.batches, orjson.dumps(body), timeout=self._create_timeout)
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
