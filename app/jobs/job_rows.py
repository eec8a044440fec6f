"""Rows of jobs inside a transaction: finding and locking one, changing it, and writing down its events."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, insert, or_, select, update

from app.errors import JobCancelled, JobStateConflict, NotOwner, UnknownJob
from app.jobs.counts import Counts
from app.jobs.job import FINISHED, FOLLOWERS, Job, NewJob, State, is_job_id
from app.jobs.tables import column_of, events, job_of, jobs
from app.jobs.text import storable

MAX_DETAIL_CHARACTERS = 2000


def find(connection: Connection, job_id: str, *, lock: bool = False) -> Job:
    """The job of this id; with `lock` nobody else changes it before this transaction ends.

    SQLite locks nothing here: its transactions that write come one after the other. Raises UnknownJob.
    """
    wanted = select(jobs).where(jobs.c.id == job_id)
    # What cannot be an id might be no text that a database takes.
    row = (
        connection.execute(wanted.with_for_update() if lock else wanted).one_or_none()
        if is_job_id(job_id)
        else None
    )
    if row is None:
        raise UnknownJob(f"There is no job {storable(job_id, 64)!r}.")
    return job_of(row)


def find_earlier(connection: Connection, new: NewJob) -> Job | None:
    """The job that has the id, or the idempotency key, of a new one."""
    same = jobs.c.id == new.id
    if new.idempotency_key is not None:
        same = or_(same, jobs.c.idempotency_key == new.idempotency_key)
    row = connection.execute(select(jobs).where(same)).one_or_none()
    return None if row is None else job_of(row)


def write_down(connection: Connection, new: NewJob, now_utc: float) -> Job:
    """Insert a new job, and the event that it is queued."""
    values = {
        "id": new.id,
        "state": "queued",
        "detail": "",
        "waiting": False,
        "cancel": False,
        "request_json": new.request_json,
        "request_digest": new.request_digest,
        "idempotency_key": new.idempotency_key,
        "beat": 0,
        "created_utc": now_utc,
        "files": 0,
        "images": 0,
        "chunks": 0,
        "chunks_done": 0,
        "bytes_on_disk": 0,
        "counts": Counts().to_json(),
        "last_event": 0,
    }
    connection.execute(insert(jobs).values(values))
    job = find(connection, new.id)
    return note_event(connection, job, "state", _json(state="queued", detail=""), now_utc)


def change(connection: Connection, seen: Job, **values: Any) -> Job:
    """Set columns of a job that still is as it was `seen`; returns what it is now.

    Raises NotOwner when it is not, which a lock makes impossible.
    """
    unchanged = (
        jobs.c.id == seen.id,
        jobs.c.state == seen.state,
        jobs.c.owner.is_not_distinct_from(seen.owner),
        jobs.c.beat == seen.beat,
        jobs.c.last_event == seen.last_event,
    )
    columns = {name: column_of(value) for name, value in values.items()}
    if connection.execute(update(jobs).where(*unchanged).values(columns)).rowcount != 1:
        raise NotOwner(f"Job {seen.id} was changed by somebody else at the same time.")
    return replace(seen, **values)


def note_event(connection: Connection, seen: Job, kind: str, data_json: str, now_utc: float) -> Job:
    """Write down what happened to a job that was found with a lock."""
    job = change(connection, seen, last_event=seen.last_event + 1)
    connection.execute(
        insert(events).values(
            job_id=job.id, seq=job.last_event, at_utc=now_utc, kind=kind, data_json=data_json
        )
    )
    return job


def enter(connection: Connection, seen: Job, state: State, detail: str, now_utc: float, **values: Any) -> Job:
    """Bring a job that was found with a lock into a state that may follow, with the event.

    Raises JobStateConflict when it may not, and JobCancelled where its end was asked for, so that it is not
    done nevertheless.
    """
    if state not in FOLLOWERS[seen.state]:
        raise JobStateConflict(f"Job {seen.id} is {seen.state} and cannot become {state}.")
    if seen.cancel and state not in ("failed", "cancelled"):
        raise JobCancelled(f"Job {seen.id} is to end and cannot become {state}.")
    if state == "finishing" and seen.chunks_done != seen.chunks:
        raise JobStateConflict(
            f"Job {seen.id} cannot become finishing: {seen.chunks_done} of its {seen.chunks} chunks are done."
        )
    if state in FINISHED:
        values["finished_utc"] = now_utc
    elif seen.started_utc is None:
        values["started_utc"] = now_utc
    said = storable(detail, MAX_DETAIL_CHARACTERS)
    job = change(connection, seen, state=state, detail=said, waiting=False, **values)
    return note_event(connection, job, "state", _json(state=state, detail=said), now_utc)


def set_waiting(connection: Connection, seen: Job, waiting: bool, detail: str, now_utc: float) -> Job:
    """Say that a job that was found with a lock waits, or no longer does, with the event."""
    said = storable(detail, MAX_DETAIL_CHARACTERS)
    if (seen.waiting, seen.detail) == (waiting, said):
        return seen
    job = change(connection, seen, waiting=waiting, detail=said)
    return note_event(connection, job, "note", _json(waiting=waiting, detail=said), now_utc)


def _json(**values: object) -> str:
    return json.dumps(values, separators=(",", ":"))
