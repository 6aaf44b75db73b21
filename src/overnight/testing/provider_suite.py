"""What every `Provider` must do, as tests: subclass `ProviderSuite` and give it a world.

    class TestMine(ProviderSuite):
        @contextmanager
        def world(self) -> Iterator[World]: ...

The suite sees the provider from both sides: through the port, and out of band through the world, so that an adapter
cannot agree with its own mistake.
"""

from __future__ import annotations

import asyncio
import io
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Self

import orjson

from overnight.errors import ProviderError
from overnight.ports import Provider, Search, Submission
from overnight.testing.examples import submission
from overnight.types import Endpoint, Failure, FailureKind, FileId, Outcome, RemoteBatch, RemoteId, RemoteState, Tag
from overnight.wire.conversation import Asked, Text, Turn
from overnight.wire.custom_ids import custom_id
from overnight.wire.dialect import dialect
from overnight.wire.jsonl import lines

ROWS = 4
TAG = Tag("suite-tag-1")


@dataclass(frozen=True, slots=True)
class World:
    """A provider and what can be done to it from outside.

    `wait(seconds)` lets its time pass, `lose_next_create` drops the answer of the next create after it was accepted,
    `cut_next_download` breaks the next download off half way; `accepted` counts the batches that it ever took,
    `contents` gives the bytes of every file that it holds now, by id. `dialect` and `endpoint` are what its requests
    are written in and sent to; `no_file` is a file that it certainly does not have; `files`: it takes input files;
    `stored` is what it keeps of an input file; `counts`: its batches count their rows.
    """

    provider: Callable[[], Provider]
    wrong_key: Callable[[], Provider]
    wait: Callable[[float], None]
    lose_next_create: Callable[[], None]
    cut_next_download: Callable[[], None]
    accepted: Callable[[], int]
    contents: Callable[[], Mapping[str, bytes]]
    window: float
    now: Callable[[], float]
    html: Callable[[], Provider] | None = None
    retries_downloads: bool = True
    dialect: str = "openai"
    endpoint: Endpoint = Endpoint.CHAT
    no_file: FileId = FileId("file-none")
    files: bool = True
    stored: Callable[[bytes], bytes] = lambda data: data
    counts: bool = True


class MemoryBlob:
    """A `BlobWriter` that keeps its bytes."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Append."""
        self.data += data
        return len(data)

    def tell(self) -> int:
        """Bytes written."""
        return len(self.data)

    def commit(self) -> None:
        """Nothing to publish."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None: ...


def input_lines(
    rows: int = ROWS, run: str = "suiterun", spoken: str = "openai", endpoint: Endpoint = Endpoint.CHAT
) -> bytes:
    """A batch input file of questions to a chat model."""
    wire = dialect(spoken)
    made = []
    for ordinal in range(rows):
        asked = Asked("gpt-5.4-mini", (Turn("user", (Text(f"say {ordinal} é"),)),), limit=9)
        body = wire.request_body(endpoint, asked)
        made.append(wire.request_line(custom_id(run, ordinal, 0), endpoint, orjson.dumps(body)))
    return b"".join(made)


def _input(world: World, rows: int = ROWS) -> bytes:
    return input_lines(rows, spoken=world.dialect, endpoint=world.endpoint)


def _submission(world: World, file_id: FileId | None, tag: Tag = TAG, rows: int = ROWS) -> Submission:
    return submission(file_id, world.endpoint, tag, {"job": "suite"}, _input(world, rows))


async def uploaded(world: World, provider: Provider, filename: str) -> FileId | None:
    """The id of a stored input file; None where there are none."""
    data = _input(world)
    file_id = await provider.upload(lambda: io.BytesIO(data), len(data), filename)
    assert (file_id is not None) is world.files
    return file_id


async def submit(
    world: World, provider: Provider, tag: Tag = TAG, filename: str = "suite.jsonl", rows: int = ROWS
) -> tuple[FileId | None, RemoteBatch]:
    """Upload and create."""
    file_id = await uploaded(world, provider, filename)
    return file_id, await provider.create(_submission(world, file_id, tag, rows))


class ProviderSuite(ABC):
    """The tests. Each opens a world of its own."""

    @abstractmethod
    def world(self) -> AbstractContextManager[World]:
        """A fresh provider with nothing in it."""

    def test_an_accepted_batch_runs_and_its_answers_come_back(self) -> None:
        """Submit, wait, download: every row answered once."""

        async def story(world: World, provider: Provider) -> None:
            _, batch = await submit(world, provider)
            assert batch.state is RemoteState.IN_PROGRESS
            assert batch.tag == (TAG if provider.proof == "tag" else None)
            assert batch.created_at is not None
            world.wait(world.window / 2)
            ended = (await provider.status([batch.id]))[batch.id]
            assert (ended.state, ended.end) == (RemoteState.ENDED, Outcome.SUCCEEDED)
            assert (ended.counts.total, ended.counts.succeeded) == ((ROWS, ROWS) if world.counts else (0, 0))
            assert ended.output_file is not None
            blob = MemoryBlob()
            await provider.download(ended.output_file, blob)
            assert bytes(blob.data) == world.contents()[ended.output_file]
            read = dialect(world.dialect).read_line
            replies = [read(line, world.endpoint) for _, _, line in lines([bytes(blob.data)])]
            assert sorted(reply.custom_id for reply in replies) == [
                custom_id("suiterun", number, 0) for number in range(ROWS)
            ]
            assert all(reply.outcome is Outcome.SUCCEEDED and reply.text for reply in replies)
            if provider.proof == "count":
                assert await provider.first_id(ended) in {reply.custom_id for reply in replies}

        self._tell(story)

    def test_the_bytes_uploaded_are_the_bytes_stored(self) -> None:
        """Out of band: what the provider holds is what was given."""

        async def story(world: World, provider: Provider) -> None:
            file_id = await uploaded(world, provider, "exact.jsonl")
            if file_id is None:
                assert not await provider.find_files("exact.jsonl")
                return
            assert world.contents()[file_id] == world.stored(_input(world))
            assert await provider.find_files("exact.jsonl") == [file_id]
            assert await provider.find_files("other.jsonl") == []

        self._tell(story)

    def test_a_batch_whose_answer_was_lost_is_found_by_what_proves_it(self) -> None:
        """The lost answer raises without claiming a refusal, nothing is sent twice, and the batch is found: by tag, by
        file, or among the batches of as many requests in the window."""

        async def story(world: World, provider: Provider) -> None:
            await submit(world, provider, Tag("another"), rows=ROWS + 1)
            file_id = await uploaded(world, provider, "lost.jsonl")
            before = world.accepted()
            world.lose_next_create()
            failure = await _failure_of(provider.create(_submission(world, file_id)))
            assert failure is not None
            assert not failure.proves_refusal
            assert world.accepted() == before + 1
            search = Search(TAG, file_id, world.now() - 60, world.now() + 60, "lost.jsonl", ROWS)
            (found,) = await provider.find(search)
            assert found.input_file == file_id
            if provider.proof == "count":
                assert await provider.find(replace(search, rows=ROWS + 2)) == []
                world.wait(world.window / 4)
                assert await provider.find(replace(search, since=world.now(), until=world.now() + 60)) == []
                return
            if provider.proof == "tag":
                assert [batch.id for batch in await provider.find(replace(search, file_id=None))] == [found.id]
            stranger = replace(search, tag=Tag("none"))
            assert [batch.id for batch in await provider.find(stranger)] == [found.id]
            assert await provider.find(replace(stranger, file_id=None)) == []

        self._tell(story)

    def test_a_canceled_batch_ends_canceled_and_cannot_be_canceled_again(self) -> None:
        """Cancel of what is over gives None."""

        async def story(world: World, provider: Provider) -> None:
            _, batch = await submit(world, provider)
            canceled = await provider.cancel(batch.id)
            assert canceled is not None
            world.wait(world.window / 2)
            ended = (await provider.status([batch.id]))[batch.id]
            assert (ended.state, ended.end) == (RemoteState.ENDED, Outcome.CANCELED)
            assert await provider.cancel(batch.id) is None

        self._tell(story)

    def test_status_of_many_is_complete_and_leaves_out_strangers(self) -> None:
        """Known ids are all there, unknown ones are not."""

        async def story(world: World, provider: Provider) -> None:
            made = [(await submit(world, provider, Tag(f"t{number}")))[1].id for number in range(5)]
            seen = await provider.status([*made, RemoteId("batch_unknown")])
            assert set(seen) == set(made)
            assert await provider.status([]) == {}
            assert await provider.status([RemoteId("batch_unknown")]) == {}

        self._tell(story)

    def test_deleting_twice_is_deleting(self) -> None:
        """A file that is gone counts as deleted."""

        async def story(world: World, provider: Provider) -> None:
            file_id, _ = await submit(world, provider)
            if file_id is None:
                await provider.delete_file(world.no_file)  # nothing of ours is there
                return
            await provider.delete_file(file_id)
            assert file_id not in world.contents()
            await provider.delete_file(file_id)

        self._tell(story)

    def test_a_batch_made_of_a_deleted_file_runs_nothing(self) -> None:
        """The fence: refused, or accepted and failed, with the kind that says why."""

        async def story(world: World, provider: Provider) -> None:
            file_id = await uploaded(world, provider, "gone.jsonl")
            if file_id is None:
                return
            await provider.delete_file(file_id)
            refused = await _failure_of(provider.create(_submission(world, file_id)))
            if refused is not None:
                assert refused.proves_refusal
                return
            world.wait(world.window / 2)
            (ended,) = await provider.find(Search(TAG, file_id, world.now() - world.window))
            assert ended.state is RemoteState.FAILED
            assert ended.failure is not None
            assert ended.failure.kind is FailureKind.FILE

        self._tell(story)

    def test_a_download_cut_short_is_whole_or_raises(self) -> None:
        """Never a part that looks like all."""

        async def story(world: World, provider: Provider) -> None:
            _, batch = await submit(world, provider)
            world.wait(world.window / 2)
            ended = (await provider.status([batch.id]))[batch.id]
            assert ended.output_file is not None
            world.cut_next_download()
            blob = MemoryBlob()
            failure = await _failure_of(provider.download(ended.output_file, blob))
            if world.retries_downloads:
                assert failure is None
                assert bytes(blob.data) == world.contents()[ended.output_file]
            else:
                assert failure is not None
                assert failure.kind is FailureKind.TRANSIENT

        self._tell(story)

    def test_a_file_that_is_not_there_cannot_be_downloaded(self) -> None:
        """404, said as such."""

        async def story(world: World, provider: Provider) -> None:
            failure = await _failure_of(provider.download(world.no_file, MemoryBlob()))
            assert failure is not None
            assert failure.status == 404

        self._tell(story)

    def test_a_wrong_key_is_the_accounts_failure_and_is_not_shown(self) -> None:
        """Every call says ACCOUNT and proves that nothing was taken."""

        async def story(world: World, provider: Provider) -> None:
            stranger = world.wrong_key()
            calls: tuple[Awaitable[object], ...] = (
                stranger.identify(None, None, None),
                stranger.create(_submission(world, world.no_file if world.files else None)),
                stranger.find(Search(TAG, None, 0.0)),
                stranger.status([RemoteId("batch_1"), RemoteId("batch_2")]),
            )
            failures = [await _failure_of(call) for call in calls]
            await stranger.close()
            for failure in failures:
                assert failure is not None
                assert failure.kind is FailureKind.ACCOUNT
                assert failure.proves_refusal
                assert "wrong-key" not in failure.message

        self._tell(story)

    def test_the_account_is_the_same_for_the_same_key(self) -> None:
        """Its fingerprint does not change from call to call."""

        async def story(world: World, provider: Provider) -> None:
            file_id, batch = await submit(world, provider)
            account = await provider.identify(None, None, None)
            assert (await provider.identify(batch.id, file_id, account)).fingerprint == account.fingerprint
            stranger = await provider.identify(RemoteId("batch_not_mine"), None, account)
            assert account.organization or account.project or stranger.fingerprint != account.fingerprint

        self._tell(story)

    def test_the_record_of_an_ended_batch_can_be_deleted_where_there_is_such_a_call(self) -> None:
        """Twice is once; where there is none nothing happens."""

        async def story(world: World, provider: Provider) -> None:
            _, batch = await submit(world, provider)
            world.wait(world.window / 2)
            await provider.delete_batch(batch.id)
            await provider.delete_batch(batch.id)

        self._tell(story)

    def test_html_is_said_to_be_html(self) -> None:
        """A web page instead of the API is a clear failure."""

        async def story(world: World, provider: Provider) -> None:
            if world.html is None:
                return
            page = world.html()
            failure = await _failure_of(page.identify(None, None, None))
            await page.close()
            assert failure is not None
            assert "HTML" in failure.message

        self._tell(story)

    def _tell(self, story: Callable[[World, Provider], Awaitable[None]]) -> None:
        async def told(world: World) -> None:
            provider = world.provider()
            try:
                await story(world, provider)
            finally:
                await provider.close()

        with self.world() as world:
            asyncio.run(told(world))


async def _failure_of(call: Awaitable[object]) -> Failure | None:
    try:
        await call
    except ProviderError as error:
        return error.failure
    return None
