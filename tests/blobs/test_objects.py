"""Blobs in an object store hold to what all blobs hold to."""

from __future__ import annotations

from collections.abc import Mapping

import obstore
import pytest
from obstore.store import MemoryStore

from overnight.blobs.objects import PIECE, ObjectBlobs
from overnight.testing.blob_suite import BlobSuite


class TestInMemory(BlobSuite):
    @pytest.fixture(autouse=True)
    def place(self) -> None:
        self.store = MemoryStore()

    def open(self) -> ObjectBlobs:
        return ObjectBlobs(self.store, "memory/")

    def stored(self) -> Mapping[str, bytes]:
        names = [meta["path"] for page in obstore.list(self.store) for meta in page]
        return {name: bytes(obstore.get(self.store, name).bytes()) for name in names}


def test_a_blob_of_several_pieces_is_one_object() -> None:
    blobs = ObjectBlobs(MemoryStore())
    content = bytes(range(251)) * (2 * PIECE // 251 + 1000)
    with blobs.create("a/big") as writer:
        for start in range(0, len(content), 100_000):
            writer.write(content[start : start + 100_000])
        assert blobs.size("a/big") is None
        writer.commit()
    assert blobs.size("a/big") == len(content)
    with blobs.open("a/big") as file:
        assert file.read() == content
    reader = blobs.reader("a/big")
    assert reader.read_at(PIECE - 5, 10) == content[PIECE - 5 : PIECE + 5]
