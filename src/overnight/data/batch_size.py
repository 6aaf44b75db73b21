"""How large batches are, and how that is told."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from overnight.data.shards import Most
from overnight.spec import BatchSize
from overnight.types import Limits, Proof

STEPS = (5_000, 10_000, 25_000, 50_000)
"""Requests per batch by default: small ones come back sooner and fail in smaller pieces."""

_SHARE = 4  # a job may take this part of the provider's creations per hour: follow-ups and other jobs need some


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """The most that a batch may hold, and why."""

    most: Most
    rows_reason: str
    size_reason: str

    def why(self, batches: int, cuts: Counter[str]) -> str:
        """For people: why there are so many batches."""
        told = [f"at most {self.most.rows:,} requests in each ({self.rows_reason})"]
        if cuts["bytes"]:
            told.append(f"{cuts['bytes']:,} ended at {self.most.size:,} bytes ({self.size_reason})")
        if cuts["tokens"]:
            told.append(f"{cuts['tokens']:,} ended at {self.most.tokens:,} estimated tokens (batch.tokens)")
        return f"{batches:,} batch{'es' if batches != 1 else ''}: {'; '.join(told)}"


def batch_plan(wish: BatchSize, limits: Limits, rows: int, proof: Proof = "tag") -> BatchPlan:
    """The sizes for a job of about so many rows: the user's wish, else a step that leaves the provider's creations per
    hour enough; never over the provider's limits. Where a lost batch is known by its number of requests, they vary."""
    budget = (limits.creates_per_hour or 2_000) / _SHARE
    step = next((step for step in STEPS if rows / step <= budget), STEPS[-1])
    wanted, reason = (wish.rows, "batch.rows") if wish.rows else (step, "the default for a job of this size")
    if wanted > limits.rows:
        wanted, reason = limits.rows, "the provider's limit"
    size = min(wish.bytes or limits.size, limits.size)
    size_reason = "batch.bytes" if wish.bytes and size == wish.bytes else "the provider's limit"
    return BatchPlan(Most(wanted, size, limits.size, wish.tokens, proof == "count"), reason, size_reason)
