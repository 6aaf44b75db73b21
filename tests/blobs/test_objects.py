"""Blobs in an object store hold to what all blobs hold to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import obstore
import pytest
from obstore.store import MemoryStore

from overnight.blobs.objects import PIECE, ObjectBlobs, google_bucket
from overnight.errors import ProviderError
from overnight.testing.blob_suite import BlobSuite
from overnight.testing.vertex_fake import BUCKET, TOKEN, FakeVertex, Quirks
from overnight.testing.vertex_server import serving
from overnight.types import FailureKind


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


class TestInABucket(BlobSuite):
    """Over HTTP, against the loopback fake of Cloud Storage."""

    @pytest.fixture(autouse=True)
    def place(self) -> Iterator[None]:
        self.fake = FakeVertex(lambda: 0.0)
        with serving(self.fake) as self.url:
            yield

    def open(self) -> ObjectBlobs:
        return google_bucket(BUCKET, self.url, lambda: {"token": TOKEN, "expires_at": None})

    def stored(self) -> Mapping[str, bytes]:
        return {name.removeprefix(f"gs://{BUCKET}/"): data for name, data in self.fake.stored.items()}

    def test_many_names_are_listed_page_by_page(self) -> None:
        names = [f"many/{number:05d}" for number in range(1200)]
        self.fake.stored |= {f"gs://{BUCKET}/{name}": b"" for name in names}
        assert list(self.open().list("many/")) == names

    def test_a_big_blob_goes_in_pieces_and_is_seen_when_it_is_whole(self) -> None:
        blobs, content = self.open(), bytes(range(251)) * (PIECE // 251 + 1000)
        with blobs.create("big") as writer:
            writer.write(content)
        assert self.stored() == {}
        with blobs.create("big") as writer:
            writer.write(content)
            writer.commit()
        assert self.stored() == {"big": content}

    @pytest.mark.parametrize(
        ("bucket", "token", "told"), [(BUCKET, "other", "not allowed"), ("other-bucket", TOKEN, "no such bucket")]
    )
    def test_who_may_not_write_is_told_so(self, bucket: str, token: str, told: str) -> None:
        blobs = google_bucket(bucket, self.url, lambda: {"token": token, "expires_at": None})
        with blobs.create("a") as writer, pytest.raises(ProviderError, match=told) as raised:
            writer.commit()
        assert raised.value.failure.kind is FailureKind.ACCOUNT
        assert "other" not in raised.value.failure.message.replace("gs://other-bucket", "")

    def test_nothing_of_the_environment_changes_where_it_goes_or_what_it_carries(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.setenv("GOOGLE_BEARER_TOKEN", "another")
        monkeypatch.setenv("GOOGLE_SKIP_SIGNATURE", "true")
        monkeypatch.setenv("GOOGLE_BASE_URL", "http://127.0.0.1:9")
        with self.open().create("a") as writer:
            writer.commit()
        credential = {"token": TOKEN, "expires_at": None}
        with google_bucket(BUCKET, self.url, lambda: credential, "http://127.0.0.1:9").create("b") as writer:
            writer.commit()  # our own proxy is never used on loopback
        assert self.stored() == {"a": b"", "b": b""}

    def test_a_service_that_is_busy_for_a_moment_is_asked_again(self) -> None:
        blobs = self.open()
        self.fake.quirks = Quirks(bursts=frozenset({0, 2}))
        with blobs.create("a") as writer:
            writer.write(b"x")
            writer.commit()
        assert blobs.size("a") == 1

    def test_a_read_that_is_cut_is_read_again(self) -> None:
        blobs = self.open()
        with blobs.create("a") as writer:
            writer.write(b"0123456789" * 1000)
            writer.commit()
        self.fake.quirks = Quirks(cut_downloads=frozenset({0}))
        assert blobs.reader("a").read_at(5, 9000) == (b"0123456789" * 1000)[5:9005]
