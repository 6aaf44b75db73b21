"""The executor: answers rows through an upstream, one request at a time each. One per process, for all its batches.

Interactive requests take the next free slot; rows of the admitted batches follow, one of each in turn. A row keeps its
slot until its answer is in the journal, so after a crash at most `upstream.concurrency` rows run again.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import partial
from typing import Any

from overnight.engine.answers import Answer, answer_of, unreachable, unreadable
from overnight.engine.intake import Finished, Intake, Requests
from overnight.errors import ProviderError
from overnight.ports import Blobs, Clock, Journal, Upstream, UpstreamReply
from overnight.types import Counts, Outcome, Tokens
from overnight.wire.families import Refused, Upstreamed

ADMITTED = 32  # batches with open files; the others wait in order of arrival
TRIES = 5  # of one row, the first included
BACKOFF = (0.5, 30.0)  # seconds before the second try, and the most that doubling makes of it
RETRY_AFTER_MOST = 120.0  # seconds; an upstream that asks for more is asked again after that
ALARM = 60.0  # seconds between looks at the wall clock: it may have been set, or the machine have slept


class Executor:
    """See the module. `drain`: seconds that rows in flight may go on after their batch was canceled or has expired."""

    def __init__(
        self,
        upstream: Upstream,
        blobs: Blobs,
        journals: Callable[[str], Journal],
        clock: Clock,
        drain: float = 30.0,
    ) -> None:
        self._upstream = upstream
        self._blobs = blobs
        self._journals = journals
        self._clock = clock
        self._drain = drain
        self._free = upstream.concurrency
        self._asked: deque[asyncio.Future[None]] = deque()  # interactive requests that wait for a slot
        self._line: deque[Intake] = deque()  # batches that wait for admission
        self._admitted: deque[Intake] = deque()  # the next row comes from the leftmost that has one
        self._intakes: dict[str, Intake] = {}
        self._side_tasks: set[asyncio.Task[None]] = set()  # readers and drains
        self._stopping = False

    async def ask(self, endpoint: str, body: bytes) -> UpstreamReply:
        """Answer one interactive request, before any row that is not yet in flight. Not journaled, tried once.
        Raises `ProviderError` where no whole answer came."""
        await self._slot()
        try:
            return await self._upstream.answer(endpoint, body)
        finally:
            self._release()

    async def run(self, requests: Requests, end: Outcome | None = None) -> Finished:
        """Answer every row that the journal does not hold; return once the result files are published. With `end`
        (CANCELED, EXPIRED) no row runs and the files are made of what is there. Raises `LocalError` where the disk
        refused; then the same call may be made again. Canceling the call leaves everything for the next process."""
        intake = Intake(requests, self._blobs, self._journals)
        intake.end = end
        self._intakes[requests.id] = intake
        alarm = asyncio.create_task(self._alarm(intake))
        try:
            await self._admission(intake)
            await asyncio.to_thread(intake.open)
            self._read_and_pump(intake)
            intake.look()
            await intake.done
            return await asyncio.to_thread(intake.settle)
        finally:
            alarm.cancel()
            await self._dismiss(intake)

    def stop(self, batch_id: str, end: Outcome) -> None:
        """Close a batch's intake (end: CANCELED or EXPIRED): rows in flight go on up to the drain limit, those that
        wait for another try end at once. Nothing happens where it is closed already, or not here."""
        intake = self._intakes.get(batch_id)
        if intake is None or intake.closed:
            return
        intake.end = end
        for task in intake.waiting:
            task.cancel()
        if intake.tasks:
            self._aside(self._cut(intake))
        if not intake.turn.done():
            intake.turn.set_result(None)
        intake.look()

    def progress(self, batch_id: str) -> tuple[Counts, Tokens] | None:
        """Rows answered durably and their tokens, or None where the batch is not being answered here."""
        intake = self._intakes.get(batch_id)
        return None if intake is None else (intake.counts, intake.tokens)

    async def close(self, grace: float) -> None:
        """Start no further row and give those in flight up to `grace` seconds to be answered and journaled."""
        self._stopping = True
        for intake in self._intakes.values():
            for task in intake.waiting:
                task.cancel()
        tasks = [task for intake in self._intakes.values() for task in intake.tasks]
        if tasks:
            await asyncio.wait(tasks, timeout=grace)
        for task in (*tasks, *self._side_tasks):
            task.cancel()
        await asyncio.gather(*tasks, *self._side_tasks, return_exceptions=True)

    # ------------------------------------------------------------------------------------------ slots

    async def _slot(self) -> None:
        if self._free and not self._asked:
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._asked.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # granted and canceled in the same turn of the loop
                self._release()
            raise

    def _release(self) -> None:
        self._free += 1
        self._pump()

    def _pump(self) -> None:
        """Fill the free slots."""
        while self._free:
            if self._asked:
                turn = self._asked.popleft()
                if not turn.done():
                    self._free -= 1
                    turn.set_result(None)
            elif not self._start_row():
                return

    def _start_row(self) -> bool:
        """Start a row of the first batch in turn that has one; False: none has."""
        if self._stopping:
            return False
        for _ in range(len(self._admitted)):
            intake = self._admitted[0]
            self._admitted.rotate(-1)
            if (row := intake.take()) is not None:
                self._free -= 1
                task = asyncio.create_task(self._row(intake, *row))
                intake.tasks.add(task)
                task.add_done_callback(partial(self._row_done, intake, row))
                if intake.wants_rows:
                    self._read_and_pump(intake)
                return True
        return False

    def _row_done(self, intake: Intake, row: tuple[int, bytes], task: asyncio.Task[None]) -> None:
        intake.tasks.discard(task)
        if task.cancelled():
            intake.give_back(row)
        elif (failure := task.exception()) is not None:
            intake.fail(failure)
        self._release()
        intake.look()

    # ----------------------------------------------------------------------------------------- batches

    async def _admission(self, intake: Intake) -> None:
        self._line.append(intake)
        self._admit()
        if intake.end is None:
            await intake.turn
        if intake in self._line:  # closed before its turn
            self._line.remove(intake)

    def _admit(self) -> None:
        while self._line and len(self._admitted) < ADMITTED:
            intake = self._line.popleft()
            self._admitted.append(intake)
            if not intake.turn.done():
                intake.turn.set_result(None)

    async def _dismiss(self, intake: Intake) -> None:
        """Forget a batch whose call ends, well or not: stop its rows, close its files, admit the next."""
        for queue in (self._line, self._admitted):
            if intake in queue:
                queue.remove(intake)
        tasks = tuple(intake.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await intake.close()
        del self._intakes[intake.requests.id]
        self._admit()

    def _read_and_pump(self, intake: Intake) -> None:
        if not intake.reading:
            intake.reading = True
            self._aside(self._read(intake)).add_done_callback(partial(self._read_done, intake))

    async def _read(self, intake: Intake) -> None:
        while intake.wants_rows:
            await asyncio.to_thread(intake.read)

    def _read_done(self, intake: Intake, task: asyncio.Task[None]) -> None:
        intake.reading = False
        if not task.cancelled() and (failure := task.exception()) is not None:
            intake.fail(failure)
        self._pump()
        intake.look()

    async def _alarm(self, intake: Intake) -> None:
        """Close the intake when the batch's window closes, by the wall clock."""
        while (left := intake.requests.expires_at - self._clock.now()) > 0:
            await self._clock.sleep(min(left, ALARM))
        self.stop(intake.requests.id, Outcome.EXPIRED)

    async def _cut(self, intake: Intake) -> None:
        """End what is still in flight after the drain limit."""
        await self._clock.sleep(self._drain)
        for task in intake.tasks:
            task.cancel()

    def _aside(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._side_tasks.add(task)
        task.add_done_callback(self._side_tasks.discard)
        return task

    # -------------------------------------------------------------------------------------------- rows

    async def _row(self, intake: Intake, ordinal: int, line: bytes) -> None:
        family, endpoint, row_id = intake.family, intake.requests.endpoint, intake.row_id(ordinal)
        id, request_id = family.custom_id(line), row_id.replace("batch_req_", "req_")
        try:
            request = family.request(line, endpoint, intake.requests.model)
        except Refused as refusal:
            await intake.record(ordinal, False, None, family.refused(row_id, id, request_id, refusal))
            return
        answer = await self._tries(intake, request)
        request_id = answer.request_id or request_id
        try:
            result = family.result(row_id, id, answer.status, request_id, answer.body, endpoint)
        except ValueError:
            answer = replace(unreadable(), tokens=answer.tokens)  # it ran, and what it said cannot be told
            result = family.result(row_id, id, answer.status, request_id, answer.body, endpoint)
        await intake.record(ordinal, answer.succeeded, answer.tokens, result)

    async def _tries(self, intake: Intake, request: Upstreamed) -> Answer:
        """The answer of the first try that is none to be repeated, or of the last."""
        for tried in range(1, TRIES + 1):
            try:
                answer = answer_of(await self._upstream.answer(request.endpoint, request.body))
            except ProviderError as error:
                answer = unreachable(error.failure)
            if not answer.transient or tried == TRIES:
                return answer
            await self._wait(intake, self._pause(tried, answer.retry_after))
        raise AssertionError("the last try returns")

    async def _wait(self, intake: Intake, seconds: float) -> None:
        task = asyncio.current_task()
        assert task is not None
        intake.waiting.add(task)
        try:
            await self._clock.sleep(seconds)
        finally:
            intake.waiting.discard(task)

    def _pause(self, tried: int, asked: float | None) -> float:
        first, most = BACKOFF
        pause: float = min(first * 2 ** (tried - 1), most) * random.uniform(0.5, 1.0)
        return max(pause, min(asked or 0.0, RETRY_AFTER_MOST))
