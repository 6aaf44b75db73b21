"""The fake OpenAI behind the `Provider` port, without HTTP: for histories in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, BinaryIO, Concatenate, ParamSpec, TypeVar

from overnight.errors import ProviderError
from overnight.ports import BlobWriter, Search, Submission
from overnight.providers.accounts import account_of
from overnight.providers.downloads import CUT, SHORT
from overnight.providers.openai import LIMITS
from overnight.testing.openai_fake import KEY, FakeOpenAI, NoAnswer, Refusal
from overnight.types import Account, Failure, FailureKind, FileId, Limits, Proof, RemoteBatch, RemoteId
from overnight.wire import openai as wire

Told = TypeVar("Told")
Given = ParamSpec("Given")
_PAGE = 1_000_000


class DirectProvider:
    """`ports.Provider` by plain calls. What would be tried again below the port is not: a fault shows at once."""

    name = "openai"
    dialect = "openai"
    proof: Proof = "tag"

    def __init__(
        self,
        fake: FakeOpenAI,
        key: str = KEY,
        *,
        limits: Limits = LIMITS,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.fake = fake
        self._sleep = sleep
        self.limits = limits
        self.short_polling = False
        self._key = key

    async def identify(self, known_batch: RemoteId | None, known_file: FileId | None, known: Account | None) -> Account:
        """The account behind the key."""
        self._ask(self.fake.files, None, 1, "batch")
        quirks = self.fake.quirks
        self.short_polling = quirks.home is not None
        where = f"overnight:{quirks.home}" if quirks.home else "https://api.openai.com/v1"
        organization = self.fake.accounts[self._key] if quirks.names_account else None
        if organization or quirks.home or known is None or (known_batch is None and known_file is None):
            return account_of(self.name, where, organization, None)
        if (known_batch and self._is_seen(self.fake.batch, known_batch)) or (
            known_file and self._is_seen(self.fake.file, known_file)
        ):
            return known
        return replace(account_of(self.name, where, None, None), fingerprint="another account")

    async def upload(self, content: Callable[[], BinaryIO], size: int, filename: str) -> FileId:
        """Store a batch input file."""
        with content() as file:
            data = file.read()
        id = self._ask(self.fake.upload, filename, data, "batch")["id"]
        for _ in range(10):  # Q-O4: until it is seen, as the real adapter waits
            if self._is_seen(self.fake.file, id):
                break
            await self._sleep(3.0)
        return FileId(id)

    async def create(self, submission: Submission) -> RemoteBatch:
        """Create a batch."""
        body = {
            "input_file_id": submission.file_id,
            "endpoint": submission.endpoint,
            "completion_window": "24h",
            "metadata": {**submission.metadata, wire.TAG_KEY: submission.tag},
        }
        return wire.batch_from(self._ask(self.fake.create, body))

    async def find(self, search: Search) -> Sequence[RemoteBatch]:
        """Every batch that carries the tag or was made of the file, oldest first."""
        tag, file_id = search.tag, search.file_id
        batches = [wire.batch_from(document) for document in self._all_batches()]
        found = [batch for batch in batches if batch.tag == tag or (file_id and batch.input_file == file_id)]
        return found[::-1]

    async def find_files(self, filename: str) -> Sequence[FileId]:
        """Our input files of that name."""
        documents = self._ask(self.fake.files, None, _PAGE, "batch")["data"]
        return [FileId(document["id"]) for document in documents if document["filename"] == filename]

    async def status(self, ids: Sequence[RemoteId]) -> Mapping[RemoteId, RemoteBatch]:
        """The batches as they are now."""
        wanted = set(ids)
        batches = (wire.batch_from(document) for document in self._all_batches())
        return {batch.id: batch for batch in batches if batch.id in wanted}

    async def download(self, file_id: FileId, into: BlobWriter) -> None:
        """Write the file's bytes."""
        data, cut = self._ask(self.fake.content, file_id)
        into.write(data[: len(data) // 2] if cut else data)
        if cut:
            raise ProviderError(SHORT if self.fake.quirks.cut_cleanly else CUT)

    async def cancel(self, remote_id: RemoteId) -> RemoteBatch | None:
        """Ask to cancel; None where the batch is already over."""
        try:
            return wire.batch_from(self._ask(self.fake.cancel, remote_id))
        except ProviderError as error:
            if error.failure.status == 409:
                return None
            raise

    async def delete_file(self, file_id: FileId) -> None:
        """Delete; a file that is gone counts as deleted."""
        self._is_seen(self.fake.delete_file, file_id)

    async def first_id(self, remote: RemoteBatch) -> str | None:
        """The tag has proved it."""
        return None

    async def delete_batch(self, remote_id: RemoteId) -> None:
        """There is no such call, the record stays."""

    async def close(self) -> None:
        """Nothing is held."""

    def _all_batches(self) -> list[dict[str, Any]]:
        documents: list[dict[str, Any]] = []
        while True:
            after = documents[-1]["id"] if documents else None
            page = self._ask(self.fake.batches, after, 100)
            documents += page["data"]
            if not page["has_more"]:
                return documents

    def _is_seen(self, call: Callable[[str, str], object], id: str) -> bool:
        try:
            self._ask(call, id)
        except ProviderError as error:
            if error.failure.status == 404:
                return False
            raise
        return True

    def _ask(self, call: Callable[Concatenate[str, Given], Told], *args: Given.args, **kwargs: Given.kwargs) -> Told:
        """The call made with our key; refusals and lost answers as the port has them."""
        try:
            return call(self._key, *args, **kwargs)
        except NoAnswer:
            failure = Failure(FailureKind.TRANSIENT, "fake: the connection ended before the answer did", "no_answer")
            raise ProviderError(failure) from None
        except Refusal as refusal:
            raise ProviderError(wire.error_failure(refusal.status, refusal.body())) from None
