"""The fake Anthropic behind the `Provider` port, without HTTP: for plays and histories in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, BinaryIO, Concatenate, ParamSpec, TypeVar

from overnight.errors import ProviderError
from overnight.ports import BlobWriter, Search, Submission
from overnight.providers.accounts import account_of, stranger
from overnight.providers.anthropic import LIMITS, SKEW, first_id_of
from overnight.providers.downloads import CUT, SHORT
from overnight.testing.anthropic_fake import KEY, ROOT, FakeAnthropic, NoAnswer, Refusal
from overnight.types import Account, Failure, FailureKind, FileId, Limits, Proof, RemoteBatch, RemoteId
from overnight.wire import anthropic as wire

Told = TypeVar("Told")
Given = ParamSpec("Given")


class DirectAnthropic:
    """`ports.Provider` by plain calls. What would be tried again below the port is not: a fault shows at once."""

    name = "anthropic"
    dialect = "anthropic"
    proof: Proof = "count"

    def __init__(
        self,
        fake: FakeAnthropic,
        key: str = KEY,
        *,
        limits: Limits = LIMITS,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.fake = fake
        self.limits = limits
        self.short_polling = False
        self._key = key

    async def identify(self, known_batch: RemoteId | None, known_file: FileId | None, known: Account | None) -> Account:
        """The account behind the key."""
        self._ask(self.fake.batches, None, 1)
        quirks = self.fake.quirks
        self.short_polling = quirks.home is not None
        where = f"overnight:{quirks.home}" if quirks.home else ROOT
        if quirks.names_account:
            return account_of(self.name, where, "org-fake", self.fake.accounts[self._key])
        if quirks.home or known is None or known_batch is None:
            return account_of(self.name, where, None, None)
        return known if self._batch(known_batch) is not None else stranger(self.name, where)

    async def upload(self, content: Callable[[], BinaryIO], size: int, filename: str) -> None:
        """There are no input files."""

    async def create(self, submission: Submission) -> RemoteBatch:
        """Create a batch."""
        with submission.content() as file:
            lines = file.read().splitlines()
        return wire.batch_from(self._ask(self.fake.create, b'{"requests":[%s]}' % b",".join(lines)))

    async def find(self, search: Search) -> Sequence[RemoteBatch]:
        """Every batch of that many requests, created in the window, oldest first."""
        since, until = search.since - SKEW, search.until + SKEW
        return [
            batch
            for batch in reversed(self._all())
            if batch.counts.total == search.rows and since <= (batch.created_at or 0.0) <= until
        ]

    async def find_files(self, filename: str) -> Sequence[FileId]:
        """There are no input files."""
        return ()

    async def first_id(self, remote: RemoteBatch) -> str | None:
        """The custom id of the first result."""
        data, _ = self._results(remote.id)
        return first_id_of(data.splitlines())

    async def status(self, ids: Sequence[RemoteId]) -> Mapping[RemoteId, RemoteBatch]:
        """The batches as they are now."""
        wanted = set(ids)
        return {batch.id: batch for batch in self._all() if batch.id in wanted} if wanted else {}

    async def download(self, file_id: FileId, into: BlobWriter) -> None:
        """Write the results."""
        id = RemoteId(file_id.removeprefix(wire.RESULTS))
        batch = wire.batch_from(self._ask(self.fake.batch, id))
        data, cut = self._results(id)
        into.write(data[: len(data) // 2] if cut else data)
        if cut:
            raise ProviderError(SHORT if self.fake.quirks.cut_cleanly else CUT)
        if data.count(b"\n") < batch.counts.total:
            raise ProviderError(SHORT)

    async def cancel(self, remote_id: RemoteId) -> RemoteBatch | None:
        """Ask to cancel; None where the batch is already over."""
        before = wire.batch_from(self._ask(self.fake.batch, remote_id))
        return None if before.output_file else wire.batch_from(self._ask(self.fake.cancel, remote_id))

    async def delete_file(self, file_id: FileId) -> None:
        """Results go with their batch."""

    async def delete_batch(self, remote_id: RemoteId) -> None:
        """Delete the record; one that is gone counts as deleted."""
        if self._batch(remote_id) is not None:
            self._ask(self.fake.delete, remote_id)

    async def close(self) -> None:
        """Nothing is held."""

    def _all(self) -> list[RemoteBatch]:
        documents: list[dict[str, Any]] = []
        while True:
            page = self._ask(self.fake.batches, documents[-1]["id"] if documents else None, 1_000)
            documents += page["data"]
            if not page["has_more"]:
                return [wire.batch_from(document) for document in documents]

    def _batch(self, id: RemoteId) -> dict[str, Any] | None:
        try:
            return self._ask(self.fake.batch, id)
        except ProviderError as error:
            if error.failure.status == 404:
                return None
            raise

    def _results(self, id: RemoteId) -> tuple[bytes, bool]:
        """As the real adapter: results of a batch that is there are not found for now, never gone."""
        try:
            return self._ask(self.fake.results, id)
        except ProviderError as error:
            if error.failure.status != 404 or self._batch(id) is None:
                raise
            raise ProviderError(replace(error.failure, kind=FailureKind.TRANSIENT, status=None)) from None

    def _ask(self, call: Callable[Concatenate[str, Given], Told], *args: Given.args, **kwargs: Given.kwargs) -> Told:
        """The call made with our key; refusals and lost answers as the port has them."""
        try:
            return call(self._key, *args, **kwargs)
        except NoAnswer:
            failure = Failure(FailureKind.TRANSIENT, "fake: the connection ended before the answer did", "no_answer")
            raise ProviderError(failure) from None
        except Refusal as refusal:
            raise ProviderError(wire.error_failure(refusal.status, refusal.body)) from None
