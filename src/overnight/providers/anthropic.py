"""Anthropic's Message Batches: requests go with the create, answers come as one stream, and nothing tells whose a batch
is but its number of requests and, once it has ended, the ids of its answers."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import BinaryIO, Final

from overnight.core.catalog import PROVIDERS
from overnight.core.deadline import create_seconds
from overnight.errors import ProviderError
from overnight.http import CHUNK, Answer, Http
from overnight.ports import BlobWriter, Search, Submission
from overnight.providers.accounts import account_of, own_server, stranger
from overnight.providers.calls import Calls
from overnight.providers.downloads import Sink, fetch
from overnight.types import (
    Account,
    Endpoint,
    Failure,
    FailureKind,
    FileId,
    Limits,
    Proof,
    RemoteBatch,
    RemoteId,
    RemoteState,
)
from overnight.wire import anthropic as wire

BASE_URL: Final = "https://api.anthropic.com"
LIMITS = PROVIDERS["anthropic"].limits
VERSION: Final = "2023-06-01"
"""Of the API: the newer 2026-10-21 refuses fields (temperature) that this one takes."""
SKEW: Final = 120.0
"""Seconds that a batch's `created_at` may differ from what the provider's `Date` made us expect."""
_BATCHES: Final = "/v1/messages/batches"
_OPEN, _CLOSE = b'{"requests":[', b"]}"


class AnthropicProvider:
    """`ports.Provider` over HTTP. `bearer`: the key is a token of the other kind of authorization; `betas`: features to
    be asked for (`output-300k-2026-03-24`); `create_timeout`: seconds after which no byte of a create leaves any
    more, with the time that its size takes (`core.deadline`)."""

    dialect = "anthropic"

    def __init__(
        self,
        api_key: str,
        base_url: str = BASE_URL,
        *,
        name: str = "anthropic",
        bearer: bool = False,
        version: str = VERSION,
        betas: Sequence[str] = (),
        proxy: str | None = None,
        create_timeout: float = 120.0,
        limits: Limits = LIMITS,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self.limits = limits
        self.proof: Proof = "count"
        self.short_polling = False
        headers = {"authorization": f"Bearer {api_key}"} if bearer else {"x-api-key": api_key}
        headers["anthropic-version"] = version
        if betas:
            headers["anthropic-beta"] = ",".join(betas)
        # Base URLs of other APIs end in the version, this one's SDKs add it themselves: both are understood.
        root = base_url.rstrip("/").removesuffix("/v1")
        self._http = Http(root, headers, proxy=proxy, sleep=sleep, jitter=jitter)
        self._calls = Calls(self._http, wire, api_key, _BATCHES, "after_id", 1_000)
        self._create_timeout = create_timeout
        self._sleep = sleep
        self._now = now

    # ----------------------------------------------------------------------------------------- account

    async def identify(self, known_batch: RemoteId | None, known_file: FileId | None, known: Account | None) -> Account:
        """See `ports.Provider`."""
        doing = "look at the account"
        answer = await self._http.get(_BATCHES, {"limit": "1"})
        self._calls.document(answer, doing)
        server = own_server(answer.headers)
        self.short_polling = server is not None
        where = server or self._http.base_url
        organization = answer.headers.get("anthropic-organization-id") or None
        workspace = answer.headers.get("anthropic-workspace-id") or None
        if organization or server is not None or known is None or known_batch is None:
            return account_of(self.name, where, organization, workspace)
        seen = await self._http.get(self._calls.path_of(known_batch))
        if seen.status == 404:
            return stranger(self.name, where)
        self._calls.document(seen, doing)
        return known

    # ------------------------------------------------------------------------------------------- files

    async def upload(self, content: Callable[[], BinaryIO], size: int, filename: str) -> None:
        """See `ports.Provider`: there are no input files."""

    async def find_files(self, filename: str) -> Sequence[FileId]:
        """See `ports.Provider`: there are no input files."""
        return ()

    async def delete_file(self, file_id: FileId) -> None:
        """See `ports.Provider`: results go with their batch."""

    async def download(self, file_id: FileId, into: BlobWriter) -> None:
        """The results of a batch, from our own base URL: where `results_url` points is the server's affair. No length
        is told; whole means the last line ended, and as many lines as the batch has requests. Results that are not
        found, of a batch that is there and not archived, were only not found now."""
        doing = "download the answers"
        remote_id = RemoteId(file_id.removeprefix(wire.RESULTS))
        path = self._calls.path_of(remote_id)
        document = self._calls.document(await self._http.get(path), doing)
        sink = Sink(into, None, self._calls.batch(document, doing).counts.total)

        def get(write: Callable[[bytes], object]) -> Awaitable[Answer]:
            return self._http.download(f"{path}/results", write)

        try:
            await fetch(get, lambda answer: self._refusal(answer, document), sink, self._sleep)
        except ProviderError as error:
            raise self._calls.error(error.failure, doing) from None

    async def first_id(self, remote: RemoteBatch) -> str | None:
        """See `ports.Provider`: the first result line that is one is read, the rest is left unread."""
        first = _FirstId()
        doing = "read the first answer"
        try:
            answer = await self._http.download(f"{self._calls.path_of(remote.id)}/results", first.write)
        except _Enough:
            pass
        else:
            if answer.status >= 300:
                batch = await self._http.get(self._calls.path_of(remote.id)) if answer.status == 404 else answer
                document = self._calls.document(batch, doing)
                raise self._calls.error(self._refusal(answer, document), doing)
        return first.told

    # ----------------------------------------------------------------------------------------- batches

    async def create(self, submission: Submission) -> RemoteBatch:
        """One POST on a connection of its own: the shard's lines as one JSON array, read while they leave."""
        doing = "create the batch"
        file = await asyncio.to_thread(submission.content)
        try:
            answer = await self._http.post_alone(
                _BATCHES,
                _array(file, submission.size),
                size=len(_OPEN) + submission.size - 1 + len(_CLOSE),
                timeout=create_seconds(self._create_timeout, submission.size, None),
            )
        finally:
            file.close()
        return self._calls.batch(self._calls.document(answer, doing), doing)

    async def find(self, search: Search) -> Sequence[RemoteBatch]:
        """Every batch of so many requests that was created in the window: whose it is, nobody tells. The window is
        moved by what the provider's clock and ours differ."""
        doing = "list the batches"
        skew = self._skew(await self._http.get(_BATCHES, {"limit": "1"}), doing)
        since, until = search.since + skew - SKEW, search.until + skew + SKEW
        async with aclosing(self._calls.newest(since, doing)) as batches:
            found = [
                batch
                async for batch in batches
                if batch.counts.total == search.rows
                and (batch.created_at is None or since <= batch.created_at <= until)
            ]
        return sorted(found, key=lambda batch: (batch.created_at or 0.0, batch.id))

    async def status(self, ids: Sequence[RemoteId]) -> Mapping[RemoteId, RemoteBatch]:
        """See `ports.Provider`. A batch can be unseen for a while after its create, and again later."""
        return await self._calls.status(ids)

    async def cancel(self, remote_id: RemoteId) -> RemoteBatch | None:
        """Ask to cancel; None where the batch is already over. What the API answers then is not known: whatever it
        refuses is looked at."""
        doing = "cancel the batch"
        path = self._calls.path_of(remote_id)
        answer = await self._http.post(f"{path}/cancel", b"")
        if answer.status in (400, 409, 422):
            batch = self._calls.batch(self._calls.document(await self._http.get(path), doing), doing)
            if batch.state is not RemoteState.ENDED:
                raise self._calls.error(self._calls.refusal(answer), doing)
        else:
            batch = self._calls.batch(self._calls.document(answer, doing), doing)
        return None if batch.state is RemoteState.ENDED else batch

    async def delete_batch(self, remote_id: RemoteId) -> None:
        """Delete the record of an ended batch, with its results; one that is gone counts as deleted."""
        answer = await self._http.delete(self._calls.path_of(remote_id))
        if answer.status != 404:
            self._calls.document(answer, "delete the batch")

    async def close(self) -> None:
        """Close connections."""
        await self._http.close()

    def _refusal(self, answer: Answer, batch: Mapping[str, object]) -> Failure:
        """Why there are no results of a batch: a 404 is one for good where it is archived only."""
        failure = self._calls.refusal(answer)
        if answer.status == 404 and not batch.get("archived_at"):
            return replace(failure, kind=FailureKind.TRANSIENT, status=None)
        return failure

    def _skew(self, answer: Answer, doing: str) -> float:
        """Seconds by which the provider's clock is ahead of ours, as far as it tells."""
        self._calls.document(answer, doing)
        try:
            return parsedate_to_datetime(answer.headers["date"]).timestamp() - self._now()
        except (KeyError, ValueError):
            return 0.0


def _array(file: BinaryIO, size: int) -> Iterator[bytes]:
    """The lines of a shard as the body of a create: as long as the shard and 14 bytes."""
    yield _OPEN
    left = size - 1  # the last line's end gives way to the end of the list
    while left > 0 and (chunk := file.read(min(CHUNK, left))):
        left -= len(chunk)
        yield chunk.replace(b"\n", b",")
    yield _CLOSE


class _Enough(Exception):
    """The first id is there."""


class _FirstId:
    """The custom id of the first line that is a result."""

    def __init__(self) -> None:
        self.told: str | None = None
        self._line = bytearray()

    def write(self, chunk: bytes) -> None:
        """Take the next bytes; raises `_Enough` as soon as a line has told."""
        self._line += chunk
        if b"\n" not in chunk:
            return
        *lines, self._line = self._line.split(b"\n")
        self.told = first_id_of(map(bytes, lines))
        if self.told is not None:
            raise _Enough


def first_id_of(lines: Iterable[bytes]) -> str | None:
    """The custom id of the first of these lines that is a result; None where none is."""
    for line in lines:
        with suppress(ValueError):
            return wire.read_line(line, Endpoint.MESSAGES, text=False).custom_id
    return None
