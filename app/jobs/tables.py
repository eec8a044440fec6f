"""The ledger's tables as this version of the code sees them; `migrations` makes them so."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Row,
    String,
    Table,
    Text,
)

from app.jobs.counts import Counts
from app.jobs.job import ID_CHARACTERS, Job

VERSION_TABLE = "ledger_version"
"""Where Alembic notes the revision; not its usual name, so that the database may be shared."""

metadata = MetaData()

# Ids are compared byte by byte, whatever the language of the database.
JobId = String(ID_CHARACTERS).with_variant(String(ID_CHARACTERS, collation="C"), "postgresql")

jobs = Table(
    "jobs",
    metadata,
    Column("id", JobId, primary_key=True),
    Column("state", String(16), nullable=False),
    Column("detail", Text, nullable=False),
    Column("waiting", Boolean, nullable=False),
    Column("cancel", Boolean, nullable=False),
    Column("request_json", Text, nullable=False),
    Column("request_digest", Text, nullable=False),
    Column("idempotency_key", Text),
    Column("owner", Text),
    Column("beat", BigInteger, nullable=False),
    Column("created_utc", Double, nullable=False),
    Column("started_utc", Double),
    Column("finished_utc", Double),
    Column("files", BigInteger, nullable=False),
    Column("images", BigInteger, nullable=False),
    Column("chunks", Integer, nullable=False),
    Column("chunks_done", Integer, nullable=False),
    Column("bytes_on_disk", BigInteger, nullable=False),
    Column("counts", Text, nullable=False),
    Column("result_json", Text),
    Column("last_event", BigInteger, nullable=False),
    Index("jobs_by_idempotency_key", "idempotency_key", unique=True),
    Index("jobs_by_state", "state", "id"),
    Index("jobs_by_end", "finished_utc"),
)

chunks = Table(
    "chunks",
    metadata,
    Column("job_id", JobId, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("state", String(8), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("counts", Text),
    Column("finished_utc", Double),
    Index("chunks_by_end", "job_id", "finished_utc"),
    sqlite_with_rowid=False,
)

events = Table(
    "events",
    metadata,
    Column("job_id", JobId, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("at_utc", Double, nullable=False),
    Column("kind", Text, nullable=False),
    Column("data_json", Text, nullable=False),
    sqlite_with_rowid=False,
)


def job_of(row: Row[Any]) -> Job:
    """The job of a row of `jobs`."""
    values = {column.name: getattr(row, column.name) for column in jobs.columns}
    return Job(**values | {"counts": Counts.from_json(row.counts)})


def column_of(value: object) -> object:
    """What stands in a column for a value of a job."""
    return value.to_json() if isinstance(value, Counts) else value
