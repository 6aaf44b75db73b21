"""Anthropic's adapter over HTTP: what it sends, and what it makes of what comes."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from overnight.errors import ProviderError
from overnight.ports import DOWNLOAD_SHORT, Search
from overnight.providers.anthropic import AnthropicProvider
from overnight.testing.anthropic_fake import KEY, FakeAnthropic, Quirks
from overnight.testing.anthropic_server import application, serving
from overnight.testing.examples import submission
from overnight.testing.provider_suite import MemoryBlob, input_lines
from overnight.testing.serving import served
from overnight.types import Endpoint, Failure, FailureKind, FileId, RemoteBatch, RemoteId, RemoteState, Tag
from overnight.wire import anthropic as wire
from tests.providers.worlds import no_sleep

START = 1_800_000_000.0
LINES = input_lines(4, spoken="anthropic", endpoint=Endpoint.MESSAGES)


class Stage:
    """A fake, its time, and every request that reached it."""

    def __init__(self, quirks: Quirks = Quirks(), **settings: Any) -> None:  # noqa: B008
        self.time = START
        self.fake = FakeAnthropic(lambda: self.time, quirks, **settings)
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []

    def tell(self, story: Callable[[AnthropicProvider], Awaitable[Any]], key: str = KEY, **settings: Any) -> Any:
        """What the story returns, told to an adapter over HTTP."""

        def watched() -> web.Application:
            app = application(self.fake)

            @web.middleware
            async def watch(request: web.Request, handler: Any) -> web.StreamResponse:
                headers = {name.lower(): value for name, value in request.headers.items()}
                self.requests.append((request.method, request.path_qs, headers, await request.read()))
                return await handler(request)

            app.middlewares.append(watch)
            return app

        async def told(url: str) -> Any:
            provider = AnthropicProvider(key, url, **{"sleep": no_sleep, "now": self.fake.now, **settings})
            try:
                return await story(provider)
            finally:
                await provider.close()

        with served(watched) as url:
            return asyncio.run(told(url))


def failure_of(stage: Stage, story: Callable[[AnthropicProvider], Awaitable[Any]]) -> Failure:
    with pytest.raises(ProviderError) as raised:
        stage.tell(story)
    return raised.value.failure


async def created(provider: AnthropicProvider, lines: bytes = LINES) -> RemoteBatch:
    return await provider.create(submission(None, Endpoint.MESSAGES, Tag("t"), {}, lines))


async def ended(stage: Stage, provider: AnthropicProvider) -> RemoteBatch:
    batch = await created(provider)
    stage.time += 3_600
    return (await provider.status([batch.id]))[batch.id]


def test_a_create_is_one_array_of_the_shards_lines_with_its_exact_length():
    stage = Stage()
    stage.tell(created)
    ((method, path, headers, body),) = stage.requests
    assert (method, path) == ("POST", "/v1/messages/batches")
    assert json.loads(body) == {"requests": [json.loads(line) for line in LINES.splitlines()]}
    assert headers["content-length"] == str(len(body)) == str(len(LINES) + 14)
    assert headers["content-type"] == "application/json"
    assert "transfer-encoding" not in headers


@pytest.mark.parametrize("length", [1, 7, 1 << 19, (1 << 19) + 1, 3_000_000])
def test_a_create_of_any_length_is_sent_whole(length):
    text = "x" * length
    body = json.dumps({"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": text}]}).encode()
    lines = b"".join(wire.request_line(f"row-{number}", Endpoint.MESSAGES, body) for number in range(3))
    stage = Stage()
    assert stage.tell(lambda provider: created(provider, lines)).counts.total == 3
    assert [row.params["messages"][0]["content"] == text for row in next(iter(stage.fake.made.values())).rows] == [
        True
    ] * 3


def test_both_ways_to_authorize_and_the_versions():
    stage = Stage()
    stage.tell(created)
    stage.tell(created, bearer=True, version="2026-10-21", betas=("output-300k-2026-03-24", "other"))
    plain, bearer = (headers for _, _, headers, _ in stage.requests)
    assert (plain["x-api-key"], plain["anthropic-version"]) == (KEY, "2023-06-01")
    assert not {"authorization", "anthropic-beta"} & plain.keys()
    assert (bearer["authorization"], bearer["anthropic-version"]) == (f"Bearer {KEY}", "2026-10-21")
    assert bearer["anthropic-beta"] == "output-300k-2026-03-24,other"
    assert "x-api-key" not in bearer


@pytest.mark.parametrize("behind", [0.0, 7_200.0, -7_200.0])
def test_a_lost_batch_is_looked_for_by_the_providers_clock(behind):
    stage = Stage()

    async def story(provider: AnthropicProvider) -> list[int]:
        await created(provider)
        ours = stage.time - behind
        found = []
        for since, until, rows in ((-60, 60, 4), (-60, 60, 5), (-900, -600, 4), (600, 900, 4)):
            search = Search(Tag("t"), None, ours + since, ours + until, rows=rows)
            found.append(len(await provider.find(search)))
        return found

    assert stage.tell(story, now=lambda: stage.time - behind) == [1, 0, 0, 0]


def test_the_search_ends_where_the_list_is_older_than_the_window():
    stage = Stage()

    async def story(provider: AnthropicProvider) -> int:
        for _ in range(5):
            await created(provider)
            stage.time += 86_400
        stage.fake.calls.clear()
        provider._calls._limit = "1"  # pages of one
        return len(await provider.find(Search(Tag("t"), None, stage.time - 90_000, stage.time, rows=4)))

    assert stage.tell(story) == 1
    assert stage.fake.calls.count("batches") == 3  # the clock, one within the window, one before it


def test_results_are_fetched_from_our_own_base_url_whatever_they_are_said_to_be_at():
    stage = Stage(Quirks(foreign_url=True))

    async def story(provider: AnthropicProvider) -> bytes:
        batch = await ended(stage, provider)
        blob = MemoryBlob()
        assert batch.output_file is not None
        await provider.download(batch.output_file, blob)
        return bytes(blob.data)

    assert stage.tell(story).count(b"\n") == 4
    assert stage.requests[-1][1].endswith(f"/{next(iter(stage.fake.made))}/results")


@pytest.mark.parametrize(
    ("quirks", "code", "came"),
    [
        (Quirks(missing_every=2), DOWNLOAD_SHORT, 2),
        (Quirks(empty_results=True), DOWNLOAD_SHORT, 0),
        (Quirks(cut_downloads=frozenset({0, 1, 2})), "download_cut", None),
        (Quirks(cut_downloads=frozenset({0, 1})), None, 4),
        (Quirks(cut_downloads=frozenset({0, 1}), cut_cleanly=True), None, 4),
    ],
)
def test_results_are_whole_or_said_not_to_be(quirks, code, came):
    stage = Stage(quirks)

    async def story(provider: AnthropicProvider) -> tuple[str | None, bytes]:
        batch = await ended(stage, provider)
        assert batch.output_file is not None
        blob = MemoryBlob()
        try:
            await provider.download(batch.output_file, blob)
        except ProviderError as error:
            return error.failure.code, bytes(blob.data)
        return None, bytes(blob.data)

    told, data = stage.tell(story)
    assert told == code
    assert came is None or data.count(b"\n") == came
    assert stage.fake.calls.count("results") == 3


def test_results_that_are_not_found_are_late_until_they_are_archived():
    stage = Stage(Quirks(results_lag=7_200.0))

    async def story(provider: AnthropicProvider) -> list[Failure]:
        batch = await ended(stage, provider)
        assert batch.output_file is not None
        output, plain = batch.output_file, stage.fake.batch

        async def failures() -> list[Failure]:
            told = []
            for call in (provider.download(output, MemoryBlob()), provider.first_id(batch)):
                with pytest.raises(ProviderError) as raised:
                    await call
                told.append(raised.value.failure)
            return told

        late = await failures()
        stage.fake.batch = lambda key, id: {**plain(key, id), "archived_at": "2027-02-15T08:00:00Z"}
        gone = await failures()
        stage.fake.batch = plain
        with pytest.raises(ProviderError) as raised:
            await provider.download(FileId("results:msgbatch_gone"), MemoryBlob())
        return [*late, *gone, raised.value.failure]

    *late, gone, gone_too, unknown = stage.tell(story)
    assert [(failure.kind, failure.status) for failure in late] == [(FailureKind.TRANSIENT, None)] * 2
    assert [failure.status for failure in (gone, gone_too, unknown)] == [404] * 3


def test_the_first_id_is_read_and_the_rest_left():
    text = "x" * 200_000
    stage = Stage(answering=lambda chat: text)

    async def story(provider: AnthropicProvider) -> str | None:
        batch = await ended(stage, provider)
        first = await provider.first_id(batch)
        stage.fake.quirks = replace(stage.fake.quirks, empty_results=True)
        assert await provider.first_id(batch) is None
        return first

    assert stage.tell(story) == "suiterun-000000003-00"


def test_a_batch_that_is_not_seen_yet_is_left_out():
    stage = Stage(Quirks(list_lag=20.0))

    async def story(provider: AnthropicProvider) -> tuple[int, int]:
        ids = [(await created(provider)).id for _ in range(2)]
        before = len(await provider.status(ids)) + len(await provider.status(ids[:1]))
        stage.time += 20
        return before, len(await provider.status(ids))

    assert stage.tell(story) == (0, 2)


@pytest.mark.parametrize("refused", [True, False])
def test_the_cancel_of_a_batch_that_is_over(refused):
    stage = Stage(Quirks(cancel_refused=refused))

    async def story(provider: AnthropicProvider) -> tuple[RemoteBatch | None, RemoteBatch | None]:
        running = await provider.cancel((await created(provider)).id)
        return running, await provider.cancel((await ended(stage, provider)).id)

    running, over = stage.tell(story)
    assert running is not None
    assert running.state is RemoteState.CANCELING
    assert over is None


def test_the_record_of_a_batch_that_runs_is_not_deleted():
    stage = Stage()

    async def story(provider: AnthropicProvider) -> None:
        await provider.delete_batch((await created(provider)).id)

    failure = failure_of(stage, story)
    assert "cannot delete the batch" in failure.message
    assert "In progress batches" in failure.message
    assert stage.fake.deleted == []


@pytest.mark.parametrize(
    ("quirks", "kind", "proves"),
    [
        (Quirks(most_bytes=100), FailureKind.PERMANENT, True),
        (Quirks(spend_limit_after=0), FailureKind.ACCOUNT, True),
        (Quirks(bursts=frozenset({0})), FailureKind.TRANSIENT, False),
        (Quirks(failed_creates=frozenset({0})), FailureKind.TRANSIENT, False),
        (Quirks(lost_creates=frozenset({0})), FailureKind.TRANSIENT, False),
    ],
)
def test_a_create_that_fails_is_asked_for_once(quirks, kind, proves):
    stage = Stage(quirks)
    failure = failure_of(stage, created)
    assert (failure.kind, failure.proves_refusal) == (kind, proves)
    assert stage.fake.calls == ["create"]
    assert KEY not in failure.message


def test_the_account_is_organisation_and_workspace_or_our_own_servers_home():
    named = Stage().tell(lambda provider: provider.identify(None, None, None))
    assert (named.organization, named.project) == ("org-fake", "wrkspc-fake")

    async def asked(provider: AnthropicProvider) -> tuple[Any, bool]:
        return await provider.identify(None, None, None), provider.short_polling

    own, short = Stage(Quirks(home="abc", names_account=False)).tell(asked)
    assert (own.base_url, short) == ("overnight:abc", True)
    assert Stage().tell(asked)[1] is False


def test_base_urls_with_and_without_the_version_are_the_same():
    with serving(FakeAnthropic(lambda: START)) as url:
        for given in (url, f"{url}/", f"{url}/v1", f"{url}/v1/"):
            provider = AnthropicProvider(KEY, given, sleep=no_sleep)

            async def story(provider: AnthropicProvider = provider) -> str:
                try:
                    return (await provider.identify(None, None, None)).base_url
                finally:
                    await provider.close()

            assert asyncio.run(story()) == url


def test_there_are_no_files():
    async def story(provider: AnthropicProvider) -> None:
        assert await provider.upload(lambda: io.BytesIO(b""), 0, "a.jsonl") is None
        assert await provider.find_files("a.jsonl") == ()
        await provider.delete_file(FileId("results:x"))
        await provider.delete_batch(RemoteId("msgbatch_none"))

    stage = Stage()
    stage.tell(story)
    assert stage.fake.calls == ["delete"]
