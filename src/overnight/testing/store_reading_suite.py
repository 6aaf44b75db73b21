"""What every Store must answer about batches, beside `store_suite`. Needs pytest."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from overnight.errors import InvariantError
from overnight.ports import Changes, Event, Lease, Store
from overnight.testing.examples import (
    JOB,
    a_batch,
    a_job,
    a_remote,
    a_segment,
    a_shard,
    an_event,
    expected_totals,
    planned,
    some_totals,
)
from overnight.testing.store_suite import StorePlace
from overnight.types import Batch, BatchState, JobId, RemoteId, Tag


class StoreReadingSuite(StorePlace):
    """The view, totals, backlog, and who contributes to what."""

    def test_batches_come_in_order_of_creation_whatever_their_number(self) -> None:
        async def scenario(store: Store, other: Store) -> None:
            lease = await self.begin(store)
            batches = [replace(a_batch(f"b{n}", a_shard(f"s{n}")), created_at=1000.0 - n) for n in range(450)]
            await store.commit(lease, planned(batches))
            assert [batch.id async for batch in other.batches(JOB)] == [batch.id for batch in batches]

        self.play(scenario)

    def test_the_view_holds_what_is_open_and_what_is_next(self) -> None:
        async def scenario(store: Store, other: Store) -> None:
            lease = await self.begin(store)
            ready = [
                a_batch("rank 0, segment 1", a_shard("s1", 1)),
                a_batch("rank 0, segment 0, later", a_shard("s0b", 0, ((5, 10),))),
                a_batch("rank 1", a_shard("s2", 0, ((2, 3),), generation=1)),
            ]
            early = a_batch("rank 0, segment 0", a_shard("s0a", 0, ((0, 5),)))
            later = [
                replace(a_batch(f"later {n}", a_shard(f"l{n}")), not_before=1500.0 + n, account="") for n in range(2)
            ]
            gone = [a_batch(f"open {state}", a_shard(f"o {state}"), state) for state in BatchState]
            await store.commit(lease, planned([*gone[1:], early, *ready, *later]))
            asked = Event(JOB, 1400.0, "asked")
            job = await other.ask(JOB, asked, lambda job: replace(job, cancel_requested=False))
            view = await other.view(JOB, 1400.0, 3)
            order = [early, ready[1], ready[0], ready[2]]
            assert view.job == job
            assert [batch.id for batch in view.ready] == [batch.id for batch in order[:3]]
            assert view.next_ready == 1500.0
            assert [batch.state for batch in view.open] == [
                *(BatchState.SUBMITTING, BatchState.HELD, BatchState.IN_PROGRESS),
                *(BatchState.CANCELING, BatchState.ENDED),
            ]
            assert view.totals == await store.totals(JOB)
            assert [batch.id for batch in (await other.view(JOB, 1500.0, 9)).ready] == [
                *(batch.id for batch in order[:2]),
                *(later[0].id, order[2].id, order[3].id),
            ]
            assert (await other.view(JOB, 1501.0, 9)).next_ready is None
            await other.ask(JOB, asked, lambda job: replace(job, cancel_requested=True))
            canceled = await other.view(JOB, 1400.0, 9)  # what waits for its time need not wait to be canceled
            assert {batch.id for batch in later} < {batch.id for batch in canceled.ready}
            assert canceled.next_ready is None

        self.play(scenario)

    def test_the_view_is_of_one_moment(self) -> None:
        async def scenario(store: Store, other: Store) -> None:
            lease = await self.begin(store)
            batches = [a_batch(f"b{n}", a_shard(f"s{n}")) for n in range(30)]
            await store.commit(lease, planned(batches))

            async def submit() -> None:
                for batch in batches:
                    sent = replace(batch, state=BatchState.SUBMITTING, submitted_at=1001.0)
                    await store.commit(lease, Changes(batches=(sent,)))

            writing = asyncio.create_task(submit())
            while not writing.done():
                view = await other.view(JOB, 2000.0, 100)
                assert len(view.open) + len(view.ready) == len(batches)
                assert view.totals.sent == 10 * len(view.open)
                assert view.totals.batches.get(BatchState.PLANNED, 0) == len(view.ready)
            await writing

        self.play(scenario)

    def test_totals_are_the_sums_of_the_batches(self) -> None:
        async def scenario(store: Store, other: Store) -> None:
            lease = await self.begin(store)
            batches = _mixed()
            await store.commit(lease, planned(batches))
            shards = await other.shards(JOB)
            assert await other.totals(JOB) == expected_totals(shards, batches)
            collected = next(batch for batch in batches if batch.totals is not None)
            after = replace(collected, totals=some_totals(collected.shard.rows, retryable=4), taken=2)
            await store.commit(lease, Changes(batches=(after,)))
            changed = [after if batch is collected else batch for batch in batches]
            assert await other.totals(JOB) == expected_totals(shards, changed)
            assert (await other.totals(JobId("unknown"))).batches == {}

        self.play(scenario)

    def test_the_backlog_waits_until_it_is_taken(self) -> None:
        async def scenario(store: Store, other: Store) -> None:
            lease = await self.begin(store)
            batches = [a_batch(f"b{n}", a_shard(f"s{n}"), BatchState.COLLECTED) for n in range(4)]
            batches[0] = replace(batches[0], backlog_taken=True)
            batches[1] = replace(batches[1], totals=some_totals(10, retryable=0))
            batches[2] = replace(batches[2], ended_at=1900.0)
            batches[3] = replace(batches[3], ended_at=1800.0)
            await store.commit(lease, planned(batches))
            assert await other.backlog(JOB, 9) == batches[2:]
            assert await other.backlog(JOB, 1) == batches[2:3]
            view = await other.view(JOB, 2000.0, 9)
            assert view.oldest_backlog == 1800.0
            taken = tuple(replace(batch, backlog_taken=True, taken=1) for batch in batches[2:])
            await store.commit(lease, Changes(batches=taken))
            assert await other.backlog(JOB, 9) == []
            assert (await other.view(JOB, 2000.0, 9)).oldest_backlog is None

        self.play(scenario)

    def test_submissions_whose_fate_is_open_are_known_over_all_jobs_of_the_account(self) -> None:
        async def scenario(store: Store, other: Store) -> None:
            lease = await self.begin(store)
            await store.create_job(replace(a_job("job2"), salt=2))
            at_work = await store.acquire("job/2", "a", 60)
            assert at_work is not None
            every = [a_batch(f"b {state}", a_shard(f"s {state}"), state) for state in BatchState]
            doubtful = [
                replace(a_batch(f"d {state}", a_shard(f"d {state}"), state), proved=False, foreign=(RemoteId("r"),))
                for state in (BatchState.IN_PROGRESS, BatchState.CANCELING, BatchState.ENDED)
            ]
            unsent = replace(a_batch("unsent", a_shard("u"), BatchState.SUBMITTING), create_deadline=None)
            elsewhere = replace(a_batch("elsewhere", a_shard("e"), BatchState.HELD), account="another")
            await store.commit(lease, planned([*every, *doubtful, unsent, elsewhere]))
            shard = replace(a_shard("of job2"), job_id=JobId("job2"))
            foreign = replace(a_batch("of job2", shard, BatchState.HELD), created_at=999.0)
            segment = (replace(a_segment(0)),)
            await store.commit(at_work, Changes(new_segments=segment, new_shards=(shard,), new_batches=(foreign,)))
            held = [batch for batch in every if batch.state in {BatchState.SUBMITTING, BatchState.HELD}]
            assert await other.unresolved("fingerprint") == [foreign, *held, *doubtful]
            assert await other.unresolved("another") == [elsewhere]
            assert await other.unresolved("nobody's") == []

        self.play(scenario)

    def test_whose_a_batch_of_the_provider_is(self) -> None:
        async def scenario(store: Store, other: Store) -> None:
            lease = await self.begin(store)
            batches = [a_batch(f"b{n}", a_shard(f"s{n}"), BatchState.COLLECTED) for n in range(3)]
            batches[1] = replace(batches[1], state=BatchState.ENDED, totals=None, ended_at=None, proved=False)
            await store.commit(lease, planned([*batches, a_batch("without", a_shard("w"))]))
            asked = [RemoteId(f"remote of b{n}") for n in (0, 1, 9)] + [RemoteId(f"none {n}") for n in range(1000)]
            found = await other.adopters("fingerprint", asked)
            assert found == {asked[0]: batches[0], asked[1]: batches[1]}
            assert await other.adopters("another", asked) == {}
            assert await other.adopters("fingerprint", []) == {}

        self.play(scenario)

    def test_what_may_have_files_at_the_provider_is_cleaned_when_it_is_over(self) -> None:
        async def scenario(store: Store, other: Store) -> None:
            lease = await self.begin(store)
            over = (BatchState.COLLECTED, BatchState.FAILED, BatchState.ABSENT, BatchState.CANCELED)
            batches = [a_batch(f"b {state}", a_shard(f"s {state}"), state) for state in BatchState]
            batches = [replace(batch, file_id=None) if batch.state is BatchState.ABSENT else batch for batch in batches]
            unsent = replace(a_batch("unsent", a_shard("unsent")), state=BatchState.CANCELED)
            await store.commit(lease, planned([*batches, unsent]))
            dirty = await other.to_clean(JOB, 9)
            assert {batch.state for batch in dirty} == set(over)
            assert unsent not in dirty
            assert (await other.totals(JOB)).uncleaned == 4
            assert len(await other.to_clean(JOB, 2)) == 2
            await store.commit(lease, Changes(batches=tuple(replace(batch, cleaned=True) for batch in dirty)))
            assert await other.to_clean(JOB, 9) == []
            assert (await other.totals(JOB)).uncleaned == 0

        self.play(scenario)

    def test_a_duplicate_brings_its_bill_and_no_rows(self) -> None:
        async def scenario(store: Store, other: Store) -> None:
            lease = await self.begin(store)
            first = a_batch("b", a_shard("s"), BatchState.IN_PROGRESS)
            own_shard = replace(
                a_batch("twin 1", a_shard("copy"), BatchState.COLLECTED), tag=first.tag, duplicate_of=first.id
            )
            same_shard = replace(
                a_batch("twin 2", first.shard, BatchState.COLLECTED), tag=first.tag, duplicate_of=first.id
            )
            batches = [first, own_shard, same_shard]
            await store.commit(lease, planned(batches))
            totals = await other.totals(JOB)
            assert totals == expected_totals([first.shard, own_shard.shard], batches)
            assert (totals.rows, totals.ended, totals.backlog, totals.kinds) == (10, 0, 0, {})
            assert totals.cost == 2 * 10**12
            twins = await other.contributing(JOB, 0)  # their money is their rows'
            assert [twin.id for twin in twins] == ["twin 1", "twin 2"]
            assert await other.backlog(JOB, 9) == []

        self.play(scenario)

    def test_batches_that_hold_rows_of_a_segment_are_found(self) -> None:
        async def scenario(store: Store, other: Store) -> None:
            lease = await self.begin(store)
            first = [a_batch(f"b{n}", a_shard(f"s{n}", n), BatchState.COLLECTED) for n in range(3)]
            mixed = [
                a_batch("last of 0 and first of 1", a_shard("m1", None, ((9, 11),), 2), BatchState.COLLECTED),
                a_batch("0 and 2", a_shard("m2", None, ((0, 1), (25, 30)), 1), BatchState.COLLECTED),
                a_batch("not ended", a_shard("m3", None, ((0, 30),), 1), BatchState.IN_PROGRESS),
            ]
            await store.commit(lease, planned([*first, *mixed]))
            found = [[batch.id for batch in await other.contributing(JOB, n)] for n in range(3)]
            assert found == [
                ["b0", "0 and 2", "last of 0 and first of 1"],
                ["b1", "last of 0 and first of 1"],
                ["b2", "0 and 2"],
            ]
            for spans in (((29, 31),), ((500, 501),)):
                with pytest.raises(InvariantError):
                    await store.commit(lease, Changes(new_shards=(a_shard("outside", None, spans, 1),)))

        self.play(scenario)

    def test_creations_are_counted_by_account(self) -> None:
        async def scenario(store: Store, other: Store) -> None:
            lease = await self.begin(store)
            sent = [a_batch(f"b{n}", a_shard(f"s{n}"), BatchState.IN_PROGRESS) for n in range(5)]
            sent[0] = replace(sent[0], submitted_at=1400.0)  # an hour and more before the look
            sent[1] = replace(sent[1], submitted_at=1400.1, state=BatchState.ABSENT)
            sent[2] = replace(sent[2], submitted_at=4999.0, account="another")
            await store.commit(lease, planned(sent[:4]))
            assert (await other.view(JOB, 5000.0, 1)).creates_last_hour == 1
            await store.create_job(a_job("neighbour"))
            shard = replace(sent[4].shard, job_id=JobId("neighbour"), segment=0)
            theirs = replace(sent[4], job_id=JobId("neighbour"), shard=shard, submitted_at=4990.0)
            await store.commit(lease, planned([theirs]))
            assert (await other.view(JOB, 5000.0, 1)).creates_last_hour == 2

        self.play(scenario)

    def test_events_come_oldest_first_and_of_many_the_newest(self) -> None:
        async def scenario(store: Store, other: Store) -> None:
            lease = await self.begin(store)
            events = tuple(replace(an_event(f"e{n}"), at=1000.0 - n) for n in range(9))
            for event in events:
                await store.commit(lease, Changes(events=(event,)))
            assert await other.events(JOB) == list(events)
            assert await other.events(JOB, limit=2) == list(events[-2:])

        self.play(scenario)

    def test_all_of_it_is_there_after_another_start(self) -> None:
        async def write(store: Store, _other: Store) -> None:
            lease = await self.begin(store)
            await store.commit(lease, planned(_mixed()))

        async def read(store: Store, _other: Store) -> None:
            assert [batch async for batch in store.batches(JOB)] == _mixed()
            assert await store.holder("job") == Lease("job", "a", 1, 1060.0)

        self.play(write)
        self.play(read)


def _mixed() -> list[Batch]:
    """Batches in every state, ended ones of several kinds, a duplicate."""
    batches = [a_batch(f"b {state}", a_shard(f"s {state}"), state) for state in BatchState]
    unlimited = replace(a_shard("unlimited"), max_output=None)
    batches.append(a_batch("unlimited", unlimited, BatchState.IN_PROGRESS))
    variants: list[dict[str, Any]] = [
        {"backlog_taken": True, "taken": 1},
        {"totals": some_totals(10, retryable=3, cost=None)},
        {"cleaned": True, "totals": some_totals(10, retryable=0, cost=10**16)},
        {"duplicate_of": batches[0].id, "tag": Tag("tag of b planned")},
        {"remote": a_remote(RemoteId("elsewhere"))},
    ]
    for n, variant in enumerate(variants):
        ended = a_batch(f"v{n}", a_shard(f"v{n}", generation=n % 2), BatchState.COLLECTED)
        batches.append(replace(ended, **variant))
    return batches
