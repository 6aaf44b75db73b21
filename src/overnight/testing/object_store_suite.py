"""What every ObjectStore must do. A test module makes a subclass whose name starts with `Test`. Needs pytest."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import pytest

from overnight.errors import Conflict
from overnight.ports import ObjectStore, Stored

Scenario = Callable[[ObjectStore, ObjectStore], Awaitable[None]]


class ObjectStoreSuite(ABC):
    """A subclass gives stores over one place, empty at the start of each test."""

    @abstractmethod
    def open_objects(self) -> ObjectStore:
        """A store over the test's place: each call stands for another process."""

    def play_objects(self, scenario: Scenario) -> None:
        """Run it with two processes' stores."""

        async def play() -> None:
            stores = self.open_objects(), self.open_objects()
            try:
                await scenario(*stores)
            finally:
                for store in stores:
                    await store.close()

        asyncio.run(play())

    def test_a_document_comes_back_as_it_was(self) -> None:
        async def scenario(store: ObjectStore, other: ObjectStore) -> None:
            document = b'{"text": "\xc3\xa9\xe2\x80\xa8"}\x00'
            stored = await store.insert("file", "t", "f1", "uploaded", 12.5, document)
            assert (stored.version, stored.state, stored.created_at, stored.doc) == (0, "uploaded", 12.5, document)
            assert await other.get("file", "t", "f1") == stored
            assert await other.get("file", None, "f1") == stored
            for kind, tenant, id_ in (("file", "u", "f1"), ("batch", "t", "f1"), ("file", "t", "f2")):
                assert await other.get(kind, tenant, id_) is None

        self.play_objects(scenario)

    def test_pages_over_all_tenants_whose_ids_are_the_same(self) -> None:
        async def scenario(store: ObjectStore, other: ObjectStore) -> None:
            made = [await store.insert("file", tenant, "same", "s", 1.0, b"") for tenant in "tuv"]
            seen: list[Stored] = []
            while page := await other.list("file", None, seen[-1] if seen else None, 2, newest_first=False):
                seen += page
                assert len(seen) <= len(made)
            assert seen == made

        self.play_objects(scenario)

    def test_an_id_is_there_once_per_kind_and_tenant(self) -> None:
        async def scenario(store: ObjectStore, other: ObjectStore) -> None:
            await store.insert("file", "t", "x", "s", 1.0, b"first")
            with pytest.raises(Conflict):
                await other.insert("file", "t", "x", "s", 1.0, b"second")
            await other.insert("batch", "t", "x", "s", 1.0, b"another kind")
            await other.insert("file", "u", "x", "s", 1.0, b"another tenant")
            found = await store.get("file", "t", "x")
            assert found is not None
            assert found.doc == b"first"

        self.play_objects(scenario)

    def test_of_changes_to_one_version_one_is_written(self) -> None:
        async def scenario(store: ObjectStore, other: ObjectStore) -> None:
            old = await store.insert("batch", "t", "b", "validating", 1.0, b"")
            tries = [which.update(old, str(n), str(n).encode()) for n, which in enumerate([store, other] * 3)]
            told = await asyncio.gather(*tries, return_exceptions=True)
            written = [one for one in told if isinstance(one, Stored)]
            assert len(written) == 1
            assert sum(isinstance(one, Conflict) for one in told) == 5
            assert written[0] == replace(old, version=1, state=written[0].state, doc=written[0].state.encode())
            assert await other.get("batch", "t", "b") == written[0]

        self.play_objects(scenario)

    def test_a_deleted_document_is_gone(self) -> None:
        async def scenario(store: ObjectStore, other: ObjectStore) -> None:
            old = await store.insert("file", "t", "x", "s", 1.0, b"")
            assert not await other.delete("file", "u", "x")
            assert await other.delete("file", "t", "x")
            assert not await other.delete("file", "t", "x")
            assert await store.get("file", "t", "x") is None
            with pytest.raises(Conflict):
                await store.update(old, "s", b"back again")
            again = await store.insert("file", "t", "x", "s", 1.0, b"")
            assert again.seq > old.seq

        self.play_objects(scenario)

    def test_pages_follow_the_order_of_insertion(self) -> None:
        async def scenario(store: ObjectStore, other: ObjectStore) -> None:
            for n in range(7):
                tenant = "u" if n == 3 else "t"
                await store.insert("file", tenant, f"f{n}", "even" if n % 2 == 0 else "odd", 9.0 - n, b"")
            await store.insert("batch", "t", "b", "even", 1.0, b"")

            async def page(
                tenant: str | None,
                after: str | None,
                limit: int,
                newest_first: bool = True,
                states: Sequence[str] | None = None,
            ) -> str:
                found = await other.list("file", tenant, after, limit, newest_first, states)
                return "".join(one.id[1] for one in found)

            assert await page("t", None, 3) == "654"
            assert await page("t", "f4", 3) == "210"
            assert await page("t", "f0", 3) == ""
            assert await page("t", None, 9, newest_first=False) == "012456"
            assert await page("t", "f2", 2, newest_first=False) == "45"
            assert await page(None, None, 9) == "6543210"
            assert await page("t", None, 9, states=["odd"]) == "51"
            assert await page("t", "f4", 9, states=["odd"]) == "1"
            assert await page(None, None, 9, states=["odd", "none"], newest_first=False) == "135"
            assert await page("t", None, 9, states=[]) == ""
            for tenant, unknown in (("t", "f9"), ("t", "f3"), ("t", "b")):
                with pytest.raises(LookupError):
                    await other.list("file", tenant, unknown, 3)

        self.play_objects(scenario)
