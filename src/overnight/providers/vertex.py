"""Vertex AI's batch prediction of Gemini models: jobs at the service, requests and answers in a bucket of ours."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import BinaryIO, Final

import orjson

from overnight.core.catalog import PROVIDERS
from overnight.errors import LocalError, ProviderError
from overnight.http import CHUNK, Http
from overnight.ports import Blobs, BlobWriter, Search, Submission
from overnight.providers.accounts import account_of, own_server
from overnight.providers.calls import Calls, quoted
from overnight.providers.downloads import CUT, DOWNLOADS, SHORT
from overnight.providers.google_access import GoogleAccess
from overnight.types import Account, Failure, FailureKind, FileId, Limits, Proof, RemoteBatch, RemoteId
from overnight.wire import vertex as wire

LIMITS = PROVIDERS["vertex"].limits
SKEW: Final = 300.0  # seconds that the service's `createTime` may differ from what the caller knows
PIECE: Final = 1 << 20  # bytes of a download asked for at a time
COPIES: Final = 4  # downloads at the same time; each holds two pieces
_REGIONS_OF_SEVERAL: Final = frozenset({"us", "eu"})


def base_url_of(location: str) -> str:
    """Where the service of a location is: a region, `us`, `eu` or `global`."""
    if location == "global":
        return "https://aiplatform.googleapis.com"
    if location in _REGIONS_OF_SEVERAL:
        return f"https://aiplatform.{location}.rep.googleapis.com"
    return f"https://{location}-aiplatform.googleapis.com"


class VertexProvider:
    """`ports.Provider` over HTTP and object storage. `buckets` gives the objects of a bucket by its name; ours go into
    `bucket` under `prefix` (`jobs/`, or empty). Files are named as Google does, `gs://bucket/name`; one that ends with
    a slash is a folder of answers. `create_timeout`: seconds after which no byte of a create leaves any more."""

    name = "vertex"
    dialect = "vertex"

    def __init__(
        self,
        access: GoogleAccess,
        buckets: Callable[[str], Blobs],
        bucket: str,
        prefix: str = "",
        *,
        project: str,
        location: str,
        base_url: str | None = None,
        proxy: str | None = None,
        create_timeout: float = 120.0,
        limits: Limits = LIMITS,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.limits = limits
        self.proof: Proof = "tag"
        self.short_polling = False
        self._http = Http(
            base_url or base_url_of(location), {}, proxy=proxy, sleep=sleep, jitter=jitter, authorize=access.headers
        )
        self._place = f"{project}/{location}"
        self._jobs = f"/v1/projects/{quoted(project)}/locations/{quoted(location)}/batchPredictionJobs"
        self._calls = Calls(self._http, wire, "", self._jobs, "pageToken", 100)
        self._buckets, self._ours = buckets, f"gs://{bucket}/{prefix}"
        self._opened: dict[str, Blobs] = {}
        self._create_timeout = create_timeout
        self._sleep = sleep
        self._putting = asyncio.Lock()  # an upload holds some pieces, and sends them side by side
        self._copying = asyncio.Semaphore(COPIES)

    # ----------------------------------------------------------------------------------------- account

    async def identify(self, known_batch: RemoteId | None, known_file: FileId | None, known: Account | None) -> Account:
        """See `ports.Provider`: project and location name the account, whoever asks."""
        answer = await self._http.get(self._jobs, {"pageSize": "1"})
        self._calls.document(answer, "look at the account")
        server = own_server(answer.headers)
        self.short_polling = server is not None
        return account_of(self.name, server or self._http.base_url, None, self._place)

    # ------------------------------------------------------------------------------------------- files

    async def upload(self, content: Callable[[], BinaryIO], size: int, filename: str) -> FileId:
        """Put the object; nobody sees a part of it."""
        file_id = FileId(self._ours + filename)

        def put(blobs: Blobs, name: str) -> None:
            with content() as source, blobs.create(name) as writer:
                while chunk := source.read(CHUNK):
                    writer.write(chunk)
                if writer.tell() != size:
                    raise ProviderError(Failure(FailureKind.PERMANENT, f"{file_id}: the file is not as long as it was"))
                writer.commit()

        async with self._putting:
            await asyncio.to_thread(put, *self._at(file_id))
        return file_id

    async def find_files(self, filename: str) -> Sequence[FileId]:
        """See `ports.Provider`: there is one name that it can have."""
        file_id = FileId(self._ours + filename)
        blobs, name = self._at(file_id)
        return [] if await asyncio.to_thread(blobs.size, name) is None else [file_id]

    async def download(self, file_id: FileId, into: BlobWriter) -> None:
        """Write all predictions of a folder, one file after the other in the order of their names. Whole means as long
        as the store says, and the last line ended."""
        blobs, folder = self._at(file_id)
        names = await asyncio.to_thread(lambda: [name for name in blobs.list(folder) if _predicts(name)])
        if not names:
            raise ProviderError(Failure(FailureKind.TRANSIENT, f"there are no predictions in {file_id}", status=404))
        async with self._copying:
            ends_whole = [await self._copy(blobs, name, into) for name in names]
        if not all(ends_whole):
            raise ProviderError(replace(SHORT, message=f"{file_id}: {SHORT.message}"))

    async def _copy(self, blobs: Blobs, name: str, into: BlobWriter) -> bool:
        """Write a file piece by piece; whether its last line is whole."""
        try:
            reader = await asyncio.to_thread(blobs.reader, name)
            size = await asyncio.to_thread(blobs.size, name) or 0
        except LocalError as error:
            raise ProviderError(Failure(FailureKind.TRANSIENT, str(error), status=404)) from None
        offset, tries, tail = 0, 1, b""
        while offset < size:
            wanted = min(PIECE, size - offset)
            piece = await asyncio.to_thread(reader.read_at, offset, wanted)
            if len(piece) != wanted:
                if tries == DOWNLOADS:
                    raise ProviderError(replace(CUT, message=f"{name}: {CUT.message}"))
                await self._sleep(2.0**tries)
                tries += 1
                continue
            await asyncio.to_thread(into.write, piece)
            offset += wanted
            tail = piece if b"\n" in piece else tail + piece
            tail = tail[tail.rfind(b"\n") + 1 :]
        reader.close()
        if tail:
            into.write(b"\n")
        return not tail or _is_object(tail)

    async def delete_file(self, file_id: FileId) -> None:
        """Delete an object, or all that lies in a folder of answers."""
        blobs, name = self._at(file_id)

        def delete() -> None:
            for each in list(blobs.list(name)) if name.endswith("/") else [name]:
                blobs.delete(each)

        await asyncio.to_thread(delete)

    def _at(self, file_id: str) -> tuple[Blobs, str]:
        """The objects of the file's bucket, and its name there."""
        scheme, _, path = file_id.partition("://")
        bucket, _, name = path.partition("/")
        if scheme != "gs" or not bucket or not name:
            raise ProviderError(Failure(FailureKind.PERMANENT, f"{file_id!r} is no object of a bucket", status=404))
        if bucket not in self._opened:
            self._opened[bucket] = self._buckets(bucket)
        return self._opened[bucket], name

    # ----------------------------------------------------------------------------------------- batches

    async def create(self, submission: Submission) -> RemoteBatch:
        """One POST on a connection of its own. Answers go to a folder that no other attempt has."""
        doing = "create the batch"
        source = submission.file_id or self._ours + submission.filename
        body = wire.create_body(
            model=submission.model,
            input_uri=source,
            output_prefix=f"{source.removesuffix('.jsonl')}/out",
            display_name=submission.filename,
            labels={**submission.metadata, wire.TAG_LABEL: submission.tag},
        )
        answer = await self._http.post_alone(self._jobs, orjson.dumps(body), timeout=self._create_timeout)
        return self._calls.batch(self._calls.document(answer, doing), doing)

    async def find(self, search: Search) -> Sequence[RemoteBatch]:
        """See `ports.Provider`. The service looks for the label; that it finds nothing is believed only after a look at
        everything made since."""
        labeled = f'labels.{wire.TAG_LABEL}="{search.tag}"'
        since = f'create_time>="{wire.timestamp(max(0.0, search.since - SKEW))}"'
        for wanted in (labeled, since):
            found = [
                batch
                async for batch in self._calls.tokened({"filter": wanted}, "batchPredictionJobs", "list the batches")
                if batch.tag == search.tag or (search.file_id and batch.input_file == search.file_id)
            ]
            if found:
                return sorted(found, key=lambda batch: (batch.created_at or 0.0, batch.id))
        return []

    async def status(self, ids: Sequence[RemoteId]) -> Mapping[RemoteId, RemoteBatch]:
        """The batches as they are now, one by one: there are few, for each may hold 200,000 rows."""
        doing = "look at the batches"
        found = {}
        for remote_id in ids:
            answer = await self._http.get(self._calls.path_of(remote_id))
            if answer.status != 404:
                found[remote_id] = self._calls.batch(self._calls.document(answer, doing), doing)
        return found

    async def cancel(self, remote_id: RemoteId) -> RemoteBatch | None:
        """Ask to cancel; None where the batch is already over."""
        doing = "cancel the batch"
        path = self._calls.path_of(remote_id)
        answer = await self._http.post(f"{path}:cancel", b"{}")
        if answer.status == 400 and self._calls.refusal(answer).code == wire.OVER:
            return None
        self._calls.document(answer, doing)
        return self._calls.batch(self._calls.document(await self._http.get(path), doing), doing)

    async def first_id(self, remote: RemoteBatch) -> str | None:
        """See `ports.Provider`: the label has proved it."""
        return None

    async def delete_batch(self, remote_id: RemoteId) -> None:
        """See `ports.Provider`."""
        answer = await self._http.delete(self._calls.path_of(remote_id))
        if answer.status != 404:
            self._calls.document(answer, "delete the batch")

    async def close(self) -> None:
        """Close connections."""
        await self._http.close()


def _predicts(name: str) -> bool:
    file = name.rpartition("/")[2]
    return file.startswith("prediction") and file.endswith(".jsonl")


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(orjson.loads(line), dict)
    except orjson.JSONDecodeError:
        return False
