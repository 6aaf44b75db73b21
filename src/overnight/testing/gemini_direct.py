"""The fake Gemini behind the `Provider` port, without HTTP: for plays and histories in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, BinaryIO, Concatenate, ParamSpec, TypeVar

from overnight.errors import ProviderError
from overnight.ports import BlobWriter, Search, Submission
from overnight.providers.accounts import account_of, stranger
from overnight.providers.downloads import CUT, SHORT
from overnight.providers.gemini import GENERATED, LIMITS, LOOKS, METHODS, create_body, file_id_of
from overnight.testing.gemini_fake import KEY, ROOT, FakeGemini, NoAnswer, Refusal
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
from overnight.wire import gemini as wire

Told = TypeVar("Told")
Given = ParamSpec("Given")


class DirectGemini:
    """`ports.Provider` by plain calls. What would be tried again below the port is not: a fault shows at once."""

    name = "gemini"
    dialect = "gemini"
    proof: Proof = "tag"

    def __init__(
        self,
        fake: FakeGemini,
        key: str = KEY,
        *,
        limits: Limits = LIMITS,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.fake = fake
        self.limits = limits
        self.short_polling = False
        self._key = key
        self._sleep = sleep

    async def identify(self, known_batch: RemoteId | None, known_file: FileId | None, known: Account | None) -> Account:
        """The account behind the key: the known one where it sees what we know."""
        self._ask(self.fake.batches, 1)
        home = self.fake.quirks.home
        self.short_polling = home is not None
        where = f"overnight:{home}" if home else ROOT
        if home or known is None or (known_batch is None and known_file is None):
            return account_of(self.name, where, None, None)
        sees = known_batch is not None and self._batch(known_batch) is not None
        sees = sees or (known_file is not None and self._there(self.fake.file, _id(known_file)) is not None)
        return known if sees else stranger(self.name, where)

    async def upload(self, content: Callable[[], BinaryIO], size: int, filename: str) -> FileId:
        """Store the file, in one piece, and wait until it is seen; one that is there already is taken."""
        file_id = file_id_of(filename)
        if await self.find_files(filename):
            return file_id
        upload_id = self._ask(self.fake.begin, {"name": file_id, "display_name": filename}, size)
        with content() as file:
            data = file.read()
        self._ask(lambda key: self.fake.piece(upload_id, 0, data, True))
        for look in range(LOOKS):
            if await self.find_files(filename):
                break
            await self._sleep(0.5 * 2**look)
        return file_id

    async def create(self, submission: Submission) -> RemoteBatch:
        """Create a batch."""
        method = METHODS[Endpoint(submission.endpoint)]
        return wire.batch_from(self._ask(self.fake.create, submission.model, method, create_body(submission)))

    async def find(self, search: Search) -> Sequence[RemoteBatch]:
        """Every batch that carries the tag or was made of the file, oldest first."""
        documents: list[dict[str, Any]] = []
        token = ""
        while True:
            page = self._ask(self.fake.batches, 100, token)
            documents += page["operations"]
            token = page.get("nextPageToken", "")
            if not token:
                break
        return [
            batch
            for batch in reversed([wire.batch_from(document) for document in documents])
            if batch.tag == search.tag or (search.file_id and batch.input_file == search.file_id)
        ]

    async def first_id(self, remote: RemoteBatch) -> str | None:
        """The tag has proved it."""
        return None

    async def find_files(self, filename: str) -> Sequence[FileId]:
        """Our input file of that name."""
        file_id = file_id_of(filename)
        return [] if self._there(self.fake.file, _id(file_id)) is None else [file_id]

    async def status(self, ids: Sequence[RemoteId]) -> Mapping[RemoteId, RemoteBatch]:
        """The batches as they are now."""
        found = {remote_id: self._batch(remote_id) for remote_id in ids}
        return {remote_id: batch for remote_id, batch in found.items() if batch is not None}

    async def download(self, file_id: FileId, into: BlobWriter) -> None:
        """Write the answers."""
        if file_id.startswith(wire.INLINE):
            document = self._ask(self.fake.batch, _id(file_id.removeprefix(wire.INLINE)))
            into.write(b"".join(wire.inlined_lines(document)))
            return
        batch = self._batch(RemoteId(f"batches/{file_id.removeprefix(GENERATED)}"))
        data, cut = self._ask(self.fake.download, _id(file_id), self.fake.quirks.docs_path_only)
        into.write(data[: len(data) // 2] if cut else data)
        if cut:
            raise ProviderError(SHORT if self.fake.quirks.cut_cleanly else CUT)
        if batch is not None and data.count(b"\n") < batch.counts.total:
            raise ProviderError(SHORT)

    async def cancel(self, remote_id: RemoteId) -> RemoteBatch | None:
        """Ask to cancel; None where the batch is already over."""
        before = wire.batch_from(self._ask(self.fake.batch, _id(remote_id)))
        if before.state in {RemoteState.ENDED, RemoteState.FAILED}:
            return None
        self._ask(self.fake.cancel, _id(remote_id))
        return wire.batch_from(self._ask(self.fake.batch, _id(remote_id)))

    async def delete_file(self, file_id: FileId) -> None:
        """Delete an input file; answers go with their batch, and one that is gone counts as deleted."""
        if not file_id.startswith((GENERATED, wire.INLINE)):
            self._there(self.fake.delete_file, _id(file_id))

    async def delete_batch(self, remote_id: RemoteId) -> None:
        """Delete the record; one that is gone counts as deleted."""
        self._there(self.fake.delete_batch, _id(remote_id))

    async def close(self) -> None:
        """Nothing is held."""

    def _batch(self, remote_id: RemoteId) -> RemoteBatch | None:
        document = self._there(self.fake.batch, _id(remote_id))
        return None if document is None else wire.batch_from(document)

    def _there(self, call: Callable[[str, str], dict[str, Any]], id: str) -> dict[str, Any] | None:
        """What the call gives; None where there is no such thing, or none for us."""
        try:
            return self._ask(call, id)
        except ProviderError as error:
            if error.failure.status == 404:
                return None
            raise

    def _ask(self, call: Callable[Concatenate[str, Given], Told], *args: Given.args, **kwargs: Given.kwargs) -> Told:
        """The call made with our key; refusals and lost answers as the port has them."""
        try:
            return call(self._key, *args, **kwargs)
        except NoAnswer:
            failure = Failure(FailureKind.TRANSIENT, "fake: the connection ended before the answer did", "no_answer")
            raise ProviderError(failure) from None
        except Refusal as refusal:
            raise ProviderError(wire.error_failure(refusal.status, refusal.body)) from None


def _id(name: str) -> str:
    return name.rpartition("/")[2]
