"""Rows of chunks inside a transaction: one for each chunk that was begun, so that a plan costs nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sqlalchemy import ColumnElement, Connection, insert, select, update

from app.jobs.counts import Counts
from app.jobs.job import Chunk, Job
from app.jobs.tables import chunks

BEGUN: Final = "begun"
DONE: Final = "done"

_WINDOW = 5000


def not_done(connection: Connection, job: Job, after: int) -> Iterator[Chunk]:
    """The chunks of a job behind number `after` that are not done, in order."""
    for start in range(after + 1, job.chunks, _WINDOW):
        end = min(start + _WINDOW, job.chunks)
        window = select(chunks.c.number, chunks.c.state, chunks.c.attempts).where(
            chunks.c.job_id == job.id, chunks.c.number >= start, chunks.c.number < end
        )
        rows = {row.number: row for row in connection.execute(window)}
        for number in range(start, end):
            row = rows.get(number)
            if row is None or row.state != DONE:
                yield Chunk(number, row.attempts if row else 0)


def begin(connection: Connection, job: Job, number: int) -> int:
    """Count one more attempt at a chunk of a job that was found with a lock; return how many that makes."""
    this = _chunk(job, number)
    once_more = update(chunks).where(this).values(attempts=chunks.c.attempts + 1)
    if connection.execute(once_more).rowcount == 1:
        return int(connection.execute(select(chunks.c.attempts).where(this)).scalar_one())
    connection.execute(insert(chunks).values(job_id=job.id, number=number, state=BEGUN, attempts=1))
    return 1


def take_back(connection: Connection, job: Job, number: int) -> None:
    """Count one attempt less at a chunk of a job that was found with a lock."""
    begun = _chunk(job, number) & (chunks.c.attempts > 0)
    connection.execute(update(chunks).where(begun).values(attempts=chunks.c.attempts - 1))


def finish(connection: Connection, job: Job, number: int, counts: Counts, now_utc: float) -> bool:
    """Note that a chunk of a job that was found with a lock is done; False when it was so before."""
    this = _chunk(job, number)
    done = {"state": DONE, "counts": counts.to_json(), "finished_utc": now_utc}
    if connection.execute(update(chunks).where(this, chunks.c.state != DONE).values(done)).rowcount == 1:
        return True
    if connection.execute(select(chunks.c.number).where(this)).first() is not None:
        return False
    connection.execute(insert(chunks).values(job_id=job.id, number=number, attempts=0, **done))
    return True


def files_since(connection: Connection, job: Job, since_utc: float) -> int | None:
    """How many files were in the chunks done since then; None when there were no such chunks."""
    ended = select(chunks.c.counts).where(chunks.c.job_id == job.id, chunks.c.finished_utc > since_utc)
    counts = connection.execute(ended).scalars().all()
    return sum(Counts.from_json(text).files for text in counts) if counts else None


def _chunk(job: Job, number: int) -> ColumnElement[bool]:
    return (chunks.c.job_id == job.id) & (chunks.c.number == number)
