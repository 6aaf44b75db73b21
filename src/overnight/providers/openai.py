"""OpenAI's Batch API, and every API that speaks like it (our own server does)."""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, BinaryIO
from urllib.parse import quote
from zlib import crc32

import orjson

from overnight.core.catalog import PROVIDERS
from overnight.errors import ProviderError
from overnight.http import Answer, Http
from overnight.ports import DOWNLOAD_SHORT, BlobWriter, Search, Submission
from overnight.types import Account, Failure, FailureKind, FileId, Limits, Proof, RemoteBatch, RemoteId
from overnight.wire import openai as wire

BASE_URL = "https://api.openai.com/v1"
LIMITS = PROVIDERS["openai"].limits

SKEW = 300.0  # seconds that the provider's `created_at` may differ from what the caller knows
DOWNLOADS = 3  # tries of one file
LOOKS = 6  # for a fresh file to be seen, over about half a minute
CUT = Failure(FailureKind.TRANSIENT, "the file came cut short", code="download_cut")
SHORT = Failure(FailureKind.TRANSIENT, "the file is not whole, each time in the same way", code=DOWNLOAD_SHORT)
_SERVER = re.compile(r"[^;]+;\s*home=([A-Za-z0-9_.-]+)")


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
        self._key = api_key
        self._create_timeout = create_timeout
        self._sleep = sleep

    # ----------------------------------------------------------------------------------------- account

    async def identify(self, known_batch: RemoteId | None, known_file: FileId | None, known: Account | None) -> Account:
        """See `ports.Provider`. Our own server names its home by header; it stands in place of the base URL, so that
        the account of a home stays the same on another port."""
        answer = await self._http.get("/files", {"purpose": "batch", "limit": "1"})
        self._document(answer, "look at the account")
        where = self._http.base_url
        server = _SERVER.fullmatch(answer.headers.get("overnight-server", ""))
        self.short_polling = server is not None
        if server is not None:
            where = f"overnight:{server[1]}"
        organization = answer.headers.get("openai-organization") or None
        project = answer.headers.get("openai-project") or None
        if organization or server is not None or known is None or (known_batch is None and known_file is None):
            return account_of(self.name, where, organization, project)
        if await self._sees(known_batch, known_file):
            return known
        stranger = account_of(self.name, where, None, None)
        return replace(stranger, fingerprint=_fingerprint(stranger.fingerprint, "another account"))

    async def _sees(self, batch: RemoteId | None, file: FileId | None) -> bool:
        paths = [f"/batches/{_quoted(batch)}"] if batch is not None else []
        paths += [f"/files/{_quoted(file)}"] if file is not None else []
        for path in paths:
            answer = await self._http.get(path)
            if answer.status != 404:
                self._document(answer, "look at the account")
                return True
        return False

    # ------------------------------------------------------------------------------------------- files

    async def upload(self, content: Callable[[], BinaryIO], size: int, filename: str) -> FileId:
        """Store a batch input file, and wait until it is seen: a batch made too early fails."""
        answer = await self._http.upload("/files", [("purpose", "batch")], content, size, filename)
        document = self._document(answer, "upload the batch file")
        file_id = document.get("id")
        if not isinstance(file_id, str) or not file_id:
            raise self._error(Failure(FailureKind.PERMANENT, "the answer is no file object"), "upload the batch file")
        stored = document.get("bytes")
        if isinstance(stored, int) and stored != size:
            await self.delete_file(FileId(file_id))
            failure = Failure(FailureKind.TRANSIENT, f"{stored:,} of {size:,} bytes arrived", code="upload_cut")
            raise self._error(failure, "upload the batch file")
        for look in range(LOOKS):
            if (await self._http.get(f"/files/{_quoted(file_id)}")).status != 404:
                break
            await self._sleep(0.5 * 2**look)
        return FileId(file_id)

    async def find_files(self, filename: str) -> Sequence[FileId]:
        """Our input files of that name. Complete, or it raises."""
        query = {"purpose": "batch", "limit": "1000"}
        return [
            FileId(document["id"])
            async for page in self._pages("/files", query, "list the files")
            for document in page
            if document.get("filename") == filename
        ]

    async def download(self, file_id: FileId, into: BlobWriter) -> None:
        """Write the file's bytes. Whole means as long as the file object says, and its last line ended. A further try
        compares by checksum what is written already, and goes on behind it. After three tries it raises, with code
        `download_short` where the last two brought the same whole answer, else `download_cut` where something came;
        `into` then holds that beginning."""
        doing = "download the answers"
        seen = await self._http.get(f"/files/{_quoted(file_id)}")
        stored = None if seen.status == 404 else self._document(seen, doing).get("bytes")
        sink = _Sink(into, stored if isinstance(stored, int) else None)
        raised = self._error(CUT, doing)
        for number in range(DOWNLOADS):
            if number:
                await self._sleep(2.0**number)
            sink.restart()
            try:
                answer = await self._http.download(f"/files/{_quoted(file_id)}/content", sink.write)
            except ProviderError as error:
                raised = ProviderError(replace(error.failure, code=CUT.code))
                continue
            if answer.status >= 300:
                raised = self._error(wire.error_failure(answer.status, answer.body, answer.retry_after), doing)
                if raised.failure.kind is not FailureKind.TRANSIENT:
                    break
            elif sink.whole():
                return
            else:
                raised = self._error(SHORT if sink.came_again() else CUT, doing)
        raise raised

    async def delete_file(self, file_id: FileId) -> None:
        """Delete; a file that is gone counts as deleted."""
        answer = await self._http.delete(f"/files/{_quoted(file_id)}")
        if answer.status != 404:
            self._document(answer, "delete a file")

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
        return self._batch(self._document(answer, doing), doing)

    async def find(self, search: Search) -> Sequence[RemoteBatch]:
        """See `ports.Provider`. The list has no filter; it is read newest first until it is older than the window, and
        to its end where it turns out not to be sorted so."""
        doing = "list the batches"
        found: list[RemoteBatch] = []
        newest_first, last = True, float("inf")
        async with aclosing(self._pages("/batches", {"limit": "100"}, doing)) as pages:
            async for page in pages:
                for batch in (self._batch(document, doing) for document in page):
                    if batch.tag == search.tag or (search.file_id and batch.input_file == search.file_id):
                        found.append(batch)
                    newest_first = newest_first and batch.created_at is not None and batch.created_at <= last
                    last = batch.created_at if batch.created_at is not None else last
                if newest_first and last < search.since - SKEW:
                    break
        return sorted(found, key=lambda batch: (batch.created_at or 0.0, batch.id))

    async def status(self, ids: Sequence[RemoteId]) -> Mapping[RemoteId, RemoteBatch]:
        """The batches as they are now: pages of the list as long as a page brings more than one of them, then one by
        one what is left."""
        doing = "look at the batches"
        wanted, found = set(ids), dict[RemoteId, RemoteBatch]()
        if len(wanted) > 1:
            async with aclosing(self._pages("/batches", {"limit": "100"}, doing)) as pages:
                async for page in pages:
                    batches = [self._batch(document, doing) for document in page]
                    new = {batch.id: batch for batch in batches if batch.id in wanted}
                    found |= new
                    wanted -= new.keys()
                    if len(new) < 2 or len(wanted) < 2:
                        break
        for remote_id in sorted(wanted):
            answer = await self._http.get(f"/batches/{_quoted(remote_id)}")
            if answer.status != 404:
                found[remote_id] = self._batch(self._document(answer, doing), doing)
        return found

    async def cancel(self, remote_id: RemoteId) -> RemoteBatch | None:
        """Ask to cancel; None where the batch is already over."""
        doing = "cancel the batch"
        answer = await self._http.post(f"/batches/{_quoted(remote_id)}/cancel", b"")
        return None if answer.status == 409 else self._batch(self._document(answer, doing), doing)

    async def first_id(self, remote: RemoteBatch) -> str | None:
        """See `ports.Provider`: the tag has proved it."""
        return None

    async def delete_batch(self, remote_id: RemoteId) -> None:
        """See `ports.Provider`: there is no such call, the record stays."""

    async def close(self) -> None:
        """Close connections."""
        await self._http.close()

    # ----------------------------------------------------------------------------------------- answers

    async def _pages(
        self, path: str, query: Mapping[str, str], doing: str
    ) -> AsyncGenerator[list[dict[str, Any]], None]:
        """Every page of a list. Raises where a page is no list or brings again what came before: then what was read is
        no complete listing."""
        seen: set[str] = set()
        cursor: dict[str, str] = {}
        while True:
            document = self._document(await self._http.get(path, {**query, **cursor}), doing)
            page = document.get("data")
            if not isinstance(page, list) or not all(isinstance(each, dict) and each.get("id") for each in page):
                raise self._error(Failure(FailureKind.PERMANENT, "the answer is no list object"), doing)
            more = document.get("has_more")
            fresh = [each for each in page if each["id"] not in seen]
            if more and not fresh:
                raise self._error(Failure(FailureKind.PERMANENT, "the list does not go on"), doing)
            seen.update(str(each["id"]) for each in fresh)
            if fresh:
                yield fresh
            if not fresh or more is False:
                return
            cursor = {"after": str(page[-1]["id"])}

    def _batch(self, document: object, doing: str) -> RemoteBatch:
        try:
            return wire.batch_from(document)
        except ValueError as error:
            raise self._error(Failure(FailureKind.PERMANENT, f"the answer is {error}"), doing) from None

    def _document(self, answer: Answer, doing: str) -> dict[str, Any]:
        """The JSON object of a 2xx answer. Raises `ProviderError` for everything else."""
        if not 200 <= answer.status < 300:
            raise self._error(wire.error_failure(answer.status, answer.body, answer.retry_after), doing)
        try:
            document = orjson.loads(answer.body)
        except orjson.JSONDecodeError:
            document = None
        if not isinstance(document, dict):
            raise self._error(wire.not_json_failure(answer.status, answer.body), doing)
        return document

    def _error(self, failure: Failure, doing: str) -> ProviderError:
        told = failure.message.replace(self._key, "***") if self._key else failure.message
        return ProviderError(replace(failure, message=f"cannot {doing} ({self._http.host}): {told}"))


class _Sink:
    """Bytes of a download on their way into a writer that cannot go back: a new try starts over, and as many bytes as
    are written already are only compared. `size`: the file's bytes by its object; None or 0: not told."""

    def __init__(self, into: BlobWriter, size: int | None) -> None:
        self._into = into
        self._size = size
        self._written = 0  # crc32
        self._length = 0
        self._first = b""
        self._tail = bytearray()  # of the last line, as long as it has no end
        self.restart()

    def restart(self) -> None:
        """The next byte written is the file's first."""
        self._again = 0
        self._to_skip = self._known = self._length
        self._same = True

    def write(self, chunk: bytes) -> None:
        """Take the next bytes of this try."""
        old, new = chunk[: self._to_skip], chunk[self._to_skip :]
        if old:
            self._again = crc32(old, self._again)
            self._to_skip -= len(old)
            if not self._to_skip:
                self._same = self._again == self._written
        if new and self._same:
            self._into.write(new)
            self._written = crc32(new, self._written)
            self._length += len(new)
            self._first = self._first or new.lstrip()[:1]
            end = new.rfind(b"\n")
            if end >= 0:
                self._tail.clear()
            self._tail += new[end + 1 :]

    def whole(self) -> bool:
        """Whether this try brought all of the file, the same as earlier tries, and JSON to its last line."""
        if not self._length:
            return self._size == 0
        as_told = not self._size or self._size == self._length
        return as_told and not self._to_skip and self._same and self._first == b"{" and self._ends_whole()

    def came_again(self) -> bool:
        """Whether this try brought what was known before, no less and no more, and it looks like answers."""
        return self._length == self._known and not self._to_skip and self._same and self._first == b"{"

    def _ends_whole(self) -> bool:
        try:
            return not self._tail or isinstance(orjson.loads(self._tail), dict)
        except orjson.JSONDecodeError:
            return False


def account_of(provider: str, base_url: str, organization: str | None, project: str | None) -> Account:
    """The account with its fingerprint, 16 hex digits."""
    fingerprint = _fingerprint(provider, base_url, organization or "", project or "")
    return Account(provider, base_url, organization, project, fingerprint)


def _fingerprint(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _quoted(id: str) -> str:
    return quote(id, safe="")
