"""The fake Anthropic in a workspace that others use as well: their batches are in every list, and only the ids of their
answers tell them from ours."""

from __future__ import annotations

from overnight.testing.anthropic_batches import FakeBatch
from overnight.testing.anthropic_fake import FakeAnthropic
from overnight.testing.anthropic_rows import Row
from overnight.wire import anthropic as wire
from overnight.wire.custom_ids import split_custom_id

RUN = "0123abcd"
"""The run tag of a neighbour who is a home like ours: it uses ids of the same form."""


class SharedAnthropic(FakeAnthropic):
    """The provider; what the neighbours' batches run is not in its books."""

    neighbors: frozenset[str] = frozenset()

    def neighbor(self, rows: int, *, lasts: float, at: float | None = None, form: str = "theirs-{}") -> FakeBatch:
        """Somebody else's batch of so many requests, made at that time (now), that ends after so many seconds. `form`:
        of its custom ids."""
        (workspace,) = self.accounts.values()
        made = self.now() if at is None else at
        batch = self.accept(workspace, [Row(form.format(number), {}) for number in range(rows)], made)
        batch.times["in_progress_at"] = made + lasts - self.takes
        self.neighbors |= {batch.id}
        return batch

    def wronged(self) -> list[str]:
        """Neighbours' batches that somebody canceled or deleted."""
        gone = [id for id in self.neighbors if id not in self.made]
        return sorted([*gone, *(id for id in self.neighbors - set(gone) if self.made[id].cancel_at is not None)])

    def rows_of(self, id: str) -> frozenset[tuple[int, int]]:
        """Ordinal and generation of each of our rows in that batch; empty where it is a neighbour's."""
        ids = [] if id in self.neighbors else [split_custom_id(row.custom_id) for row in self.made[id].rows]
        return frozenset((parts[1], parts[2]) for parts in ids if parts is not None)

    def _run(self, batch: FakeBatch, row: Row, at: float) -> None:
        if batch.id not in self.neighbors:
            super()._run(batch, row, at)
            return
        batch.lines.append(wire.errored_line(row.custom_id, wire.error_envelope("api_error", "theirs")))
        batch.errored += 1
