"""The fake Vertex AI behind the `Provider` port, without HTTP: for histories in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, BinaryIO, Concatenate, ParamSpec, TypeVar

import orjson

from overnight.errors import ProviderError
from overnight.ports import BlobWriter, Search, Submission
from overnight.providers.accounts import account_of
from overnight.providers.downloads import CUT
from overnight.providers.vertex import LIMITS
from overnight.testing.vertex_fake import BUCKET, LOCATION, PROJECT, TOKEN, FakeVertex, NoAnswer, NoObject, Refused
from overnight.types import Account, Failure, FailureKind, FileId, Limits, Proof, RemoteBatch, RemoteId
from overnight.wire import vertex as wire

Told = TypeVar("Told")
Given = ParamSpec("Given")


class DirectVertex:
    """`ports.Provider` by plain calls. What would be tried again below the port is not: a fault shows at once."""

    name = "vertex"
    dialect = "vertex"
    proof: Proof = "tag"

    def __init__(
        self,
        fake: FakeVertex,
        key: str = TOKEN,
        *,
        limits: Limits = LIMITS,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.fake = fake
        self.limits = limits
        self.short_polling = False
        self._key = key

    async def identify(self, known_batch: RemoteId | None, known_file: FileId | None, known: Account | None) -> Account:
        """Project and location."""
        self._ask(self.fake.jobs, PROJECT, "", 1)
        self.short_polling = self.fake.quirks.home is not None
        return account_of(self.name, f"https://{LOCATION}", None, f"{PROJECT}/{LOCATION}")

    async def upload(self, content: Callable[[], BinaryIO], size: int, filename: str) -> FileId:
        """Put the object."""
        with content() as file:
            self._ask(self.fake.put, BUCKET, filename, file.read())
        return FileId(f"gs://{BUCKET}/{filename}")

    async def create(self, submission: Submission) -> RemoteBatch:
        """Create a job."""
        assert submission.file_id is not None
        body = wire.create_body(
            model=submission.model,
            input_uri=submission.file_id,
            output_prefix=f"{submission.file_id.removesuffix('.jsonl')}/out",
            display_name=submission.filename,
            labels={**submission.metadata, wire.TAG_LABEL: submission.tag},
        )
        return wire.batch_from(self._ask(self.fake.create, PROJECT, LOCATION, body))

    async def find(self, search: Search) -> Sequence[RemoteBatch]:
        """Every job that carries the tag or was made of the file, oldest first."""
        batches = self._all_batches()
        found = [
            batch
            for batch in batches
            if batch.tag == search.tag or (search.file_id and batch.input_file == search.file_id)
        ]
        return found[::-1]

    async def first_id(self, remote: RemoteBatch) -> str | None:
        """The label has proved it."""
        return None

    async def find_files(self, filename: str) -> Sequence[FileId]:
        """Our input object of that name."""
        names = self._ask(self.fake.names, BUCKET, filename)
        return [FileId(f"gs://{BUCKET}/{filename}")] if filename in names else []

    async def status(self, ids: Sequence[RemoteId]) -> Mapping[RemoteId, RemoteBatch]:
        """The jobs as they are now."""
        return {batch.id: batch for batch in self._all_batches() if batch.id in ids}

    async def download(self, file_id: FileId, into: BlobWriter) -> None:
        """Write the predictions."""
        bucket, _, folder = file_id.removeprefix("gs://").partition("/")
        names = self._ask(self.fake.names, bucket, folder)
        if not names:
            raise ProviderError(Failure(FailureKind.TRANSIENT, "fake: no predictions", status=404))
        for name in names:
            data, cut = self._ask(self.fake.read, bucket, name)
            into.write(data[: len(data) // 2] if cut else data)
            if cut:
                raise ProviderError(CUT)

    async def cancel(self, remote_id: RemoteId) -> RemoteBatch | None:
        """Ask to cancel; None where the batch is already over."""
        try:
            self._ask(self.fake.cancel, PROJECT, remote_id)
        except ProviderError as error:
            if error.failure.code == wire.OVER:
                return None
            raise
        return wire.batch_from(self._ask(self.fake.job, PROJECT, remote_id))

    async def delete_file(self, file_id: FileId) -> None:
        """Delete an object, or all that lies in a folder; what is gone counts as deleted."""
        bucket, _, name = file_id.removeprefix("gs://").partition("/")
        for each in self._ask(self.fake.names, bucket, name) if name.endswith("/") else [name]:
            self._gone(self.fake.delete, bucket, each)

    async def delete_batch(self, remote_id: RemoteId) -> None:
        """Delete the record; one that is gone counts as deleted."""
        self._gone(self.fake.delete_job, PROJECT, remote_id)

    async def close(self) -> None:
        """Nothing is held."""

    def _all_batches(self) -> list[RemoteBatch]:
        documents: list[dict[str, Any]] = []
        token = ""
        while True:
            page = self._ask(self.fake.jobs, PROJECT, "", 100, token)
            documents += page.get("batchPredictionJobs", [])
            token = page.get("nextPageToken", "")
            if not token:
                return [wire.batch_from(document) for document in documents]

    def _gone(self, call: Callable[[str, str, str], object], place: str, id: str) -> None:
        """Delete it; it may be gone already."""
        try:
            self._ask(call, place, id)
        except ProviderError as error:
            if error.failure.status != 404:
                raise

    def _ask(self, call: Callable[Concatenate[str, Given], Told], *args: Given.args, **kwargs: Given.kwargs) -> Told:
        """The call made with our token; refusals and lost answers as the port has them."""
        try:
            return call(self._key, *args, **kwargs)
        except NoAnswer:
            failure = Failure(FailureKind.TRANSIENT, "fake: the connection ended before the answer did", "no_answer")
            raise ProviderError(failure) from None
        except Refused as refused:
            raise ProviderError(wire.error_failure(refused.code, orjson.dumps(refused.document()))) from None
        except NoObject:
            raise ProviderError(Failure(FailureKind.ACCOUNT, "fake: no such bucket or object", status=404)) from None
