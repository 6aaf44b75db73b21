"""The executor over real blobs and journals, with upstreams that are told what to answer."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overnight.blobs.files import FileBlobs
from overnight.blobs.journal import FileJournal
from overnight.clock import SystemClock
from overnight.engine.executor import ADMITTED, TRIES, Executor
from overnight.engine.intake import Finished, Requests
from overnight.errors import LocalError, ProviderError
from overnight.ports import UpstreamReply
from overnight.types import Counts, Failure, FailureKind, Outcome, Tokens

CHAT = "/v1/chat/completions"
DAY = 86_400.0


class QuickClock(SystemClock):
    """Real time; pauses between tries are noted, not slept through; a longer sleep (the alarm) ends by `advance`."""

    def __init__(self) -> None:
        self.pauses: list[float] = []
        self.offset = 0.0
        self.alarms: list[asyncio.Future[None]] = []

    def now(self) -> float:
        return super().now() + self.offset

    async def sleep(self, seconds: float) -> None:
        if seconds == DRAIN:
            return
        if seconds < 60:
            self.pauses.append(seconds)
            await asyncio.sleep(0)
            return
        alarm = asyncio.get_running_loop().create_future()
        self.alarms.append(alarm)
        await alarm

    def advance(self, seconds: float) -> None:
        self.offset += seconds
        for alarm in self.alarms:
            if not alarm.done():
                alarm.set_result(None)
        self.alarms.clear()


DRAIN = 7.0


class Asked:
    """An upstream that notes who runs and asks `say` for the reply."""

    name = "asked"

    def __init__(self, say: Callable[[str], Any], concurrency: int = 4) -> None:
        self.concurrency = concurrency
        self.ran: Counter[str] = Counter()
        self.order: list[str] = []
        self.running = 0
        self.most = 0
        self._say = say

    async def answer(self, endpoint: str, body: bytes) -> UpstreamReply:
        text = json.loads(body)["text"]
        self.ran[text] += 1
        self.order.append(text)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(0)
            reply = self._say(text)
            return await reply if isinstance(reply, Coroutine) else reply
        finally:
            self.running -= 1

    async def models(self) -> list[str]:
        return []

    async def start(self) -> None: ...

    async def close(self) -> None: ...


def ok(text: str, *, usage: bool = True) -> UpstreamReply:
    body: dict[str, Any] = {"id": "x", "choices": [{"message": {"content": text}}]}
    if usage:
        body["usage"] = {"prompt_tokens": 3, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 1}}
    return UpstreamReply(200, json.dumps(body).encode(), f"req_{text}")


def request(text: str) -> bytes:
    return json.dumps({"custom_id": f"id-{text}", "method": "POST", "url": CHAT, "body": {"text": text}}).encode()


class House:
    """A home, and executors that come and go in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.blobs = FileBlobs(root)
        self.clock = QuickClock()

    def write(self, name: str, content: bytes) -> Requests:
        with self.blobs.create(f"in/{name}") as writer:
            writer.write(content)
            writer.commit()
        names = (f"journals/{name}", f"out/{name}", f"err/{name}")
        return Requests(f"batch_{name}", CHAT, f"in/{name}", *names, expires_at=self.clock.now() + DAY)

    def batch(self, name: str, texts: list[str]) -> Requests:
        return self.write(name, b"".join(request(text) + b"\n" for text in texts))

    def executor(self, upstream: Asked, **more: Any) -> Executor:
        return Executor(upstream, self.blobs, lambda name: FileJournal(self.root / name), self.clock, DRAIN, **more)

    def lines(self, blob: str | None) -> list[dict[str, Any]]:
        if blob is None:
            return []
        content = (self.root / blob).read_bytes()
        assert content.endswith(b"\n")
        return [json.loads(line) for line in content.splitlines()]


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def ids(lines: list[dict[str, Any]]) -> list[str]:
    return sorted(line["custom_id"] for line in lines)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0)


def test_every_row_is_answered_once(house: House) -> None:
    texts = [f"t{i}" for i in range(1000)]
    upstream = Asked(ok)
    finished = asyncio.run(house.executor(upstream).run(house.batch("a", texts)))
    assert finished == Finished(
        Outcome.SUCCEEDED, Counts(1000, 1000), Tokens(3000, 1000, 2000), output="out/a", errors=None
    )
    lines = house.lines(finished.output)
    assert ids(lines) == sorted(f"id-{text}" for text in texts)
    assert len({line["id"] for line in lines}) == 1000
    assert upstream.ran == Counter(texts)
    assert upstream.most == upstream.concurrency
    line = next(line for line in lines if line["custom_id"] == "id-t7")
    assert line["response"]["request_id"] == "req_t7"
    assert line["response"]["body"]["choices"][0]["message"]["content"] == "t7"
    assert line["error"] is None


def test_blank_lines_are_no_rows_and_the_last_newline_may_be_missing(house: House) -> None:
    content = b"\n" + request("a") + b"\r\n  \n\n" + request("b\u2028") + b"\n" + request("c")
    finished = asyncio.run(house.executor(Asked(ok)).run(house.write("a", content)))
    assert ids(house.lines(finished.output)) == ["id-a", "id-b\u2028", "id-c"]


def test_rows_with_other_statuses_go_to_the_error_file(house: House) -> None:
    def say(text: str) -> UpstreamReply:
        return UpstreamReply(400, b'{"error":{"code":"bad"}}', None) if text == "bad" else ok(text)

    upstream = Asked(say)
    finished = asyncio.run(house.executor(upstream).run(house.batch("a", ["good", "bad"])))
    assert finished.counts == Counts(total=2, succeeded=1, errored=1)
    (error,) = house.lines(finished.errors)
    assert error["response"]["status_code"] == 400
    assert error["response"]["body"] == {"error": {"code": "bad"}}
    assert error["response"]["request_id"].startswith("req_")
    assert upstream.ran["bad"] == 1
    finished = asyncio.run(house.executor(upstream).run(house.batch("b", ["bad"])))
    assert finished.output is None


@pytest.mark.parametrize("status", [408, 409, 429, 500, 503, 529])
def test_a_passing_failure_is_tried_again(house: House, status: int) -> None:
    seen: Counter[str] = Counter()

    def say(text: str) -> UpstreamReply:
        seen[text] += 1
        return ok(text) if seen[text] == 3 else UpstreamReply(status, b'{"error":{}}', None, retry_after=9.0)

    finished = asyncio.run(house.executor(Asked(say)).run(house.batch("a", ["x"])))
    assert finished.counts.succeeded == 1
    assert house.clock.pauses == [9.0, 9.0]


def test_tries_end_and_pauses_grow(house: House) -> None:
    upstream = Asked(lambda _: UpstreamReply(503, b"<html>", None))
    finished = asyncio.run(house.executor(upstream).run(house.batch("a", ["x"])))
    assert upstream.ran["x"] == TRIES
    assert house.clock.pauses == sorted(house.clock.pauses)
    assert all(0 < pause <= 30 for pause in house.clock.pauses)
    (error,) = house.lines(finished.errors)
    assert error["response"]["status_code"] == 503
    assert error["response"]["body"]["error"]["type"] == "server_error"


@pytest.mark.parametrize(
    ("status", "code"), [(401, "invalid_api_key"), (404, "x"), (429, "insufficient_quota"), (500, "invalid_answer")]
)
def test_a_lasting_failure_is_not_tried_again(house: House, status: int, code: str) -> None:
    upstream = Asked(lambda _: UpstreamReply(status, json.dumps({"error": {"code": code}}).encode(), None))
    asyncio.run(house.executor(upstream).run(house.batch("a", ["x"])))
    assert upstream.ran["x"] == 1


def test_no_answer_is_a_row_with_a_gateway_error(house: House) -> None:
    def say(text: str) -> UpstreamReply:
        raise ProviderError(Failure(FailureKind.TRANSIENT, f"secret {text}"))

    finished = asyncio.run(house.executor(Asked(say)).run(house.batch("a", ["x"])))
    (error,) = house.lines(finished.errors)
    assert error["response"]["status_code"] == 502
    assert error["response"]["body"]["error"]["code"] == "upstream_unreachable"
    assert "secret" not in json.dumps(error)


def test_answers_are_brought_to_one_line_and_must_be_json(house: House) -> None:
    replies = {"pretty": b'{\n "a": "x y",\n "usage": {"input_tokens": 4}\n}', "torn": b'{"a":', "odd": b'{"usage":7}'}
    upstream = Asked(lambda text: UpstreamReply(200, replies[text], None))
    finished = asyncio.run(house.executor(upstream).run(house.batch("a", list(replies))))
    bodies = {line["custom_id"]: line["response"]["body"] for line in house.lines(finished.output)}
    assert bodies == {"id-pretty": {"a": "x y", "usage": {"input_tokens": 4}}, "id-odd": {"usage": 7}}
    assert finished.tokens == Tokens(input=4)
    (error,) = house.lines(finished.errors)
    assert error["response"]["status_code"] == 502


def test_after_a_kill_only_rows_in_flight_run_again(house: House) -> None:
    texts = [f"t{i}" for i in range(200)]
    upstream = Asked(ok)
    requests = house.batch("a", texts)

    async def killed() -> None:
        run = asyncio.create_task(house.executor(upstream).run(requests))
        await until(lambda: upstream.ran.total() > 90)
        run.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await run

    asyncio.run(killed())
    assert 90 < upstream.ran.total() < 200
    assert not list(house.blobs.list("out/"))
    finished = asyncio.run(house.executor(upstream).run(requests))
    assert finished.counts == Counts(200, 200)
    assert finished.tokens == Tokens(600, 200, 400)
    assert ids(house.lines(finished.output)) == sorted(f"id-{text}" for text in texts)
    assert upstream.ran.total() <= 200 + upstream.concurrency


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_journal_cut_anywhere_is_completed(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    house = House(tmp_path_factory.mktemp("home"))
    texts = [f"t{i}" for i in range(12)]
    requests = house.batch("a", texts)
    good = data.draw(st.sets(st.sampled_from(texts)))
    upstream = Asked(lambda text: ok(text) if text in good else UpstreamReply(400, b"{}", None))
    whole = asyncio.run(house.executor(upstream).run(requests))
    journal = house.root / requests.journal
    content = journal.read_bytes()
    cut = data.draw(st.integers(0, len(content)))
    journal.write_bytes(content[:cut])
    left = 12 - content[:cut].count(b"\n")
    upstream.ran.clear()
    again = asyncio.run(house.executor(upstream).run(requests))
    assert again == whole
    assert upstream.ran.total() == left
    assert ids(house.lines(again.output)) == sorted(f"id-{text}" for text in good)


def test_a_cancel_closes_the_intake_and_keeps_what_is_in_flight(house: House) -> None:
    gate = asyncio.Event()

    async def held(text: str) -> UpstreamReply:
        await gate.wait()
        return ok(text)

    upstream = Asked(lambda text: ok(text) if text in ("t0", "t1") else held(text))

    async def play() -> Finished:
        executor = house.executor(upstream)
        run = asyncio.create_task(executor.run(house.batch("a", [f"t{i}" for i in range(20)])))
        await until(lambda: upstream.ran.total() == 6)
        executor.stop("batch_a", Outcome.CANCELED)
        gate.set()
        return await run

    house.clock.sleep = forever_but_quick(house.clock)  # type: ignore[method-assign]
    finished = asyncio.run(play())
    assert finished.end is Outcome.CANCELED
    assert finished.counts == Counts(total=20, succeeded=6, canceled=14)
    assert ids(house.lines(finished.output)) == sorted(f"id-t{i}" for i in range(6))
    errors = house.lines(finished.errors)
    assert len(errors) == 14
    assert {line["error"]["code"] for line in errors} == {"batch_cancelled"}
    assert all(line["response"] is None for line in errors)


def forever_but_quick(clock: QuickClock) -> Callable[[float], Coroutine[Any, Any, None]]:
    """A sleep that never returns: neither drain limit nor alarm comes."""

    async def sleep(_: float) -> None:
        await asyncio.get_running_loop().create_future()

    return sleep


def test_rows_that_wait_or_hang_end_with_a_cancel(house: House) -> None:
    async def hang(_: str) -> UpstreamReply:
        await asyncio.Event().wait()
        raise AssertionError

    upstream = Asked(lambda text: hang(text) if text == "hangs" else UpstreamReply(503, b"{}", None, retry_after=100))

    async def play() -> Finished:
        executor = house.executor(upstream)
        run = asyncio.create_task(executor.run(house.batch("a", ["hangs", "waits", "third"])))
        await until(lambda: upstream.ran.total() == 3)
        await until(lambda: len(house.clock.alarms) == 3)
        executor.stop("batch_a", Outcome.CANCELED)
        return await run

    finished = asyncio.run(play())
    assert finished.counts == Counts(total=3, canceled=3)
    assert upstream.ran.total() == 3


def test_a_row_that_waits_for_another_try_is_not_awaited(house: House) -> None:
    house.clock.sleep = forever_but_quick(house.clock)  # type: ignore[method-assign]
    upstream = Asked(lambda _: UpstreamReply(503, b"{}", None))

    async def play() -> Finished:
        executor = house.executor(upstream)
        run = asyncio.create_task(executor.run(house.batch("a", ["x", "y"])))
        await until(lambda: upstream.ran.total() == 2 and not upstream.running)
        await asyncio.sleep(0)
        executor.stop("batch_a", Outcome.CANCELED)
        return await asyncio.wait_for(run, 20)

    assert asyncio.run(play()).counts == Counts(total=2, canceled=2)


def test_a_batch_expires_by_the_clock(house: House) -> None:
    gate = asyncio.Event()

    async def held(text: str) -> UpstreamReply:
        await gate.wait()
        return ok(text)

    upstream = Asked(lambda text: ok(text) if text == "t0" else held(text), concurrency=2)

    async def play() -> Finished:
        executor = house.executor(upstream)
        run = asyncio.create_task(executor.run(house.batch("a", [f"t{i}" for i in range(9)])))
        await until(lambda: upstream.ran.total() == 3 and bool(house.clock.alarms))
        assert executor.progress("batch_a") == (Counts(succeeded=1), Tokens(3, 1, 2))
        house.clock.advance(DAY + 1)
        finished = await run
        assert executor.progress("batch_a") is None
        return finished

    finished = asyncio.run(play())
    assert finished.end is Outcome.EXPIRED
    assert finished.counts == Counts(total=9, succeeded=1, expired=8)
    assert {line["error"]["code"] for line in house.lines(finished.errors)} == {"batch_expired"}


def test_all_answered_is_succeeded_whatever_was_asked(house: House) -> None:
    requests = house.batch("a", ["x"])
    upstream = Asked(ok)
    asyncio.run(house.executor(upstream).run(requests))
    finished = asyncio.run(house.executor(upstream).run(requests, Outcome.CANCELED))
    assert (finished.end, finished.counts) == (Outcome.SUCCEEDED, Counts(1, 1))
    assert upstream.ran.total() == 1


def test_batches_take_turns_and_interactive_requests_go_first(house: House) -> None:
    upstream = Asked(ok, concurrency=1)

    async def play() -> None:
        executor = house.executor(upstream)
        runs = [
            asyncio.create_task(executor.run(house.batch(name, [f"{name}{i}" for i in range(50)]))) for name in "ab"
        ]
        await until(lambda: upstream.ran.total() == 20)
        reply = await executor.ask(CHAT, b'{"text":"now"}')
        assert reply.status == 200
        await asyncio.gather(*runs)

    asyncio.run(play())
    assert upstream.order.index("now") <= 22
    rows = [text for text in upstream.order if text != "now"]
    both = rows[min(rows.index("a0"), rows.index("b0")) : 60]
    later = both[both.index("b0") :] if "b0" in both else both
    assert abs(sum(t[0] == "a" for t in later) - sum(t[0] == "b" for t in later)) <= 2


def test_interactive_requests_wait_for_slots_and_give_them_back(house: House) -> None:
    gate = asyncio.Event()

    async def held(text: str) -> UpstreamReply:
        await gate.wait()
        return ok(text)

    upstream = Asked(held, concurrency=2)

    async def play() -> None:
        executor = house.executor(upstream)
        asks = [asyncio.create_task(executor.ask(CHAT, b'{"text":"%d"}' % i)) for i in range(5)]
        await until(lambda: upstream.running == 2)
        asks[3].cancel()
        asks[0].cancel()
        gate.set()
        replies = await asyncio.gather(*asks, return_exceptions=True)
        assert [isinstance(reply, UpstreamReply) for reply in replies] == [False, True, True, False, True]
        assert (await executor.ask(CHAT, b'{"text":"more"}')).status == 200

    asyncio.run(play())
    assert upstream.most == 2


def test_a_slot_granted_to_a_canceled_request_is_given_back(house: House) -> None:
    gate = asyncio.Event()

    async def held(text: str) -> UpstreamReply:
        await gate.wait()
        return ok(text)

    upstream = Asked(held, concurrency=1)

    async def play() -> None:
        executor = house.executor(upstream)

        async def first() -> None:
            await executor.ask(CHAT, b'{"text":"first"}')
            second.cancel()  # it has the slot, and does not know it yet

        running = asyncio.create_task(first())
        await until(lambda: upstream.running == 1)
        second = asyncio.create_task(executor.ask(CHAT, b'{"text":"second"}'))
        await asyncio.sleep(0)
        gate.set()
        await running
        await asyncio.wait_for(executor.ask(CHAT, b'{"text":"third"}'), 20)

    asyncio.run(play())
    assert upstream.order == ["first", "third"]


def test_more_batches_than_are_admitted_all_end_and_a_waiting_one_is_canceled_at_once(house: House) -> None:
    gate = asyncio.Event()

    async def held(text: str) -> UpstreamReply:
        await gate.wait()
        return ok(text)

    upstream = Asked(held)

    async def play() -> None:
        executor = house.executor(upstream)
        names = [f"b{i:02}" for i in range(ADMITTED + 3)]
        runs = {n: asyncio.create_task(executor.run(house.batch(n, [f"{n}-{i}" for i in range(2)]))) for n in names}
        await until(lambda: upstream.running == upstream.concurrency)
        executor.stop(f"batch_{names[-1]}", Outcome.CANCELED)
        last = await runs[names[-1]]
        assert last.counts == Counts(total=2, canceled=2)
        gate.set()
        assert all(run.counts == Counts(2, 2) for run in (await asyncio.gather(*runs.values()))[:-1])

    asyncio.run(play())


def test_a_full_disk_stops_the_batch_and_the_next_run_goes_on(house: House) -> None:
    class FullAfter(FileJournal):
        left = 5

        async def append(self, line: bytes) -> tuple[int, int]:
            self.left -= 1
            if self.left < 0:
                raise LocalError("disk full")
            return await super().append(line)

    upstream = Asked(ok)
    requests = house.batch("a", [f"t{i}" for i in range(30)])

    async def play() -> None:
        executor = Executor(upstream, house.blobs, lambda name: FullAfter(house.root / name), house.clock)
        with pytest.raises(LocalError, match="disk full"):
            await executor.run(requests)
        assert executor.progress("batch_a") is None

    asyncio.run(play())
    assert upstream.ran.total() < 15
    finished = asyncio.run(house.executor(upstream).run(requests))
    assert finished.counts == Counts(30, 30)
    assert upstream.ran.total() <= 30 + upstream.concurrency


def test_closing_journals_what_is_in_flight_and_starts_nothing(house: House) -> None:
    gate = asyncio.Event()

    async def held(text: str) -> UpstreamReply:
        await gate.wait()
        return ok(text)

    upstream = Asked(held)
    requests = house.batch("a", [f"t{i}" for i in range(30)])

    async def play() -> None:
        executor = house.executor(upstream)
        run = asyncio.create_task(executor.run(requests))
        await until(lambda: upstream.running == 4)
        closing = asyncio.create_task(executor.close(grace=60))
        await asyncio.sleep(0)
        gate.set()
        await closing
        assert not run.done()
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)

    asyncio.run(play())
    assert upstream.ran.total() == 4
    asyncio.run(house.executor(upstream).run(requests))
    assert upstream.ran == Counter(f"t{i}" for i in range(30))


def test_closing_cuts_the_last_rows_without_losing_them(house: House) -> None:
    async def hang(_: str) -> UpstreamReply:
        await asyncio.Event().wait()
        raise AssertionError

    requests = house.batch("a", ["x", "y"])

    async def play() -> None:
        upstream = Asked(hang)
        executor = house.executor(upstream)
        run = asyncio.create_task(executor.run(requests))
        await until(lambda: upstream.running == 2)
        await executor.close(grace=0)
        for _ in range(20):
            await asyncio.to_thread(int)
        assert not run.done()
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)

    asyncio.run(play())
    finished = asyncio.run(house.executor(Asked(ok)).run(requests))
    assert finished.counts == Counts(2, 2)
