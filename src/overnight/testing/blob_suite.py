"""What every Blobs must do. A test module makes a subclass whose name starts with `Test`. Needs pytest."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping

import pytest

from overnight.errors import InvariantError, LocalError
from overnight.ports import Blobs


class BlobSuite(ABC):
    """A subclass gives blobs over one place, empty at the start of each test, and a look past them."""

    @abstractmethod
    def open(self) -> Blobs:
        """Blobs over the test's place: each call stands for another process."""

    @abstractmethod
    def stored(self) -> Mapping[str, bytes]:
        """Everything that lies in the place, unfinished things included, seen without the blobs."""

    def test_a_blob_is_there_when_it_is_committed_and_not_before(self) -> None:
        blobs, other = self.open(), self.open()
        with blobs.create("jobs/j/a.jsonl") as writer:
            assert writer.write(b"one\n") == 4
            assert writer.write(memoryview(b"two\n")) == 4
            assert writer.tell() == 8
            assert other.size("jobs/j/a.jsonl") is None
            assert list(other.list("")) == []
            with pytest.raises(LocalError):
                other.open("jobs/j/a.jsonl")
            writer.commit()
            assert other.size("jobs/j/a.jsonl") == 8
        assert self.stored() == {"jobs/j/a.jsonl": b"one\ntwo\n"}
        with other.open("jobs/j/a.jsonl") as file:
            assert file.readline() == b"one\n"
            assert file.read() == b"two\n"

    def test_leaving_without_commit_leaves_nothing(self) -> None:
        blobs = self.open()
        with blobs.create("a") as writer:
            writer.write(b"x" * 1_000_000)

        def fail() -> None:
            with blobs.create("b") as writer:
                writer.write(b"x")
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()
        assert self.stored() == {}

    def test_the_last_commit_of_a_name_holds(self) -> None:
        blobs, other = self.open(), self.open()
        with blobs.create("a") as first, other.create("a") as second:
            first.write(b"first")
            second.write(b"second")
            second.commit()
            with blobs.open("a") as reading:
                first.commit()
                assert reading.read() == b"second"
        assert self.stored() == {"a": b"first"}

    def test_an_empty_blob_is_a_blob(self) -> None:
        blobs = self.open()
        with blobs.create("empty") as writer:
            writer.commit()
        assert blobs.size("empty") == 0
        assert list(blobs.list("e")) == ["empty"]

    def test_reading_anywhere_from_several_threads(self) -> None:
        blobs = self.open()
        content = bytes(range(256)) * 2000
        with blobs.create("a") as writer:
            writer.write(content)
            writer.commit()
        reader = blobs.reader("a")
        wrong: list[int] = []

        def read(start: int) -> None:
            offsets = range(start, len(content), 40_009)
            wrong.extend(at for at in offsets if reader.read_at(at, 5_000) != content[at : at + 5_000])

        threads = [threading.Thread(target=read, args=(n * 1009,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert reader.read_at(len(content) - 3, 10) == content[-3:]
        assert reader.read_at(len(content) + 3, 10) == b""
        reader.close()
        with pytest.raises(LocalError):
            blobs.reader("missing")

    def test_names_are_listed_by_prefix_in_order(self) -> None:
        blobs = self.open()
        names = ["a/b", "a/c/d", "a-b/x", "a.jsonl", "ab", "b/a", "a/b.jsonl"]
        for name in names:
            with blobs.create(name) as writer:
                writer.commit()
        assert list(blobs.list("")) == sorted(names)
        for prefix in ("a", "a/", "a/b", "a/c/", "a-", "b", "zzz", "zzz/a"):
            assert list(blobs.list(prefix)) == sorted(name for name in names if name.startswith(prefix))

    def test_a_deleted_blob_is_gone_and_an_open_file_of_it_still_reads(self) -> None:
        blobs = self.open()
        with blobs.create("a/b") as writer:
            writer.write(b"x")
            writer.commit()
        with blobs.open("a/b") as file:
            blobs.delete("a/b")
            assert file.read() == b"x"
        blobs.delete("a/b")
        assert blobs.size("a/b") is None
        assert self.stored() == {}

    @pytest.mark.parametrize(
        "name", ["", "/etc/x", "../x", "a/../../x", "a//b", "a/", "./a", ".hidden", "a\0b", "a\\b", "a\nb", "a" * 300]
    )
    def test_a_name_cannot_lead_outside(self, name: str) -> None:
        blobs = self.open()
        for use in (blobs.create, blobs.open, blobs.reader, blobs.size, blobs.delete):
            with pytest.raises(InvariantError):
                use(name)
        with pytest.raises(InvariantError):
            list(blobs.list("../"))
        assert self.stored() == {}

    def test_what_is_left_on_the_disk_is_told(self) -> None:
        free = self.open().free()
        assert free is None or free >= 0
