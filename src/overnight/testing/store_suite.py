"""What every Store must do. A test module makes a subclass whose name starts with `Test` and says how to open one:

    class TestMine(StoreSuite):
        def open(self, now): ...
        def count(self, table): ...

Needs pytest.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from overnight.errors import Conflict, LeaseLost, StoreError
from overnight.ports import Changes, Event, Lease, Store
from overnight.testing.examples import JOB, a_batch, a_job, a_segment, a_shard, an_event, planned
from overnight.types import BatchId, BatchState, FailureKind, Job, JobId, Selection

Scenario = Callable[[Store, Store], Awaitable[None]]


class StorePlace(ABC):
    """Where the stores of a test live: empty at its start. A subclass opens them, and looks past them."""

    time: float = 1000.0

    @abstractmethod
    def open(self, now: Callable[[], float]) -> Store:
        """A store over the test's place: each call stands for another process."""

    @abstractmethod
    def count(self, table: str) -> int:
        """Rows of a table, seen without the store."""

    def play(self, scenario: Scenario) -> None:
        """Run it with two processes' stores."""

        async def play() -> None:
            stores = self.open(lambda: self.time), self.open(lambda: self.time)
            try:
                await scenario(*stores)
            finally:
                for store in stores:
                    await store.close()

        asyncio.run(play())

    async def begin(self, store: Store) -> Lease:
        """Make the job and take its lease."""
        await store.create_job(a_job())
        lease = await store.acquire("job", "a", 60)
        assert lease is not None
        return lease


class StoreSuite(StorePlace):
    """Leases, commits, jobs."""

    # ------------------------------------------------------------------------------------------ leases

    def test_a_lease_has_one_owner_until_it_expires(self) -> None:
        async def scenario(store: Store, other: Store) -> None:
            first = await store.acquire("job/1", "a", 60)
            assert first == Lease("job/1", "a", 1, 1060.0)
            assert await other.acquire("job/1", "b", 60) is None
            assert await other.acquire("job/2", "b", 60) == Lease("job/2", "b", 1, 1060.0)
            self.time = 1059.0
            assert await other.acquire("job/1", "b", 60) is None
            assert await store.renew(first, 60) == Lease("job/1", "a", 1, 1119.0)
            self.time = 1118.0
            assert await other.acquire("job/1", "b", 60) is None
            self.time = 1119.0
            assert await other.acquire("job/1", "b", 60) == Lease("job/1", "b", 2, 1179.0)
            with pytest.raises(LeaseLost):
                await store.renew(first, 60)
            await store.release(first)  # nothing: it is lost
            assert await store.holder("job/1") == Lease("job/1", "b", 2, 1179.0)

        self.play(scenario)

    def test_the_same_owner_gets_its_lease_again_under_the_same_epoch(self) -> None:
        async def scenario(store: Store, other: Store) -> None:
            await store.acquire("x", "a", 60)
            self.time = 5000.0  # expired, but nobody came
            assert await other.acquire("x", "a", 60) == Lease("x", "a", 1, 5060.0)

        self.play(scenario)

    def test_a_lease_that_was_given_back_is_free_and_its_next_epoch_is_higher(self) -> None:
        async def scenario(store: Store, other: Store) -> None:
            assert await other.holder("x") is None
            mine = await store.acquire("x", "a", 60)
            assert mine is not None
            await store.release(mine)
            assert await other.holder("x") is None
            with pytest.raises(LeaseLost):
                await store.commit(mine, Changes())
            again = await store.acquire("x", "a", 60)
            assert again is not None
            assert again.epoch > mine.epoch

        self.play(scenario)

    def test_the_lease_of_an_owner_known_to_be_dead_is_taken_once(self) -> None:
        async def scenario(store: Store, other: Store) -> None:
            dead = await store.acquire("x", "a", 60)
            heir = await other.acquire("x", "b", 60, dead="a")
            assert heir == Lease("x", "b", 2, 1060.0)
            assert await store.acquire("x", "c", 60, dead="a") is None  # he knew it as well, and came later
            assert dead is not None
            with pytest.raises(LeaseLost):
                await store.commit(dead, Changes())

        self.play(scenario)

    def test_of_many_that_want_a_lease_at_once_one_gets_it(self) -> None:
        async def scenario(store: Store, other: Store) -> None:
            for round_ in range(10):
                name = f"job/{round_}"
                tries = [(store, "a"), (other, "b"), (store, "c"), (other, "d")]
                got = await asyncio.gather(*(which.acquire(name, owner, 60) for which, owner in tries))
                assert sum(lease is not None for lease in got) == 1

        self.play(scenario)

    # ------------------------------------------------------------------------------------------ commits

    def test_what_was_committed_comes_back_as_it_was(self) -> None:
        segments = (a_segment(0), a_segment(1))
        shards = (a_shard("s0"), a_shard("s1", None, ((3, 5), (10, 12)), generation=1))
        batches = tuple(a_batch(f"b {state}", a_shard(f"s {state}"), state) for state in BatchState)
        refused = (FailureKind.QUOTA, FailureKind.FILE)
        batches += (replace(a_batch("b0", shards[1]), not_before=2000.0, put_back=refused, cancel_requested=True),)
        event = Event(JOB, 1.5, "polled", BatchId("b0"), {"n": 1, "list": ["x"]})

        async def scenario(store: Store, other: Store) -> None:
            lease = await self.begin(store)
            await store.commit(
                lease,
                Changes(
                    new_segments=segments,
                    new_shards=(*shards, *(batch.shard for batch in batches[:-1])),
                    new_batches=batches,
                    events=(event,),
                ),
            )
            assert await other.job(JOB) == a_job()
            assert await other.segments(JOB) == list(segments)
            assert list(await other.shards(JOB))[:2] == list(shards)
            assert list(await other.shards(JOB, 1)) == []
            assert [batch async for batch in other.batches(JOB)] == list(batches)
            assert [await other.batch(batch.id) for batch in batches] == list(batches)
            assert await other.events(JOB) == [event]
            assert await other.batch(BatchId("none")) is None

        self.play(scenario)

    def test_a_commit_of_a_zombie_writes_nothing(self) -> None:
        async def scenario(store: Store, other: Store) -> None:
            lease = await self.begin(store)
            assert await other.acquire("job", "b", 60, dead="a") is not None
            with pytest.raises(LeaseLost):
                await store.commit(lease, _everything_new())
            assert [self.count(table) for table in TABLES] == [0] * len(TABLES)

        self.play(scenario)

    def test_a_conflict_writes_nothing(self) -> None:
        async def scenario(store: Store, other: Store) -> None:
            lease = await self.begin(store)
            waiting = a_batch("b", a_shard("s"))
            await store.commit(lease, Changes(new_segments=(a_segment(0),), new_shards=(waiting.shard,)))
            await store.commit(lease, Changes(new_batches=(waiting,)))
            stale_job = replace(a_job(), version=7)
            unknown = replace(waiting, id=BatchId("unknown"))
            for wrong in (
                Changes(batches=(replace(waiting, version=1),)),
                Changes(batches=(unknown,)),
                Changes(job=stale_job),
                Changes(new_batches=(waiting,)),
                Changes(new_batches=(a_batch("of no shard", a_shard("never stored")),)),
                Changes(new_shards=(a_shard("of no segment", 9),)),
                Changes(batches=(replace(waiting, taken=11),)),
            ):
                before = [self.count(table) for table in TABLES]
                more = replace(_everything_new("2"), batches=wrong.batches, job=wrong.job)
                more = replace(
                    more,
                    new_batches=more.new_batches + wrong.new_batches,
                    new_shards=more.new_shards + wrong.new_shards,
                )
                with pytest.raises(Conflict):
                    await store.commit(lease, more)
                assert [self.count(table) for table in TABLES] == before
                assert await other.batch(waiting.id) == waiting

        self.play(scenario)

    def test_of_commits_from_one_version_one_is_written(self) -> None:
        async def scenario(store: Store, other: Store) -> None:
            lease = await self.begin(store)
            batch = a_batch("b", a_shard("s"))
            await store.commit(lease, planned([batch]))
            for version in range(5):
                read = replace(batch, version=version)
                tries = [
                    which.commit(lease, Changes(batches=(replace(read, rank=rank),), events=(an_event("done"),)))
                    for rank, which in enumerate([store, other, store, other])
                ]
                told = await asyncio.gather(*tries, return_exceptions=True)
                assert sorted(map(str, map(type, told))) == sorted(map(str, [type(None), *[Conflict] * 3]))
                stored = await other.batch(batch.id)
                assert stored == replace(batch, version=version + 1, rank=told.index(None))
            assert self.count("events") == 5

        self.play(scenario)

    def test_a_plan_is_forgotten_until_something_of_it_was_sent(self) -> None:
        async def scenario(store: Store, other: Store) -> None:
            lease = await self.begin(store)
            await store.create_job(a_job("neighbour"))
            theirs = replace(a_shard("theirs"), job_id=JobId("neighbour"))
            await store.commit(lease, planned([a_batch("theirs", theirs)]))
            canceled = a_batch("b0", a_shard("s0"), BatchState.COLLECTED)
            canceled = replace(canceled, state=BatchState.CANCELED, submitted_at=None)
            await store.commit(lease, replace(planned([canceled]), events=(an_event("planned"),)))
            again = replace(planned([a_batch("b1", a_shard("s1", 1))]), forget_plan=True)
            await store.commit(lease, again)
            assert [batch.id async for batch in other.batches(JOB)] == ["b1"]
            assert [shard.id for shard in await other.shards(JOB)] == ["s1"]
            assert [batch.id async for batch in other.batches(JobId("neighbour"))] == ["theirs"]
            assert (await other.totals(JOB)).kinds == {}
            assert await other.events(JOB) == [an_event("planned")]
            await store.commit(lease, planned([a_batch("sent", a_shard("s2"), BatchState.FAILED)], segments=False))
            with pytest.raises(Conflict):
                await store.commit(lease, replace(again, new_batches=(a_batch("b2", a_shard("s1")),)))
            assert [batch.id async for batch in other.batches(JOB)] == ["b1", "sent"]

        self.play(scenario)

    def test_a_deleted_job_is_gone_with_all_its_records_and_no_others(self) -> None:
        async def scenario(store: Store, other: Store) -> None:
            lease = await self.begin(store)
            await store.create_job(a_job("neighbour"))
            theirs = replace(a_shard("theirs"), job_id=JobId("neighbour"))
            await store.commit(lease, planned([a_batch("theirs", theirs, BatchState.COLLECTED)]))
            kept = [self.count(table) for table in TABLES]
            batch = a_batch("b", a_shard("s"), BatchState.COLLECTED)
            twin = replace(a_batch("twin", a_shard("t"), BatchState.COLLECTED), tag=batch.tag, duplicate_of=batch.id)
            await store.commit(lease, replace(planned([batch, twin]), events=(an_event("made"),)))
            zombie = replace(lease, epoch=lease.epoch + 1)
            with pytest.raises(LeaseLost):
                await other.delete_job(zombie, JOB)
            assert await other.job(JOB) is not None
            await other.delete_job(lease, JOB)
            assert [self.count(table) for table in TABLES] == kept
            assert [job.id for job in await store.jobs()] == ["neighbour"]
            assert await store.create_job(a_job()) == a_job()

        self.play(scenario)

    def test_a_shard_has_one_live_batch(self) -> None:
        async def scenario(store: Store, other: Store) -> None:
            lease = await self.begin(store)
            first, second = a_batch("b1", a_shard("s")), a_batch("b2", a_shard("s"))
            await store.commit(lease, planned([first]))
            with pytest.raises(Conflict):
                await store.commit(lease, Changes(new_batches=(second,)))
            absent = replace(first, state=BatchState.ABSENT)
            await store.commit(lease, Changes(batches=(absent,), new_batches=(second,)))
            with pytest.raises(Conflict):
                await store.commit(lease, Changes(batches=(replace(first, version=1),)))

        self.play(scenario)

    def test_a_remote_batch_of_an_account_is_one_batch_and_a_tag_too(self) -> None:
        async def scenario(store: Store, other: Store) -> None:
            lease = await self.begin(store)
            batches = [a_batch(f"b{n}", a_shard(f"s{n}"), BatchState.IN_PROGRESS) for n in range(3)]
            await store.commit(lease, planned(batches[:1]))
            for wrong in (
                replace(batches[1], remote=batches[0].remote),
                replace(batches[1], tag=batches[0].tag),
            ):
                with pytest.raises(Conflict):
                    await store.commit(lease, planned([wrong], segments=False))
            elsewhere = replace(batches[2], remote=batches[0].remote, account="another")
            await store.commit(lease, planned([elsewhere], segments=False))

        self.play(scenario)

    # --------------------------------------------------------------------------------------------- jobs

    def test_the_same_identity_is_the_same_job_of_its_tenant(self) -> None:
        async def scenario(store: Store, other: Store) -> None:
            job = a_job()
            assert await store.find_job(job.identity) is None
            twins = [replace(job, id=JobId(f"job{n}"), name=str(n)) for n in range(1, 5)]
            made = await asyncio.gather(*((store, other)[n % 2].create_job(twin) for n, twin in enumerate(twins)))
            assert len({one.id for one in made}) == 1
            assert await other.find_job(job.identity) == made[0]
            theirs = await other.create_job(replace(a_job("theirs", tenant="t"), identity=job.identity))
            assert theirs.id == "theirs"
            assert [one.id for one in await store.jobs()] == ["theirs", made[0].id]
            assert [one.id for one in await store.jobs(limit=1)] == ["theirs"]
            with pytest.raises(Conflict):
                await store.create_job(replace(job, id=JobId("theirs"), identity="another"))

        self.play(scenario)

    def test_asking_needs_no_lease_and_loses_nothing(self) -> None:
        async def scenario(store: Store, other: Store) -> None:
            lease = await self.begin(store)
            job = await store.job(JOB)
            assert job is not None

            def one_more(read: Job) -> Job:
                return replace(read, selection=Selection(limit=(read.selection.limit or 0) + 1))

            asked = [(store, other)[n % 2].ask(JOB, an_event("asked"), one_more) for n in range(20)]
            await asyncio.gather(*asked)
            now = await other.job(JOB)
            assert now == replace(job, version=20, selection=Selection(limit=40))
            assert self.count("events") == 20
            with pytest.raises(Conflict):
                await store.commit(lease, Changes(job=replace(job, cancel_requested=False)))
            await store.commit(lease, Changes(job=replace(now, cancel_requested=False)))
            asked_again = await other.ask(JOB, an_event("resumed"), lambda read: replace(read, hold=None))
            assert (asked_again.version, asked_again.cancel_requested, asked_again.hold) == (22, False, None)

        self.play(scenario)

    def test_asking_for_nothing_new_and_asking_in_vain(self) -> None:
        async def scenario(store: Store, other: Store) -> None:
            await self.begin(store)
            assert await store.ask(JOB, an_event("asked"), lambda job: job) == a_job()
            assert self.count("events") == 1

            def refuse(_job: Job) -> Job:
                raise LookupError

            with pytest.raises(LookupError):
                await store.ask(JOB, an_event("asked"), refuse)
            with pytest.raises(StoreError):
                await store.ask(JobId("unknown"), an_event("asked"), lambda job: job)
            with pytest.raises(StoreError):
                await store.view(JobId("unknown"), 0.0, 1)
            assert self.count("events") == 1

        self.play(scenario)


TABLES = ("segments", "shards", "shard_segments", "batches", "tallies", "events")


def _everything_new(name: str = "1") -> Changes:
    batch = a_batch(f"new {name}", a_shard(f"new {name}", 7), BatchState.COLLECTED)
    return Changes(
        new_segments=(a_segment(7),), new_shards=(batch.shard,), new_batches=(batch,), events=(an_event("made"),)
    )
