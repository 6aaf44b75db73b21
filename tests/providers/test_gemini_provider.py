"""What the adapter of the Gemini API does besides the suite: uploads in parts, listings, downloads, deletes."""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson
import pytest
from aiohttp import web
from aiohttp.typedefs import Handler

from overnight.errors import ProviderError
from overnight.http import CHUNK
from overnight.ports import DOWNLOAD_SHORT, Search
from overnight.providers.gemini import GeminiProvider, file_id_of
from overnight.providers.resumable import PART, TRIES
from overnight.testing.examples import submission
from overnight.testing.gemini_fake import KEY, FakeGemini, Quirks
from overnight.testing.gemini_server import application
from overnight.testing.provider_suite import MemoryBlob, input_lines
from overnight.testing.serving import served
from overnight.types import Endpoint, Failure, FailureKind, FileId, Outcome, RemoteBatch, RemoteId, RemoteState, Tag
from overnight.wire import gemini as wire

Told = TypeVar("Told")
START = 1_800_000_000.0
LONG = bytes(range(256)) * (2 * PART // 256) + b"the end"
EVERY = frozenset(range(100))


@dataclass(frozen=True)
class Heard:
    """A request as it arrived; `upload`: its headers `x-goog-upload-..`."""

    line: str
    key: str | None
    upload: dict[str, str]
    body: bytes


class Stage:
    """A fake, its clock, and a provider over HTTP whose waits let the clock go on."""

    def __init__(self, **quirks: Any) -> None:
        self.time = START
        self.heard: list[Heard] = []
        self.root = ""  # of the addresses that the provider names, where they are not its own
        self.mount = ""  # path below which the API is
        self.slept: list[float] = []
        self.fake = FakeGemini(lambda: self.time, Quirks(**quirks))

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds

    def play(self, story: Callable[[GeminiProvider], Awaitable[Told]], below: str = "") -> Told:
        async def told(url: str) -> Told:
            provider = GeminiProvider(KEY, url + self.mount + below, sleep=self.sleep, jitter=lambda: 1.0)
            try:
                return await story(provider)
            finally:
                await provider.close()

        with served(self.application) as url:
            self.fake.root = self.root or url
            return asyncio.run(told(url))

    def application(self) -> web.Application:
        @web.middleware
        async def hear(request: web.Request, handler: Handler) -> web.StreamResponse:
            head = "x-goog-upload-"
            named = {name.lower(): value for name, value in request.headers.items()}
            upload = {name.removeprefix(head): value for name, value in named.items() if name.startswith(head)}
            line = f"{request.method} {request.path_qs}"
            self.heard.append(Heard(line, named.get("x-goog-api-key"), upload, await request.read()))
            return await handler(request)

        app = application(self.fake)
        app.middlewares.append(hear)
        if not self.mount:
            return app
        outer = web.Application()
        outer.add_subapp(self.mount, app)
        return outer

    def failure(self, story: Callable[[GeminiProvider], Awaitable[object]]) -> Failure:
        with pytest.raises(ProviderError) as raised:
            self.play(story)
        return raised.value.failure


def lines(rows: int = 6, endpoint: Endpoint = Endpoint.GENERATE) -> bytes:
    return input_lines(rows, spoken="gemini", endpoint=endpoint)


async def upload(provider: GeminiProvider, filename: str = "a.jsonl", data: bytes = b"") -> FileId:
    data = data or lines()
    return await provider.upload(lambda: io.BytesIO(data), len(data), filename)


async def submit(provider: GeminiProvider, tag: str = "t", filename: str = "a.jsonl") -> RemoteBatch:
    file_id = await upload(provider, filename)
    return await provider.create(submission(file_id, Endpoint.GENERATE, Tag(tag), {"overnight_job": "j"}))


# ------------------------------------------------------------------------------------------ uploads


@pytest.mark.parametrize(
    ("quirks", "begun", "sent"),
    [
        ({}, 1, 3),
        ({"lost_pieces": {0, 1}}, 1, 3),
        ({"lost_pieces": {2}}, 1, 3),
        ({"cut_pieces": {0, 2}}, 1, 4),
        ({"forgotten_pieces": {1}}, 2, 5),
        ({"forgotten_pieces": {2}}, 2, 6),
    ],
)
def test_a_file_goes_up_in_parts_and_goes_on_where_the_provider_is(
    quirks: dict[str, set[int]], begun: int, sent: int
) -> None:
    stage = Stage(**{name: frozenset(numbers) for name, numbers in quirks.items()})
    file_id = stage.play(lambda provider: upload(provider, data=LONG))
    assert stage.fake.stored[file_id.removeprefix("files/")].data == LONG
    assert (stage.fake.calls.count("begin"), stage.fake.calls.count("piece")) == (begun, sent)


def test_the_key_goes_nowhere_but_to_the_base_url() -> None:
    stage = Stage()
    stage.root = "https://somewhere.invalid"
    file_id = stage.play(upload)
    assert file_id.removeprefix("files/") in stage.fake.stored


def test_an_api_may_be_below_a_path() -> None:
    stage = Stage()
    stage.mount = "/gemini"
    stage.play(submit, "/v1")
    assert stage.heard[1].line.startswith("POST /gemini/upload/v1/files?upload_id=")
    assert len(stage.fake.made) == 1


def test_an_upload_that_gets_nowhere_ends() -> None:
    stage = Stage(forgotten_pieces=EVERY)
    failure = stage.failure(upload)
    assert (failure.kind, failure.proves_refusal) == (FailureKind.TRANSIENT, False)
    assert stage.fake.calls.count("piece") == TRIES
    assert stage.fake.stored == {}


def test_an_upload_that_is_forgotten_ever_again_ends() -> None:
    stage = Stage(forgotten_pieces=frozenset(range(1, 100, 2)))
    failure = stage.failure(lambda provider: upload(provider, data=LONG))
    assert failure.kind is FailureKind.TRANSIENT
    assert stage.fake.calls.count("piece") == 2 * TRIES


def test_a_file_is_never_read_whole() -> None:
    asked: list[int | None] = []

    class Content(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            asked.append(size)
            return super().read(size)

    stage = Stage()
    stage.play(lambda provider: provider.upload(lambda: Content(LONG), len(LONG), "a.jsonl"))
    assert {size for size in asked if size is None or not 0 < size <= CHUNK} == set()


def test_a_file_whose_upload_ended_unheard_is_taken_as_it_is() -> None:
    stage = Stage()

    async def story(provider: GeminiProvider) -> tuple[FileId, FileId]:
        return await upload(provider), await upload(provider)

    first, second = stage.play(story)
    assert first == second
    assert stage.fake.calls.count("piece") == 1


def test_another_file_under_our_id_makes_way_and_the_shard_goes_out_under_a_new_one() -> None:
    stage = Stage()

    async def story(provider: GeminiProvider) -> None:
        await upload(provider, data=lines(2))
        await upload(provider)

    failure = stage.failure(story)
    assert (failure.kind, failure.proves_refusal) == (FailureKind.FILE, True)
    assert stage.fake.stored == {}


def test_a_fresh_file_is_waited_for() -> None:
    stage = Stage(file_lag=3.0)
    stage.play(upload)
    assert stage.slept == [0.5, 1.0, 2.0]


def test_ids_are_the_providers_kind_and_differ_as_names_do() -> None:
    ids = {file_id_of(name) for name in ("a.jsonl", "A.jsonl", "b.jsonl", "é" * 300)}
    assert len(ids) == 4
    assert all(re.fullmatch(r"files/[a-z0-9][a-z0-9-]{0,38}[a-z0-9]", id) for id in ids)


# ----------------------------------------------------------------------------------------- batches


@pytest.mark.parametrize(("below", "version"), [("", "v1beta"), ("/v1", "v1"), ("/v1alpha/", "v1alpha")])
def test_calls_are_those_of_the_sdk_in_the_version_that_the_base_url_ends_with(below: str, version: str) -> None:
    stage = Stage()
    stage.play(submit, below)
    begin, part, look, create = stage.heard
    assert [request.line for request in stage.heard] == [
        f"POST /upload/{version}/files",
        f"POST /upload/{version}/files?upload_id=u1&upload_protocol=resumable",
        f"GET /{version}/{file_id_of('a.jsonl')}",
        f"POST /{version}/models/m:batchGenerateContent",
    ]
    assert begin.upload == {
        "protocol": "resumable",
        "command": "start",
        "header-content-length": str(len(lines())),
        "header-content-type": "application/jsonl",
    }
    assert part.upload == {"offset": "0", "command": "upload, finalize"}
    assert orjson.loads(begin.body) == {
        "file": {
            "name": file_id_of("a.jsonl"),
            "display_name": "a.jsonl",
            "mime_type": "application/jsonl",
            "size_bytes": len(lines()),
        }
    }
    assert orjson.loads(create.body) == {
        "batch": {"inputConfig": {"fileName": file_id_of("a.jsonl")}, "displayName": "t"}
    }
    assert all(request.key == KEY for request in (begin, look, create))


def test_a_batch_carries_our_tag_as_its_name_and_our_file() -> None:
    stage = Stage()
    made = stage.play(lambda provider: submit(provider, "tag-1"))
    (batch,) = stage.fake.made.values()
    assert (batch.display_name, batch.input_file, batch.endpoint) == (
        "tag-1",
        file_id_of("a.jsonl"),
        Endpoint.GENERATE,
    )
    assert (made.tag, made.input_file, made.model) == ("tag-1", file_id_of("a.jsonl"), "m")
    assert made.state is RemoteState.IN_PROGRESS


def test_embeddings_are_a_batch_of_their_own_kind() -> None:
    stage = Stage()

    async def story(provider: GeminiProvider) -> bytes:
        file_id = await upload(provider, data=lines(3, Endpoint.EMBED))
        made = await provider.create(submission(file_id, Endpoint.EMBED, Tag("t"), {}))
        stage.time += 100
        ended = (await provider.status([made.id]))[made.id]
        assert ended.output_file is not None
        blob = MemoryBlob()
        await provider.download(ended.output_file, blob)
        return bytes(blob.data)

    replies = [wire.read_line(line, Endpoint.EMBED) for line in stage.play(story).splitlines()]
    (create,) = [request for request in stage.heard if ":asyncBatchEmbedContent" in request.line]
    named = {"file_name": file_id_of("a.jsonl")}  # as the SDK writes it there, and nowhere else
    assert orjson.loads(create.body) == {"batch": {"inputConfig": named, "displayName": "t"}}
    assert [len(reply.vector or ()) for reply in replies] == [8, 8, 8]


def test_a_lost_batch_is_looked_for_on_every_page() -> None:
    stage = Stage()

    async def story(provider: GeminiProvider) -> None:
        mine = await submit(provider, "mine")
        for _ in range(250):
            stage.time += 1
            stage.fake.create(KEY, "m", "batchGenerateContent", ASKED)
        assert [batch.id for batch in await provider.find(Search(Tag("mine"), None, stage.time))] == [mine.id]
        assert [batch.id for batch in await provider.find(Search(Tag("x"), mine.input_file, START))] == [mine.id]
        assert await provider.find(Search(Tag("none"), None, START)) == []

    stage.play(story)
    assert stage.fake.calls.count("batches") == 3 * 3


ASKED = {
    "batch": {
        "input_config": {"requests": {"requests": [{"request": {"contents": [{"parts": [{"text": "x"}]}]}}]}},
        "display_name": "somebody else's",
    }
}


def test_a_list_that_leads_to_itself_is_no_complete_one(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage()
    monkeypatch.setattr(stage.fake, "batches", lambda *_: {"operations": [], "nextPageToken": "1"})
    failure = stage.failure(lambda provider: provider.find(Search(Tag("t"), None, START)))
    assert "does not go on" in failure.message


def test_the_cancel_of_a_batch_that_is_over_is_not_asked_for() -> None:
    stage = Stage()

    async def story(provider: GeminiProvider) -> None:
        made = await submit(provider)
        stage.time += 100
        assert await provider.cancel(made.id) is None

    stage.play(story)
    assert "cancel" not in stage.fake.calls


def test_an_account_is_known_by_the_batches_and_files_that_it_shows() -> None:
    stage = Stage()

    async def story(provider: GeminiProvider) -> None:
        file_id = await upload(provider)
        made = await provider.create(submission(file_id, Endpoint.GENERATE, Tag("t"), {}))
        account = await provider.identify(None, None, None)
        for batch, file in ((made.id, None), (None, file_id), (RemoteId("batches/none"), file_id)):
            assert await provider.identify(batch, file, account) == account
        for batch, file in ((RemoteId("batches/none"), None), (None, FileId("files/none"))):
            assert (await provider.identify(batch, file, account)).fingerprint != account.fingerprint

    stage.play(story)


@pytest.mark.parametrize(
    ("quirks", "state", "end", "kind"),
    [
        ({"window": 10.0}, RemoteState.ENDED, Outcome.EXPIRED, None),
        ({"pending": 900.0, "window": 600.0}, RemoteState.ENDED, Outcome.EXPIRED, None),
        ({"fails": "INVALID_ARGUMENT"}, RemoteState.FAILED, None, FailureKind.PERMANENT),
        ({"fails": "INTERNAL"}, RemoteState.FAILED, None, FailureKind.TRANSIENT),
        ({"fails": "NOT_FOUND"}, RemoteState.FAILED, None, FailureKind.FILE),
    ],
)
def test_ends_without_answers(
    quirks: dict[str, Any], state: RemoteState, end: Outcome | None, kind: FailureKind | None
) -> None:
    stage = Stage(**quirks)

    async def story(provider: GeminiProvider) -> RemoteBatch:
        made = await submit(provider)
        stage.time += 3_600
        return (await provider.status([made.id]))[made.id]

    ended = stage.play(story)
    assert (ended.state, ended.end, ended.output_file) == (state, end, None)
    assert (ended.failure.kind if ended.failure else None) is kind


# ------------------------------------------------------------------------------------------ answers


def answers(stage: Stage) -> bytes:
    async def story(provider: GeminiProvider) -> bytes:
        made = await submit(provider)
        stage.time += 100
        ended = (await provider.status([made.id]))[made.id]
        assert ended.output_file is not None
        blob = MemoryBlob()
        await provider.download(ended.output_file, blob)
        await provider.delete_file(ended.output_file)
        return bytes(blob.data)

    return stage.play(story)


@pytest.mark.parametrize("quirks", [{}, {"docs_path_only": True}, {"inline": True}, {"inline": True, "shuffled": True}])
def test_answers_come_by_either_path_or_in_the_batch_and_are_not_deleted_by_themselves(quirks: dict[str, Any]) -> None:
    stage = Stage(**quirks)
    replies = [wire.read_line(line, Endpoint.GENERATE) for line in answers(stage).splitlines()]
    assert sorted(reply.text or "" for reply in replies) == [f"say {number} é" for number in range(6)]
    assert "delete_file" not in stage.fake.calls


def test_a_file_with_fewer_lines_than_requests_is_told_from_a_whole_one() -> None:
    stage = Stage(missing_every=3)
    with pytest.raises(ProviderError) as raised:
        answers(stage)
    assert raised.value.failure.code == DOWNLOAD_SHORT
    assert stage.fake.calls.count("download") == 3


def test_inline_answers_without_keys_are_lines_without_keys() -> None:
    told = [orjson.loads(line) for line in answers(Stage(inline=True, keyless_every=2)).splitlines()]
    assert ["key" in line for line in told] == [True, False] * 3


def test_inline_answers_of_a_batch_that_is_gone_are_gone() -> None:
    inline = FileId(f"{wire.INLINE}batches/none")
    assert Stage().failure(lambda provider: provider.download(inline, MemoryBlob())).status == 404


def test_a_file_that_is_gone_counts_as_deleted() -> None:
    stage = Stage()

    async def story(provider: GeminiProvider) -> None:
        file_id = await upload(provider)
        await provider.delete_file(file_id)
        await provider.delete_file(file_id)

    stage.play(story)
    assert stage.fake.calls.count("delete_file") == 2


def test_the_record_of_a_batch_goes_with_its_answers() -> None:
    stage = Stage()

    async def story(provider: GeminiProvider) -> None:
        made = await submit(provider)
        stage.time += 100
        await provider.delete_batch(made.id)
        await provider.delete_batch(made.id)

    stage.play(story)
    assert (stage.fake.made, stage.fake.results) == ({}, {})
