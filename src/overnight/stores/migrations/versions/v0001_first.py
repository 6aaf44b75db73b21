"""The first schema.

Revision ID: 0001
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

LONG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def where(condition: str) -> dict[str, Any]:
    """Of a partial index, on both databases."""
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


def upgrade() -> None:
    """Make every table."""
    _jobs()
    _leases()
    _objects()
    _events()
    _segments()
    _shards()
    _batches()
    _shard_segments()
    _tallies()


def _jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("seq", LONG, nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("identity", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("project", sa.String()),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("deadline", sa.Double()),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("doc", sa.Text(), nullable=False),
        sa.Column("spec", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_jobs")),
        sa.UniqueConstraint("id", name=op.f("uq_jobs_id")),
        sa.UniqueConstraint("tenant", "identity", name=op.f("uq_jobs_tenant_identity")),
    )


def _leases() -> None:
    op.create_table(
        "leases",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("owner", sa.String()),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leases")),
    )


def _objects() -> None:
    op.create_table(
        "objects",
        sa.Column("seq", LONG, nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("doc", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_objects")),
        sa.UniqueConstraint("kind", "tenant", "id", name=op.f("uq_objects_kind_tenant_id")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_objects_id", "objects", ["kind", "id"])
    op.create_index("ix_objects_state", "objects", ["kind", "state", "seq"])
    op.create_index("ix_objects_tenant", "objects", ["kind", "tenant", "seq"])


def _events() -> None:
    op.create_table(
        "events",
        sa.Column("seq", LONG, nullable=False),
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("batch_id", sa.String()),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("doc", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_events_job_id")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_events")),
    )
    op.create_index("ix_events_job", "events", ["job_id", "seq"])


def _segments() -> None:
    op.create_table(
        "segments",
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("index", sa.Integer(), nullable=False),
        sa.Column("first_ordinal", sa.BigInteger(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("doc", sa.Text(), nullable=False),
        sa.CheckConstraint("rows >= 0", name=op.f("ck_segments_rows")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_segments_job_id")),
        sa.PrimaryKeyConstraint("job_id", "index", name=op.f("pk_segments")),
    )


def _shards() -> None:
    op.create_table(
        "shards",
        sa.Column("seq", LONG, nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("segment", sa.Integer()),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("tokens_ceiling", sa.BigInteger(), nullable=False),
        sa.Column("max_output", sa.BigInteger()),
        sa.Column("doc", sa.Text(), nullable=False),
        sa.CheckConstraint("rows > 0", name=op.f("ck_shards_rows")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_shards_job_id")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_shards")),
        sa.UniqueConstraint("id", name=op.f("uq_shards_id")),
    )
    op.create_index("ix_shards_rows", "shards", ["job_id", "generation", "rows"])
    op.create_index("ix_shards_segment", "shards", ["job_id", "segment", "seq"])


def _batches() -> None:
    op.create_table(
        "batches",
        sa.Column("seq", LONG, nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("shard_id", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("tag", sa.String(), nullable=False),
        sa.Column("account", sa.String(), nullable=False),
        sa.Column("remote_id", sa.String()),
        sa.Column("file_id", sa.String()),
        sa.Column("duplicate_of", sa.String()),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("not_before", sa.Double(), nullable=False),
        sa.Column("submitted_at", sa.Double()),
        sa.Column("ended_at", sa.Double()),
        sa.Column("taken", sa.Integer(), nullable=False),
        sa.Column("backlog_taken", sa.Boolean(), nullable=False),
        sa.Column("cleaned", sa.Boolean(), nullable=False),
        sa.Column("segment", sa.Integer(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("tokens_ceiling", sa.BigInteger(), nullable=False),
        sa.Column("max_output", sa.BigInteger()),
        sa.Column("ended", sa.Integer()),
        sa.Column("succeeded", sa.Integer()),
        sa.Column("errored", sa.Integer()),
        sa.Column("canceled", sa.Integer()),
        sa.Column("expired", sa.Integer()),
        sa.Column("retryable", sa.Integer()),
        sa.Column("input_tokens", sa.BigInteger()),
        sa.Column("cached_tokens", sa.BigInteger()),
        sa.Column("output_tokens", sa.BigInteger()),
        sa.Column("reasoning_tokens", sa.BigInteger()),
        sa.Column("written_tokens", sa.BigInteger()),
        sa.Column("cost", sa.BigInteger()),
        sa.Column("unknown_rows", sa.Integer()),
        sa.Column("doc", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "state IN ('absent', 'canceled', 'canceling', 'collected', 'ended', 'failed', 'held', 'in_progress', "
            "'planned', 'submitting')",
            name=op.f("ck_batches_state"),
        ),
        sa.CheckConstraint("taken >= 0 AND taken <= rows", name=op.f("ck_batches_taken")),
        sa.ForeignKeyConstraint(["duplicate_of"], ["batches.id"], name=op.f("fk_batches_duplicate_of")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_batches_job_id")),
        sa.ForeignKeyConstraint(["shard_id"], ["shards.id"], name=op.f("fk_batches_shard_id")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_batches")),
        sa.UniqueConstraint("account", "remote_id", name=op.f("uq_batches_account_remote_id")),
        sa.UniqueConstraint("id", name=op.f("uq_batches_id")),
    )
    op.create_index("ix_batches_account", "batches", ["account", "submitted_at"])
    op.create_index("ix_batches_backlog", "batches", ["job_id", "backlog_taken", "retryable"])
    op.create_index("ix_batches_cleaned", "batches", ["job_id", "cleaned", "state"])
    op.create_index("ix_batches_order", "batches", ["job_id", "seq"])
    op.create_index("ix_batches_ready", "batches", ["job_id", "state", "rank", "segment", "seq"])
    op.create_index("ix_batches_shard", "batches", ["shard_id"])
    op.create_index("ix_batches_twins", "batches", ["job_id"], **where("duplicate_of IS NOT NULL"))
    op.create_index("one_batch_per_tag", "batches", ["tag"], unique=True, **where("duplicate_of IS NULL"))
    op.create_index(
        "one_live_batch_per_shard",
        "batches",
        ["shard_id"],
        unique=True,
        **where("duplicate_of IS NULL AND state NOT IN ('absent', 'canceled', 'collected', 'failed')"),
    )


def _shard_segments() -> None:
    op.create_table(
        "shard_segments",
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("segment", sa.Integer(), nullable=False),
        sa.Column("shard_id", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id", "segment"], ["segments.job_id", "segments.index"], name=op.f("fk_shard_segments_job_id")
        ),
        sa.ForeignKeyConstraint(["shard_id"], ["shards.id"], name=op.f("fk_shard_segments_shard_id")),
        sa.PrimaryKeyConstraint("job_id", "segment", "shard_id", name=op.f("pk_shard_segments")),
    )


def _tallies() -> None:
    op.create_table(
        "tallies",
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("about", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("batch_id", sa.String(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("retryable", sa.Integer(), nullable=False),
        sa.CheckConstraint("about IN ('kind', 'label')", name=op.f("ck_tallies_about")),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], name=op.f("fk_tallies_batch_id")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_tallies_job_id")),
        sa.PrimaryKeyConstraint("job_id", "about", "name", "batch_id", name=op.f("pk_tallies")),
    )
    op.create_index("ix_tallies_batch", "tallies", ["batch_id"])
    op.create_index("ix_tallies_sums", "tallies", ["job_id", "about", "name", "rows"])
