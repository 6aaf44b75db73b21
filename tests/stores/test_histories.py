"""Any history of two processes over one store, against a model of plain values."""

import asyncio
import tempfile
from dataclasses import replace
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from overnight.errors import Conflict, LeaseLost
from overnight.ports import Changes, Event, Lease
from overnight.stores import open_store
from overnight.testing.examples import JOB, a_batch, a_job, a_segment, a_shard, expected_totals, some_totals
from overnight.types import FINAL_STATES, Batch, BatchId, BatchState

OWNERS = st.sampled_from(["a", "b", "c"])
STATES = st.sampled_from(list(BatchState))
SECONDS = st.sampled_from([1.0, 10.0, 60.0])


class Histories(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.place = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.time = 1000.0
        path = Path(self.place.name) / "s.db"
        self.stores = [open_store(path, lambda: self.time) for _ in range(2)]
        self.run(self.stores[0].create_job(a_job()))
        self.job = a_job()
        self.owner: str | None = None
        self.epoch = 0
        self.expires = 0.0
        self.leases: list[Lease] = []  # all that were ever given
        self.batches: dict[BatchId, Batch] = {}
        self.events = 0
        self.made = 0
        lease = self.run(self.stores[0].acquire("setup", "setup", 1))
        self.run(self.stores[0].commit(lease, Changes(job=self.job, new_segments=(a_segment(0),))))
        self.job = replace(self.job, version=1)

    def teardown(self) -> None:
        for store in self.stores:
            self.run(store.close())
        self.runner.close()
        self.place.cleanup()

    def run(self, step):  # type: ignore[no-untyped-def]
        return self.runner.run(step)

    @rule(which=st.integers(0, 1), owner=OWNERS, seconds=SECONDS, dead=st.none() | OWNERS)
    def acquire(self, which: int, owner: str, seconds: float, dead: str | None) -> None:
        got = self.run(self.stores[which].acquire("job", owner, seconds, dead))
        if self.owner not in {None, owner, dead} and self.expires > self.time:
            assert got is None
            return
        self.epoch += self.owner != owner
        self.owner, self.expires = owner, self.time + seconds
        assert got == Lease("job", owner, self.epoch, self.expires)
        self.leases.append(got)

    @rule(seconds=SECONDS)
    def pass_time(self, seconds: float) -> None:
        self.time += seconds

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), which=st.integers(0, 1), release=st.booleans())
    def renew_or_release(self, data: st.DataObject, which: int, release: bool) -> None:
        lease = data.draw(st.sampled_from(self.leases))
        mine = (lease.owner, lease.epoch) == (self.owner, self.epoch)
        if release:
            self.run(self.stores[which].release(lease))
            self.owner = None if mine else self.owner
            return
        try:
            renewed = self.run(self.stores[which].renew(lease, 30.0))
        except LeaseLost:
            assert not mine
        else:
            assert mine
            self.expires = self.time + 30.0
            assert renewed.expires_at == self.expires

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), which=st.integers(0, 1), state=STATES, stale=st.integers(0, 4), retryable=st.integers(0, 9))
    def commit(self, data: st.DataObject, which: int, state: BatchState, stale: int, retryable: int) -> None:
        lease = data.draw(st.sampled_from(self.leases))
        old = data.draw(st.sampled_from([None, *self.batches.values()]))
        self.made += 1
        if old is None:
            changed = a_batch(f"b{self.made}", a_shard(f"s{self.made % 5}"), state)
        else:
            changed = replace(a_batch(old.id, old.shard, state), created_at=old.created_at)
            changed = replace(changed, version=old.version - (stale == 0))
        if changed.totals is not None:
            changed = replace(changed, totals=some_totals(10, retryable), backlog_taken=retryable % 2 == 0)
        live = [
            batch.shard.id for batch in self.batches.values() if batch.state not in FINAL_STATES and batch is not old
        ]
        known = {batch.shard.id for batch in self.batches.values()}
        changes = Changes(
            new_shards=(changed.shard,) if changed.shard.id not in known else (),
            new_batches=(changed,) if old is None else (),
            batches=() if old is None else (changed,),
            events=(Event(JOB, self.time, "committed"),),
        )
        fits = old is None or changed.version == old.version
        fits = fits and (state in FINAL_STATES or changed.shard.id not in live)
        try:
            self.run(self.stores[which].commit(lease, changes))
        except LeaseLost:
            assert (lease.owner, lease.epoch) != (self.owner, self.epoch)
        except Conflict:
            assert not fits
        else:
            assert fits
            assert (lease.owner, lease.epoch) == (self.owner, self.epoch)
            self.batches[changed.id] = replace(changed, version=changed.version + (old is not None))
            self.events += 1

    @rule(which=st.integers(0, 1), priority=st.integers(0, 3))
    def ask(self, which: int, priority: int) -> None:
        event = Event(JOB, self.time, "asked")
        asked = self.run(self.stores[which].ask(JOB, event, lambda job: replace(job, priority=priority)))
        if priority != self.job.priority:
            self.job = replace(self.job, priority=priority, version=self.job.version + 1)
        self.events += 1
        assert asked == self.job

    @invariant()
    def the_store_holds_what_the_model_holds(self) -> None:
        store = self.stores[self.made % 2]
        assert self.run(store.job(JOB)) == self.job
        assert self.run(_all(store)) == list(self.batches.values())
        assert len(self.run(store.events(JOB))) == self.events
        assert self.run(store.totals(JOB)) == expected_totals(self.run(store.shards(JOB)), self.batches.values())


async def _all(store) -> list[Batch]:  # type: ignore[no-untyped-def]
    return [batch async for batch in store.batches(JOB)]


TestHistories = Histories.TestCase
TestHistories.settings = settings(
    max_examples=12, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
