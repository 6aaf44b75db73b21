import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from overnight.blobs.journal import FileJournal
from overnight.errors import LocalError
from overnight.testing.journal_suite import JournalSuite
from tests.blobs.small_disk import small_disk


class TestFileJournal(JournalSuite):
    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.path = tmp_path / "journals" / "b.jsonl"

    def open(self) -> FileJournal:
        return FileJournal(self.path)

    def stored(self) -> bytes:
        return self.path.read_bytes()

    def spill(self, data: bytes) -> None:
        with self.path.open("ab") as file:
            file.write(data)


def test_a_line_is_read_by_its_place(tmp_path: Path) -> None:
    async def play() -> None:
        journal = FileJournal(tmp_path / "j")
        await journal.append(b"one")
        place = await journal.append(b"two")
        assert journal.read(*place) == b"two"
        assert journal.length == 8
        await journal.close()

    asyncio.run(play())
    assert (tmp_path / "j").stat().st_mode & 0o777 == 0o600


def test_a_journal_has_one_writer(tmp_path: Path) -> None:
    async def play() -> None:
        first = FileJournal(tmp_path / "j")
        await first.append(b"one")
        with pytest.raises(LocalError, match=f"another process writes this journal .{tmp_path}/j.: stop it"):
            FileJournal(tmp_path / "j")
        await first.close()
        second = FileJournal(tmp_path / "j")
        assert list(second.replay()) == [(0, b"one")]
        await second.close()

    asyncio.run(play())


def test_one_journal_serves_one_loop_after_another(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path / "j")
    for n in range(3):
        assert asyncio.run(journal.append(b"x")) == (2 * n, 1)
    asyncio.run(journal.close())


def test_a_full_disk_fails_all_that_wait_and_is_mended_by_opening_again(tmp_path: Path) -> None:
    line = b"x" * 1000

    async def play(disk: Path) -> None:
        journal = FileJournal(disk / "j")
        told = await asyncio.gather(*(journal.append(line) for _ in range(1000)), return_exceptions=True)
        stored = [place for place in told if isinstance(place, tuple)]
        refused = [error for error in told if isinstance(error, LocalError)]
        assert stored
        assert refused
        assert len(stored) + len(refused) == 1000
        assert all("free some space" in str(error) and str(disk / "j") in str(error) for error in refused)
        assert (disk / "j").stat().st_size == len(stored) * 1001 == journal.length
        with pytest.raises(LocalError):
            await journal.append(b"small")
        assert len(list(journal.replay())) == len(stored)
        await journal.close()

        again = FileJournal(disk / "j")
        assert await again.append(b"small") == (len(stored) * 1001, 5)
        await again.close()

    with small_disk(tmp_path / "disk", "512k") as disk:
        asyncio.run(play(disk))


KILLED = """
import asyncio, sys
from pathlib import Path
from overnight.blobs.journal import FileJournal
async def main():
    journal = FileJournal(Path(sys.argv[1]))
    async def rows(n):
        while True:
            place = await journal.append(f"{n} {journal.length}".encode() * 20)
            print(*place, flush=True)
    await asyncio.gather(*map(rows, range(16)))
asyncio.run(main())
"""


def test_what_append_returned_from_is_there_after_a_kill(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path / "j")], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in range(500)]
        process.send_signal(signal.SIGKILL)
        told += process.stdout.read().splitlines(keepends=True)
    places = {tuple(map(int, line.split())) for line in told if line.endswith("\n")}
    assert len(places) >= 500

    async def play() -> None:
        journal = FileJournal(tmp_path / "j")
        assert places <= {(offset, len(line)) for offset, line in journal.replay()}
        await journal.close()

    asyncio.run(play())
