"""What the OpenAI provider does besides the suite: accounts, paging, cut files, faults, every known quirk."""

import asyncio
import io
from dataclasses import replace

import pytest

from overnight.errors import ProviderError
from overnight.ports import Search
from overnight.providers.openai import OpenAIProvider, account_of
from overnight.testing.examples import submission
from overnight.testing.openai_fake import BEST, KEY, FakeFile, FakeOpenAI, Quirks
from overnight.testing.openai_server import serving
from overnight.testing.provider_suite import MemoryBlob, input_lines
from overnight.types import Endpoint, FailureKind, FileId, Outcome, RemoteId, RemoteState, Tag
from overnight.wire.custom_ids import custom_id
from overnight.wire.jsonl import lines
from overnight.wire.openai import list_object, read_line

START = 1_800_000_000.0


class Stage:
    """A fake, its clock, and a provider over HTTP whose waits let the clock go on."""

    def __init__(self, quirks=BEST, key=KEY, **settings):
        self.time = START
        self.fake = FakeOpenAI(lambda: self.time, quirks, **settings)
        self.key = key
        self.waits = []

    async def sleep(self, seconds):
        self.waits.append(seconds)
        self.time += seconds

    def set(self, **quirks):
        self.fake.quirks = replace(self.fake.quirks, **quirks)

    def fill(self):
        """Somebody else's batch in the list."""
        self.fake.create(KEY, {"input_file_id": "f", "endpoint": Endpoint.CHAT, "completion_window": "24h"})

    def play(self, story):
        async def told(url):
            provider = OpenAIProvider(self.key, url, sleep=self.sleep, jitter=lambda: 1.0)
            try:
                return await story(provider)
            finally:
                await provider.close()

        with serving(self.fake) as url:
            return asyncio.run(told(url))


async def upload(provider, rows=6, filename="a.jsonl"):
    data = input_lines(rows)
    return await provider.upload(lambda: io.BytesIO(data), len(data), filename)


async def submit(provider, rows=6, tag="t"):
    return await provider.create(submission(await upload(provider, rows), Endpoint.CHAT, Tag(tag), {"n": "1"}))


async def answers(provider, batch):
    """Replies by file, and the number of malformed lines."""
    found, malformed = {"output": [], "error": []}, 0
    for name, file_id in (("output", batch.output_file), ("error", batch.error_file)):
        if file_id is None:
            continue
        blob = MemoryBlob()
        await provider.download(file_id, blob)
        for _, _, line in lines([bytes(blob.data)]):
            try:
                found[name].append(read_line(line, Endpoint.CHAT))
            except ValueError:
                malformed += 1
    return found, malformed


def failure_of(stage, story):
    with pytest.raises(ProviderError) as raised:
        stage.play(story)
    return raised.value.failure


# ------------------------------------------------------------------------------------------- the account


def test_the_account_is_what_the_headers_name():
    stage = Stage()
    account = stage.play(lambda provider: provider.identify(None, None, None))
    assert (account.provider, account.organization) == ("openai", "org-fake")
    assert len(account.fingerprint) == 16
    stage.fake.accounts = {"sk-2": "org-2"}
    stage.key = "sk-2"
    other = stage.play(lambda provider: provider.identify(None, None, account))
    assert other.organization == "org-2"
    assert other.fingerprint != account.fingerprint


def test_our_own_server_is_known_by_its_home_on_any_port():
    stage = Stage(Quirks(home="home-1", names_account=False))

    async def story(provider):
        assert not provider.short_polling
        account = await provider.identify(None, None, None)
        assert provider.short_polling
        return account

    first, second = stage.play(story), stage.play(story)
    assert first == second
    assert first.base_url == "overnight:home-1"
    stage.set(home="home-2")
    assert stage.play(story).fingerprint != first.fingerprint


def test_where_nobody_names_the_account_a_batch_known_to_be_ours_tells():
    stage = Stage(Quirks(names_account=False))
    stage.fake.accounts = {KEY: "one", "sk-2": "two"}

    async def ours(provider):
        account = await provider.identify(None, None, None)
        batch = await submit(provider)
        assert await provider.identify(batch.id, None, account) == account
        assert await provider.identify(None, batch.input_file, account) == account
        assert await provider.identify(batch.id, FileId("file-gone"), account) == account
        assert await provider.identify(RemoteId("batch_gone"), batch.input_file, account) == account
        return account, batch

    account, batch = stage.play(ours)
    stage.key = "sk-2"

    async def theirs(provider):
        stranger = await provider.identify(batch.id, batch.input_file, account)
        assert stranger.fingerprint != account.fingerprint
        assert stranger.organization is None

    # the same fake behind the same URL: only the key differs
    stage.play(theirs)


def test_a_fingerprint_depends_on_every_part_and_on_nothing_else():
    parts = ("openai", "https://a/v1", "org", "proj")
    assert account_of(*parts) == account_of(*parts)
    others = [account_of(*parts[:n], "other", *parts[n + 1 :]) for n in range(4)]
    assert len({each.fingerprint for each in [account_of(*parts), *others]}) == 5


# ------------------------------------------------------------------------------------------- finding


def test_a_listing_goes_back_as_far_as_the_window_and_not_further():
    stage = Stage()

    async def story(provider):
        first = await submit(provider, 1, "wanted")
        for _ in range(250):
            stage.fill()
            stage.time += 10
        last = await submit(provider, 1, "wanted")
        stage.fake.calls.clear()
        found = await provider.find(Search(Tag("wanted"), None, START))
        assert [batch.id for batch in found] == [first.id, last.id]
        assert stage.fake.calls.count("batches") == 3
        stage.fake.calls.clear()
        found = await provider.find(Search(Tag("wanted"), None, stage.time - 60))
        assert [batch.id for batch in found] == [last.id]
        assert stage.fake.calls.count("batches") == 1

    stage.play(story)


def test_a_listing_in_another_order_is_read_to_its_end():
    stage = Stage()
    newest_first = stage.fake.batches

    def oldest_first(key, after, limit):
        every = newest_first(key, None, 100)["data"][::-1]
        start = [each["id"] for each in every].index(after) + 1 if after else 0
        return list_object(every[start : start + 4], has_more=start + 4 < len(every))

    async def story(provider):
        for _ in range(10):
            stage.fill()
            stage.time += 1_000
        batch = await submit(provider, 1, "wanted")
        stage.fake.batches = oldest_first
        assert [each.id for each in await provider.find(Search(Tag("wanted"), None, stage.time))] == [batch.id]

    stage.play(story)


def test_a_listing_that_goes_in_circles_is_no_listing():
    stage = Stage()
    once = stage.fake.batches

    async def story(provider):
        stage.fill()
        stage.fake.batches = lambda key, after, limit: once(key, None, limit) | {"has_more": True}
        await provider.find(Search(Tag("t"), None, START))

    assert "list" in failure_of(stage, story).message


def test_a_listing_that_fails_half_way_is_no_listing():
    stage = Stage()

    async def story(provider):
        for _ in range(150):
            stage.fill()
        calls = len(stage.fake.calls)
        stage.set(bursts=frozenset(range(calls + 1, calls + 20)))
        await provider.find(Search(Tag("t"), None, START))

    failure = failure_of(stage, story)
    assert (failure.kind, failure.status) == (FailureKind.TRANSIENT, 503)


def test_a_batch_that_is_not_listed_yet_is_found_later():
    stage = Stage(Quirks(list_lag=20, lost_creates=frozenset({0})))

    async def story(provider):
        file_id = await upload(provider)
        with pytest.raises(ProviderError):
            await provider.create(submission(file_id, Endpoint.CHAT, Tag("t"), {}))
        assert await provider.find(Search(Tag("t"), file_id, START)) == []
        stage.time += 20
        assert len(await provider.find(Search(Tag("t"), file_id, START))) == 1

    stage.play(story)


def test_status_of_many_is_asked_by_list():
    stage = Stage()

    async def story(provider):
        made = [(await submit(provider, 1)).id for _ in range(20)]
        stage.fake.calls.clear()
        assert set(await provider.status(made)) == set(made)
        assert stage.fake.calls == ["batches"]
        stage.fake.calls.clear()
        assert set(await provider.status(made[:1])) == set(made[:1])
        assert stage.fake.calls == ["batch"]

    stage.play(story)


def test_batches_far_back_in_the_list_are_asked_for_one_by_one():
    stage = Stage()

    async def story(provider):
        old = [(await submit(provider, 1)).id for _ in range(2)]
        for _ in range(300):
            stage.fill()
        stage.fake.calls.clear()
        assert set(await provider.status(old)) == set(old)
        assert sorted(stage.fake.calls) == ["batch", "batch", "batches"]

    stage.play(story)


# ------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize("cleanly", [False, True])
@pytest.mark.parametrize(("cuts", "whole"), [({0}, True), ({0, 1}, True), ({0, 1, 2}, False)])
def test_a_download_is_tried_three_times(cleanly, cuts, whole):
    stage = Stage(Quirks(cut_downloads=frozenset(cuts), cut_cleanly=cleanly))

    async def story(provider):
        batch = await submit(provider, 50)
        stage.time += 100
        ended = (await provider.status([batch.id]))[batch.id]
        blob = MemoryBlob()
        stored = stage.fake.stored[ended.output_file].data
        if whole:
            await provider.download(ended.output_file, blob)
            assert bytes(blob.data) == stored
        else:
            with pytest.raises(ProviderError) as raised:
                await provider.download(ended.output_file, blob)
            code = "download_short" if cleanly else "download_cut"
            assert (raised.value.failure.code, raised.value.failure.kind) == (code, FailureKind.TRANSIENT)
            assert stored.startswith(bytes(blob.data))
        assert stage.fake.calls.count("content") == min(3, len(cuts) + 1)

    stage.play(story)


@pytest.mark.parametrize("data", [b"<html>a page</html>\n", b'{"a":1}\n{"b":', b""])
def test_what_is_no_json_to_its_end_is_no_answer_file(data):
    stage = Stage()
    stage.fake.stored["file-x"] = FakeFile("file-x", "org-fake", "x.jsonl", "batch_output", data, START)

    async def story(provider):
        blob = MemoryBlob()
        if data:
            with pytest.raises(ProviderError):
                await provider.download(FileId("file-x"), blob)
        else:
            await provider.download(FileId("file-x"), blob)

    stage.play(story)


def test_a_last_line_needs_no_newline():
    stage = Stage()
    stage.fake.stored["file-x"] = FakeFile("file-x", "org-fake", "x.jsonl", "batch_output", b'{"a":1}\n{"b":2}', START)
    stage.play(lambda provider: provider.download(FileId("file-x"), MemoryBlob()))


def test_a_file_that_changes_between_two_tries_is_not_put_together():
    stage = Stage(Quirks(cut_downloads=frozenset({0})))
    old, new = (FakeFile("file-x", "org-fake", "x.jsonl", "batch_output", b'{"a":%d}\n' % n * 9, START) for n in (1, 2))
    stage.fake.stored["file-x"] = old

    async def change(seconds):
        stage.fake.stored["file-x"] = new

    stage.sleep = change
    failure = failure_of(stage, lambda provider: provider.download(FileId("file-x"), MemoryBlob()))
    assert failure.code == "download_cut"


def test_an_upload_whose_answer_was_lost_is_made_again_and_both_are_found():
    stage = Stage(Quirks(lost_uploads=frozenset({0})))

    async def story(provider):
        file_id = await upload(provider, filename="once.jsonl")
        found = await provider.find_files("once.jsonl")
        assert file_id in found
        assert len(found) == 2

    stage.play(story)


def test_a_burst_of_errors_is_waited_out():
    stage = Stage(Quirks(bursts=frozenset({0, 1})))
    account = stage.play(lambda provider: provider.identify(None, None, None))
    assert account.organization == "org-fake"
    assert stage.waits == [1.0, 2.0]


def test_a_file_with_another_name_is_refused_for_good():
    failure = failure_of(Stage(), lambda provider: upload(provider, filename="a.csv"))
    assert (failure.kind, failure.proves_refusal) == (FailureKind.PERMANENT, True)
    assert ".jsonl" in failure.message


# ------------------------------------------------------------------------------------------- creates


@pytest.mark.parametrize(
    ("quirk", "accepted"), [("lost_creates", 1), ("failed_creates", 1), ("late_creates", 0), ("repeated_creates", 2)]
)
def test_a_create_leaves_once_whatever_becomes_of_its_answer(quirk, accepted):
    stage = Stage(Quirks(**{quirk: {0: 30.0} if quirk == "late_creates" else frozenset({0})}))

    async def story(provider):
        file_id = await upload(provider)
        create = provider.create(submission(file_id, Endpoint.CHAT, Tag("t"), {}))
        if quirk == "repeated_creates":
            await create
        else:
            with pytest.raises(ProviderError) as raised:
                await create
            assert not raised.value.failure.proves_refusal
        assert stage.fake.calls.count("create") == 1
        assert len(stage.fake.made) == accepted
        stage.time += 60
        assert len(await provider.find(Search(Tag("t"), None, START))) == max(1, accepted)

    stage.play(story)


@pytest.mark.parametrize(("orphans", "made"), [("fail", 1), ("drop", 0)])
def test_a_late_create_behind_the_fence_runs_nothing(orphans, made):
    stage = Stage(Quirks(late_creates={0: 30.0}, late_orphans=orphans))

    async def story(provider):
        file_id = await upload(provider)
        with pytest.raises(ProviderError):
            await provider.create(submission(file_id, Endpoint.CHAT, Tag("t"), {}))
        await provider.delete_file(file_id)
        stage.time += 1_000
        found = await provider.find(Search(Tag("t"), file_id, START))
        assert [batch.state for batch in found] == [RemoteState.FAILED] * made

    stage.play(story)
    assert stage.fake.invoice() == 0
    assert stage.fake.executions == []


# ------------------------------------------------------------------------------------------- the known quirks


def ended_under(quirks, rows=6, after=1_000.0, cancel_after=None, **settings):
    """The batch as it ended, its replies by file, malformed lines, and the stage."""
    stage = Stage(quirks, **settings)

    async def story(provider):
        batch = await submit(provider, rows)
        if cancel_after is not None:
            stage.time += cancel_after
            await provider.cancel(batch.id)
        stage.time += after
        ended = (await provider.status([batch.id]))[batch.id]
        return ended, *(await answers(provider, ended))

    return *stage.play(story), stage


def kinds(replies):
    return [reply.kind for reply in replies]


def test_o1_completed_without_an_output_file():
    ended, found, _, stage = ended_under(Quirks(all_fail=True))
    assert (ended.end, ended.output_file, ended.counts.errored) == (Outcome.SUCCEEDED, None, 6)
    assert kinds(found["error"]) == [FailureKind.PERMANENT] * 6
    assert stage.fake.invoice() == 0


def test_o2_rows_that_are_in_no_file_or_of_status_0():
    ended, found, _, stage = ended_under(Quirks(missing_every=2, zero_every=3))
    assert ended.counts.succeeded == 6
    assert len(found["output"]) == 2
    assert kinds(found["error"]) == [FailureKind.MISSING]
    assert sum(reply.ran for reply in found["output"] + found["error"]) == 3
    assert len([done for done in stage.fake.executions if done.tokens]) == 6
    assert stage.fake.invoice() > 0


def test_o3_results_in_two_files():
    _, found, _, _ = ended_under(Quirks(error_every=3, overlap_every=2))
    ids = {name: [reply.custom_id for reply in replies] for name, replies in found.items()}
    assert set(ids["output"]) | set(ids["error"]) == {custom_id("suiterun", n, 0) for n in range(6)}
    assert len(set(ids["output"]) & set(ids["error"])) == 2


def test_o4_a_file_that_is_not_seen_at_once_is_waited_for():
    ended, _, _, stage = ended_under(Quirks(file_lag=5))
    assert ended.end is Outcome.SUCCEEDED
    assert sum(stage.waits) >= 5
    ended, _, _, _ = ended_under(Quirks(file_lag=500), after=0)
    assert (ended.state, ended.failure.kind) == (RemoteState.FAILED, FailureKind.FILE)


def test_o5_the_enqueued_token_limit_after_accepting_and_at_once():
    ended, _, _, stage = ended_under(Quirks(token_limit=5, validating=30))
    assert (ended.state, ended.failure.kind) == (RemoteState.FAILED, FailureKind.QUOTA)
    assert stage.fake.invoice() == 0
    failure = failure_of(Stage(Quirks(token_limit=5, token_limit_at_create=True)), submit)
    assert (failure.kind, failure.proves_refusal) == (FailureKind.QUOTA, True)
    ended, _, _, _ = ended_under(Quirks(token_limit=100))
    assert ended.end is Outcome.SUCCEEDED


def test_o6_an_expired_batch_keeps_its_part():
    ended, found, _, stage = ended_under(Quirks(window=31), takes=60)
    assert ended.end is Outcome.EXPIRED
    assert (ended.counts.total, ended.counts.succeeded, ended.counts.errored) == (6, 3, 0)
    assert len(found["output"]) == 3
    assert {reply.outcome for reply in found["error"]} == {Outcome.EXPIRED}
    assert len(stage.fake.executions) == 3


@pytest.mark.parametrize(("loses", "kept"), [(False, 3), (True, 0)])
def test_o7_a_canceled_batch_with_and_without_what_was_finished(loses, kept):
    ended, found, _, stage = ended_under(Quirks(cancel_loses=loses), cancel_after=31)
    assert (ended.end, ended.counts.succeeded) == (Outcome.CANCELED, kept)
    assert len(found["output"]) == kept
    assert {reply.outcome for reply in found["error"]} == {Outcome.CANCELED}
    assert len(found["error"]) == 3
    assert len(stage.fake.executions) == 3


def test_o8_cancelling_takes_its_time():
    ended, _, _, _ = ended_under(Quirks(cancel_takes=600), cancel_after=10, after=599)
    assert ended.state is RemoteState.CANCELING
    ended, _, _, _ = ended_under(Quirks(cancel_takes=600), cancel_after=10, after=600)
    assert ended.end is Outcome.CANCELED


def test_o9_an_empty_file_id():
    ended, found, _, _ = ended_under(Quirks(empty_ids=True))
    assert ended.error_file is None
    assert len(found["output"]) == 6


def test_o10_a_model_that_is_missing_is_permanent_by_row():
    _, found, _, _ = ended_under(Quirks(model_missing=True))
    assert {(reply.kind, reply.status) for reply in found["error"]} == {(FailureKind.PERMANENT, 404)}


def test_o11_the_billing_limit_inside_a_batch_is_the_accounts():
    _, found, _, stage = ended_under(Quirks(quota_after=2))
    assert len(found["output"]) == 2
    assert kinds(found["error"]) == [FailureKind.ACCOUNT] * 4
    assert len([done for done in stage.fake.executions if done.tokens]) == 2


def test_o12_cancel_of_a_finished_batch_is_asked_once():
    stage = Stage()

    async def story(provider):
        batch = await submit(provider)
        stage.time += 1_000
        assert await provider.cancel(batch.id) is None

    stage.play(story)
    assert stage.fake.calls.count("cancel") == 1


def test_o14_states_come_late_or_never():
    stage = Stage(Quirks(validating=100, finalizing=50), takes=60)

    async def story(provider):
        batch = await submit(provider)
        seen = []
        for seconds in (0, 99, 1, 60, 49, 1):
            stage.time += seconds
            seen.append((await provider.status([batch.id]))[batch.id].raw_status)
        assert seen == ["validating", "validating", "in_progress", "finalizing", "finalizing", "completed"]

    stage.play(story)
    ended, _, _, _ = ended_under(Quirks())
    assert ended.raw_status == "completed"


@pytest.mark.parametrize("where", ["upload", "create", "validation"])
def test_o15_too_large_wherever_it_is_said(where):
    quirks = Quirks(most_bytes=100, too_large=where)
    if where == "validation":
        ended, _, _, _ = ended_under(quirks)
        failure = ended.failure
    else:
        failure = failure_of(Stage(quirks), submit)
    assert (failure.kind, failure.proves_refusal) == (FailureKind.PERMANENT, True)
    assert "large" in failure.message


@pytest.mark.parametrize(
    ("word", "kind", "output", "error", "malformed", "ran"),
    [
        ("ok", None, 1, 0, 0, True),
        ("truncated", FailureKind.TRUNCATED, 1, 0, 0, True),
        ("refused", FailureKind.REFUSED, 1, 0, 0, True),
        ("filtered", FailureKind.REFUSED, 1, 0, 0, True),
        ("empty", FailureKind.EMPTY, 1, 0, 0, True),
        ("invalid", None, 1, 0, 0, True),
        ("missing", None, 0, 0, 0, True),
        ("zero", FailureKind.MISSING, 0, 1, 0, True),
        ("duplicate", None, 2, 0, 0, True),
        ("foreign", None, 2, 0, 0, True),
        ("malformed", None, 0, 0, 1, True),
        ("400", FailureKind.PERMANENT, 0, 1, 0, False),
        ("429", FailureKind.TRANSIENT, 0, 1, 0, False),
        ("500", FailureKind.TRANSIENT, 0, 1, 0, False),
        ("quota", FailureKind.ACCOUNT, 0, 1, 0, False),
    ],
)
def test_how_a_row_can_end(word, kind, output, error, malformed, ran):
    ended, found, bad, stage = ended_by_word(word)
    assert (len(found["output"]), len(found["error"]), bad) == (output, error, malformed)
    assert set(kinds(found["output"] + found["error"])) <= {kind}
    (done,) = stage.fake.executions
    assert (done.tokens is not None) == ran
    assert (done.cost > 0) == ran
    assert stage.fake.invoice() == done.cost
    assert ended.usage == (done.tokens or type(ended.usage)())


def ended_by_word(word):
    stage = Stage(rows=lambda ordinal, attempt: word)

    async def story(provider):
        batch = await submit(provider, 1)
        stage.time += 100
        ended = (await provider.status([batch.id]))[batch.id]
        return ended, *(await answers(provider, ended))

    return *stage.play(story), stage


def test_the_log_knows_what_ran_twice():
    stage = Stage()

    async def story(provider):
        file_id = await upload(provider, 3)
        for tag in ("a", "b"):
            await provider.create(submission(file_id, Endpoint.CHAT, Tag(tag), {}))
        stage.time += 100
        await provider.status([RemoteId("batch_x")])

    stage.play(story)
    assert stage.fake.executed_twice() == [custom_id("suiterun", n, 0) for n in range(3)]
    assert stage.fake.answered_twice() == [("suiterun", n) for n in range(3)]
    assert len(stage.fake.paid_batches()) == 2
    assert stage.fake.invoice() == sum(done.cost for done in stage.fake.executions)
