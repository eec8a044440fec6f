"""A chunk gets its row when it is begun, not when it is planned; those that ended are found by time."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Drop the rows of chunks that nobody has begun; nothing is lost with them."""
    chunks = sa.table("chunks", sa.column("state", sa.String), sa.column("attempts", sa.Integer))
    op.drop_index("chunks_by_state", "chunks")
    op.execute(sa.delete(chunks).where(chunks.c.state == "waiting", chunks.c.attempts == 0))
    op.execute(sa.update(chunks).where(chunks.c.state == "waiting").values(state="begun"))
    op.create_index("chunks_by_end", "chunks", ["job_id", "finished_utc"])
