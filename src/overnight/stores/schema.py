"""The tables. Each holds as columns what is filtered, joined, summed or unique, and the rest of its record as one JSON
document: a new field of a record needs no migration. No row per request anywhere.

A change here is a new file in `migrations/versions` and a new `HEAD`; a test compares both ways to the schema.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from overnight.types import FINAL_STATES, BatchState

HEAD = "0001"
"""The newest revision in `migrations/versions`."""

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

# SQLite numbers rows by itself only where the type is INTEGER.
_Long = BigInteger().with_variant(Integer, "sqlite")


def _words(states: frozenset[BatchState]) -> str:
    return ", ".join(f"'{state}'" for state in sorted(states))


jobs = Table(
    "jobs",
    metadata,
    Column("seq", _Long, primary_key=True),
    Column("id", String, nullable=False, unique=True),
    Column("tenant", String, nullable=False),
    Column("identity", String, nullable=False),
    Column("name", String, nullable=False),
    Column("project", String),
    Column("priority", Integer, nullable=False),
    Column("deadline", Double),
    Column("created_at", Double, nullable=False),
    Column("version", Integer, nullable=False),
    Column("doc", Text, nullable=False),
    Column("spec", LargeBinary, nullable=False),
    UniqueConstraint("tenant", "identity"),
)

segments = Table(
    "segments",
    metadata,
    Column("job_id", String, ForeignKey("jobs.id"), primary_key=True),
    Column("index", Integer, primary_key=True),
    Column("first_ordinal", BigInteger, nullable=False),
    Column("rows", Integer, nullable=False),
    Column("doc", Text, nullable=False),
    CheckConstraint("rows >= 0", name="rows"),
)

shards = Table(
    "shards",
    metadata,
    Column("seq", _Long, primary_key=True),
    Column("id", String, nullable=False, unique=True),
    Column("job_id", String, ForeignKey("jobs.id"), nullable=False),
    Column("segment", Integer),
    Column("generation", Integer, nullable=False),
    Column("rows", Integer, nullable=False),
    Column("tokens_ceiling", BigInteger, nullable=False),
    Column("max_output", BigInteger),
    Column("doc", Text, nullable=False),
    CheckConstraint("rows > 0", name="rows"),
    Index("ix_shards_rows", "job_id", "generation", "rows"),
    Index("ix_shards_segment", "job_id", "segment", "seq"),
)

shard_segments = Table(
    "shard_segments",
    metadata,
    Column("job_id", String, primary_key=True),
    Column("segment", Integer, primary_key=True),
    Column("shard_id", String, ForeignKey("shards.id"), primary_key=True),
    ForeignKeyConstraint(["job_id", "segment"], ["segments.job_id", "segments.index"]),
)

batches = Table(
    "batches",
    metadata,
    Column("seq", _Long, primary_key=True),
    Column("id", String, nullable=False, unique=True),
    Column("job_id", String, ForeignKey("jobs.id"), nullable=False),
    Column("shard_id", String, ForeignKey("shards.id"), nullable=False),
    Column("state", String, nullable=False),
    Column("version", Integer, nullable=False),
    Column("rank", Integer, nullable=False),
    Column("tag", String, nullable=False),
    Column("account", String, nullable=False),
    Column("remote_id", String),
    Column("file_id", String),
    Column("duplicate_of", String, ForeignKey("batches.id")),
    Column("created_at", Double, nullable=False),
    Column("not_before", Double, nullable=False),
    Column("submitted_at", Double),
    Column("ended_at", Double),
    Column("taken", Integer, nullable=False),
    Column("backlog_taken", Boolean, nullable=False),
    Column("cleaned", Boolean, nullable=False),
    # Copies from the shard, which never changes: sums and the order of submission need no join.
    Column("segment", Integer, nullable=False),  # -1: a follow-up over several segments
    Column("rows", Integer, nullable=False),
    Column("tokens_ceiling", BigInteger, nullable=False),
    Column("max_output", BigInteger),
    # From `Batch.totals`; all NULL without.
    Column("ended", Integer),
    Column("succeeded", Integer),
    Column("errored", Integer),
    Column("canceled", Integer),
    Column("expired", Integer),
    Column("retryable", Integer),
    Column("input_tokens", BigInteger),
    Column("cached_tokens", BigInteger),
    Column("output_tokens", BigInteger),
    Column("reasoning_tokens", BigInteger),
    Column("written_tokens", BigInteger),
    Column("cost", BigInteger),
    Column("unknown_rows", Integer),
    Column("doc", Text, nullable=False),
    CheckConstraint(f"state IN ({_words(frozenset(BatchState))})", name="state"),
    CheckConstraint("taken >= 0 AND taken <= rows", name="taken"),
    UniqueConstraint("account", "remote_id"),
    Index("ix_batches_ready", "job_id", "state", "rank", "segment", "seq"),
    Index("ix_batches_order", "job_id", "seq"),
    Index("ix_batches_backlog", "job_id", "backlog_taken", "retryable"),
    Index("ix_batches_cleaned", "job_id", "cleaned", "state"),
    Index("ix_batches_shard", "shard_id"),
    Index("ix_batches_account", "account", "submitted_at"),
)

_UNIQUE = (
    ("one_live_batch_per_shard", "shard_id", f"duplicate_of IS NULL AND state NOT IN ({_words(FINAL_STATES)})"),
    ("one_batch_per_tag", "tag", "duplicate_of IS NULL"),
)
for _name, _column, _where in _UNIQUE:
    Index(_name, batches.c[_column], unique=True, sqlite_where=text(_where), postgresql_where=text(_where))
_twins = text("duplicate_of IS NOT NULL")
Index("ix_batches_twins", batches.c.job_id, sqlite_where=_twins, postgresql_where=_twins)

tallies = Table(
    "tallies",
    metadata,
    Column("job_id", String, ForeignKey("jobs.id"), primary_key=True),
    Column("about", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("batch_id", String, ForeignKey("batches.id"), primary_key=True),
    Column("rows", Integer, nullable=False),
    Column("retryable", Integer, nullable=False),
    CheckConstraint("about IN ('kind', 'label')", name="about"),
    Index("ix_tallies_batch", "batch_id"),
    Index("ix_tallies_sums", "job_id", "about", "name", "rows"),
)
"""Per batch with totals: failed rows by kind, succeeded rows by label."""

events = Table(
    "events",
    metadata,
    Column("seq", _Long, primary_key=True),
    Column("job_id", String, ForeignKey("jobs.id"), nullable=False),
    Column("batch_id", String),
    Column("at", Double, nullable=False),
    Column("name", String, nullable=False),
    Column("doc", Text, nullable=False),
    Index("ix_events_job", "job_id", "seq"),
)

leases = Table(
    "leases",
    metadata,
    Column("name", String, primary_key=True),
    Column("owner", String),  # NULL: given back
    Column("epoch", Integer, nullable=False),
    Column("expires_at", Double, nullable=False),
)

objects = Table(
    "objects",
    metadata,
    Column("seq", _Long, primary_key=True),
    Column("kind", String, nullable=False),
    Column("tenant", String, nullable=False),
    Column("id", String, nullable=False),
    Column("version", Integer, nullable=False),
    Column("state", String, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("doc", LargeBinary, nullable=False),
    UniqueConstraint("kind", "tenant", "id"),
    Index("ix_objects_id", "kind", "id"),
    Index("ix_objects_tenant", "kind", "tenant", "seq"),
    Index("ix_objects_state", "kind", "state", "seq"),
    sqlite_autoincrement=True,  # a number is never used twice, even after the newest document is deleted
)
