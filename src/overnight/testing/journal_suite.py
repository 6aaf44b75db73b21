"""What every Journal must do. A test module makes a subclass whose name starts with `Test`. Needs pytest."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable

import pytest

from overnight.errors import InvariantError
from overnight.ports import Journal

Scenario = Callable[[Journal], Awaitable[None]]


class JournalSuite(ABC):
    """A subclass gives the journal of one place, empty at the start of each test, and a look past it."""

    @abstractmethod
    def open(self) -> Journal:
        """The journal of the test's place."""

    @abstractmethod
    def stored(self) -> bytes:
        """Its bytes, seen without it."""

    @abstractmethod
    def spill(self, data: bytes) -> None:
        """Add bytes behind its end, as a process that is killed in the middle of a write may."""

    def play(self, scenario: Scenario) -> None:
        """Run it with the journal, and close that."""

        async def play() -> None:
            journal = self.open()
            try:
                await scenario(journal)
            finally:
                await journal.close()

        asyncio.run(play())

    def test_a_line_is_stored_when_append_returns(self) -> None:
        async def scenario(journal: Journal) -> None:
            assert await journal.append(b"one") == (0, 3)
            assert self.stored() == b"one\n"
            assert await journal.append(b"") == (4, 0)
            assert await journal.append("two é \u2028\r".encode()) == (5, 11)
            assert self.stored() == "one\n\ntwo é \u2028\r\n".encode()
            assert list(journal.replay()) == [(0, b"one"), (4, b""), (5, "two é \u2028\r".encode())]

        self.play(scenario)

    def test_lines_of_many_at_once_are_all_there_each_in_its_place(self) -> None:
        lines = [str(n).encode() * (n % 7 + 1) for n in range(2000)]

        async def scenario(journal: Journal) -> None:
            places = await asyncio.gather(*(journal.append(line) for line in lines))
            stored = self.stored()
            assert [stored[offset : offset + length + 1] for offset, length in places] == [
                line + b"\n" for line in lines
            ]
            assert len(stored) == sum(len(line) + 1 for line in lines)
            assert sorted(journal.replay()) == sorted(zip((offset for offset, _ in places), lines, strict=True))

        self.play(scenario)

    def test_all_of_it_is_there_after_another_start(self) -> None:
        async def write(journal: Journal) -> None:
            await asyncio.gather(*(journal.append(b"x" * n) for n in range(300)))

        async def read(journal: Journal) -> None:
            assert sorted(line for _, line in journal.replay()) == [b"x" * n for n in range(300)]
            offset, length = await journal.append(b"more")
            assert self.stored()[offset : offset + length + 1] == b"more\n"

        self.play(write)
        self.play(read)

    @pytest.mark.parametrize("torn", [b"x", b'{"half": ', b"y" * 200_000])
    @pytest.mark.parametrize("whole", [[], [b"one"], [b"one", b"z" * 100_000]])
    def test_a_torn_tail_is_cut(self, whole: list[bytes], torn: bytes) -> None:
        async def write(journal: Journal) -> None:
            for line in whole:
                await journal.append(line)

        async def read(journal: Journal) -> None:
            assert [line for _, line in journal.replay()] == whole
            before = self.stored()
            assert await journal.append(b"next") == (len(before), 4)
            assert self.stored() == before + b"next\n"

        self.play(write)
        self.spill(torn)
        self.play(read)

    def test_a_canceled_append_takes_no_other_with_it(self) -> None:
        async def scenario(journal: Journal) -> None:
            tasks = [asyncio.ensure_future(journal.append(str(n).encode())) for n in range(500)]
            await asyncio.sleep(0)
            for task in tasks[::2]:
                task.cancel()
            told = await asyncio.gather(*tasks, return_exceptions=True)
            stored = self.stored()
            for n, place in enumerate(told):
                if isinstance(place, tuple):
                    assert stored[place[0] :].startswith(str(n).encode() + b"\n")
            assert all(isinstance(place, tuple) for place in told[1::2])

        self.play(scenario)

    def test_a_line_is_one_line(self) -> None:
        async def scenario(journal: Journal) -> None:
            with pytest.raises(InvariantError):
                await journal.append(b"one\ntwo")
            assert self.stored() == b""

        self.play(scenario)

    def test_replay_holds_what_was_there_when_it_began(self) -> None:
        async def scenario(journal: Journal) -> None:
            await journal.append(b"one")
            replay = journal.replay()
            assert next(replay) == (0, b"one")
            await journal.append(b"two")
            assert list(replay) == []

        self.play(scenario)

    def test_a_closed_journal_takes_nothing(self) -> None:
        async def scenario(journal: Journal) -> None:
            waiting = asyncio.ensure_future(journal.append(b"one"))
            await asyncio.sleep(0)
            await journal.close()
            assert await waiting == (0, 3)
            with pytest.raises(InvariantError):
                await journal.append(b"two")
            assert self.stored() == b"one\n"

        self.play(scenario)
