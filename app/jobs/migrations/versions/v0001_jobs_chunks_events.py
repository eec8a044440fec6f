"""Jobs, their chunks and their events."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_job_id = sa.String(26).with_variant(sa.String(26, collation="C"), "postgresql")


def upgrade() -> None:
    """Make the three tables."""
    _make_jobs()
    _make_chunks()
    _make_events()


def _make_jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", _job_id, primary_key=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("waiting", sa.Boolean, nullable=False),
        sa.Column("cancel", sa.Boolean, nullable=False),
        sa.Column("request_json", sa.Text, nullable=False),
        sa.Column("request_digest", sa.Text, nullable=False),
        sa.Column("idempotency_key", sa.Text),
        sa.Column("owner", sa.Text),
        sa.Column("beat", sa.BigInteger, nullable=False),
        sa.Column("created_utc", sa.Double, nullable=False),
        sa.Column("started_utc", sa.Double),
        sa.Column("finished_utc", sa.Double),
        sa.Column("files", sa.BigInteger, nullable=False),
        sa.Column("images", sa.BigInteger, nullable=False),
        sa.Column("chunks", sa.Integer, nullable=False),
        sa.Column("chunks_done", sa.Integer, nullable=False),
        sa.Column("bytes_on_disk", sa.BigInteger, nullable=False),
        sa.Column("counts", sa.Text, nullable=False),
        sa.Column("result_json", sa.Text),
        sa.Column("last_event", sa.BigInteger, nullable=False),
    )
    op.create_index("jobs_by_idempotency_key", "jobs", ["idempotency_key"], unique=True)
    op.create_index("jobs_by_state", "jobs", ["state", "id"])
    op.create_index("jobs_by_end", "jobs", ["finished_utc"])


def _make_chunks() -> None:
    op.create_table(
        "chunks",
        sa.Column("job_id", _job_id, sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("counts", sa.Text),
        sa.Column("finished_utc", sa.Double),
        sqlite_with_rowid=False,
    )
    op.create_index("chunks_by_state", "chunks", ["job_id", "state", "number"])


def _make_events() -> None:
    op.create_table(
        "events",
        sa.Column("job_id", _job_id, sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("seq", sa.BigInteger, primary_key=True),
        sa.Column("at_utc", sa.Double, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("data_json", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
