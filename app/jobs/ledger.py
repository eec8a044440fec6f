"""The ledger of dataset jobs: what was asked for, who does it, how far it came. It is the truth."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from itertools import islice

from sqlalchemy import Connection, delete, func, or_, select
from sqlalchemy.exc import IntegrityError

from app.errors import IdempotencyConflict, InvalidRequest, JobStateConflict, NotOwner, TooManyJobs
from app.jobs import chunk_rows
from app.jobs.counts import Counts
from app.jobs.job import ACTIVE, FINISHED, Chunk, Event, Job, JobPage, Lease, NewJob, State, is_job_id
from app.jobs.job_rows import change, enter, find, find_earlier, note_event, set_waiting, write_down
from app.jobs.tables import chunks, events, job_of, jobs
from app.jobs.transactions import Transactions

MAX_PAGE = 1000
"""Most rows that one question is answered with."""

MAX_DELETED_CHUNKS = 20_000


class Ledger:
    """Everything that can be done to jobs; each method but `delete` is one transaction. Threads may share it.

    Those that drive a job name themselves as its `owner`, and get NotOwner once it is somebody else's. Every
    method may raise LedgerUnavailable and be repeated then; those with an id raise UnknownJob.
    """

    def __init__(self, transactions: Transactions, clock: Callable[[], float]) -> None:
        self._transactions = transactions
        self._clock = clock

    @property
    def name(self) -> str:
        """The database's URL, without its password."""
        return self._transactions.name

    def submit(self, new: NewJob, most_queued: int | None = None) -> tuple[Job, bool]:
        """Write down a new job, or find the one that was submitted before with the same idempotency key.

        The flag says whether the job is the new one. Raises IdempotencyConflict when the earlier request
        asked for something else, and TooManyJobs when as many as `most_queued` wait for somebody to begin.
        """
        assert is_job_id(new.id), new.id
        try:
            with self._transactions.writing() as connection:
                job = find_earlier(connection, new)
                if job is None:
                    _refuse_full_queue(connection, most_queued)
                    job = write_down(connection, new, self._clock())
        except IntegrityError:  # another process was faster
            with self._transactions.reading() as connection:
                earlier = find_earlier(connection, new)
            if earlier is None:
                raise
            job = earlier
        if job.request_digest != new.request_digest:
            raise IdempotencyConflict(
                f"The Idempotency-Key of this request was used before for another one (job {job.id})."
            )
        return job, job.id == new.id

    def get(self, job_id: str) -> Job:
        """One look at a job."""
        with self._transactions.reading() as connection:
            return find(connection, job_id)

    def page(self, states: Collection[State] = (), limit: int = 50, cursor: str | None = None) -> JobPage:
        """At most `limit` (1 to MAX_PAGE) jobs, newest first, in any of `states` (all when there are none).

        cursor: that of the page before. Raises InvalidRequest when it is none.
        """
        assert 1 <= limit <= MAX_PAGE, limit
        if cursor is not None and not is_job_id(cursor):
            raise InvalidRequest("The cursor is not one that a list of jobs gave.")
        wanted = select(jobs).order_by(jobs.c.id.desc()).limit(limit + 1)
        if states:
            wanted = wanted.where(jobs.c.state.in_(states))
        if cursor is not None:
            wanted = wanted.where(jobs.c.id < cursor)
        with self._transactions.reading() as connection:
            found = tuple(job_of(row) for row in connection.execute(wanted))
        return JobPage(found[:limit], found[limit - 1].id if len(found) > limit else None)

    def tally(self) -> dict[State, int]:
        """How many jobs are in each state; states without any are left out."""
        counted = select(jobs.c.state, func.count().label("jobs")).group_by(jobs.c.state)
        with self._transactions.reading() as connection:
            rows = connection.execute(counted)
            return {row.state: row.jobs for row in rows}

    def claim(self, owner: str) -> Job | None:
        """Become the owner of the oldest job that has something left to do and nobody who does it."""
        free = (
            select(jobs)
            .where(jobs.c.state.in_(ACTIVE), jobs.c.owner.is_(None))
            .order_by(jobs.c.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        with self._transactions.writing() as connection:
            row = connection.execute(free).one_or_none()
            if row is None:
                return None
            job = job_of(row)
            return change(connection, job, owner=owner, beat=job.beat + 1)

    def leases(self) -> tuple[Lease, ...]:
        """Who drives which job; look twice to see whose `beat` stands still."""
        driven = select(jobs.c.id, jobs.c.owner, jobs.c.beat).where(
            jobs.c.state.in_(ACTIVE), jobs.c.owner.is_not(None)
        )
        with self._transactions.reading() as connection:
            return tuple(Lease(*row) for row in connection.execute(driven.order_by(jobs.c.id)))

    def take_over(self, seen: Lease, owner: str) -> Job | None:
        """Become the owner of a job whose owner and beat are still those `seen`; None when they are not."""
        with self._locked(seen.job_id) as (connection, job):
            if job.finished or (job.owner, job.beat) != (seen.owner, seen.beat):
                return None
            return change(connection, job, owner=owner, beat=job.beat + 1)

    def beat(self, job_id: str, owner: str) -> Job:
        """Show that the owner lives, and see whether `cancel` was asked for."""
        with self._driven(job_id, owner) as (connection, job):
            return change(connection, job, beat=job.beat + 1)

    def release(self, job_id: str, owner: str) -> None:
        """Give a job back as it is, so that anybody can claim it; not to own it already is no error."""
        with self._locked(job_id) as (connection, job):
            if job.owner == owner and not job.finished:
                change(connection, job, owner=None, beat=job.beat + 1)

    def advance(
        self,
        job_id: str,
        owner: str,
        state: State,
        *,
        detail: str = "",
        result_json: str | None = None,
        bytes_on_disk: int | None = None,
    ) -> Job:
        """Bring a job into its next state, with an event; to be there already is no error.

        Raises JobStateConflict when `state` cannot follow, or when chunks are missing for "finishing".
        """
        with self._owned(job_id, owner) as (connection, job):
            if job.state == state:
                return job
            values: dict[str, object] = {"result_json": result_json, "bytes_on_disk": bytes_on_disk}
            given = {name: value for name, value in values.items() if value is not None}
            return enter(connection, job, state, detail, self._clock(), **given)

    def note(self, job_id: str, owner: str, *, waiting: bool, detail: str) -> Job:
        """Say why a job waits, or that it goes on; what is said already makes no event."""
        with self._driven(job_id, owner) as (connection, job):
            return set_waiting(connection, job, waiting, detail, self._clock())

    def plan_chunks(self, job_id: str, owner: str, chunk_count: int, *, files: int, images: int) -> Job:
        """Make a job that is being prepared a running one with chunks 0 to `chunk_count` - 1 to do.

        To have done so already is no error. Raises JobStateConflict in any other state.
        """
        with self._driven(job_id, owner) as (connection, job):
            if job.state == "running" and job.chunks == chunk_count:
                return job
            totals = {"chunks": chunk_count, "files": files, "images": images}
            return enter(connection, job, "running", "", self._clock(), **totals)

    def chunks_waiting(self, job_id: str, limit: int = MAX_PAGE, after: int = -1) -> tuple[Chunk, ...]:
        """The first `limit` chunks behind number `after` that are not done, in order."""
        assert 1 <= limit <= MAX_PAGE, limit
        with self._transactions.reading() as connection:
            return tuple(islice(chunk_rows.not_done(connection, find(connection, job_id), after), limit))

    def start_chunk(self, job_id: str, owner: str, number: int) -> int:
        """Write down that a chunk is begun, and return how often it was: 1 for the first time."""
        with self._running(job_id, owner, number) as (connection, job):
            return chunk_rows.begin(connection, job, number)

    def stop_chunk(self, job_id: str, owner: str, number: int) -> None:
        """Take back that a chunk was begun: it was stopped in good order, and did not end its process."""
        with self._running(job_id, owner, number) as (connection, job):
            chunk_rows.take_back(connection, job, number)

    def files_per_s(self, job_id: str, window_s: float = 60.0) -> float | None:
        """How fast the chunks of a job were done in the last seconds; None when there were none."""
        now_utc = self._clock()
        with self._transactions.reading() as connection:
            job = find(connection, job_id)
            files = chunk_rows.files_since(connection, job, now_utc - window_s)
        if files is None:
            return None
        running_s = now_utc - (job.started_utc or now_utc)
        return files / max(min(window_s, running_s), 1e-3)

    def finish_chunk(self, job_id: str, owner: str, number: int, counts: Counts) -> bool:
        """Write down that a chunk is done, and add its counts to the job's; False when it was done before."""
        with self._running(job_id, owner, number) as (connection, job):
            now_utc = self._clock()
            if not chunk_rows.finish(connection, job, number, counts, now_utc):
                return False
            change(connection, job, counts=job.counts + counts, chunks_done=job.chunks_done + 1)
            return True

    def request_cancel(self, job_id: str) -> Job:
        """Ask for the end of a job: at once when nobody drives it, else its owner sees it at the next beat.

        A job that is finished stays as it is, which is no error.
        """
        with self._locked(job_id) as (connection, job):
            if job.finished or job.cancel:
                return job
            asked = change(connection, job, cancel=True)
            if asked.owner is None:
                return enter(connection, asked, "cancelled", "", self._clock())
            return note_event(connection, asked, "cancel", "{}", self._clock())

    def append_event(self, job_id: str, kind: str, data_json: str, owner: str | None = None) -> int:
        """Write down what happened to a job, by its owner or by anybody, and return the event's number."""
        with self._locked(job_id) as (connection, job):
            if owner is not None:
                _check_owner(job, owner)
            return note_event(connection, job, kind, data_json, self._clock()).last_event

    def events_after(self, job_id: str, seq: int = 0, limit: int = MAX_PAGE) -> tuple[Event, ...]:
        """The first `limit` events behind number `seq`, in order; they are kept as long as the job."""
        assert 1 <= limit <= MAX_PAGE, limit
        newer = (
            select(events.c.seq, events.c.at_utc, events.c.kind, events.c.data_json)
            .where(events.c.job_id == job_id, events.c.seq > seq)
            .order_by(events.c.seq)
            .limit(limit)
        )
        with self._transactions.reading() as connection:
            find(connection, job_id)
            return tuple(Event(*row) for row in connection.execute(newer))

    def expired(
        self, older_than_utc: float, keep_bytes: int | None = None, limit: int = MAX_PAGE
    ) -> tuple[Job, ...]:
        """Finished jobs that are not to be kept, those first that finished first.

        That are those which ended before `older_than_utc`, and those beyond the newest that take at most
        `keep_bytes` together.
        """
        newest_first = (jobs.c.finished_utc.desc(), jobs.c.id.desc())
        kept_bytes = func.sum(jobs.c.bytes_on_disk).over(order_by=newest_first)
        ended = select(jobs, kept_bytes.label("kept_bytes")).where(jobs.c.state.in_(FINISHED)).subquery()
        gone = ended.c.finished_utc < older_than_utc
        if keep_bytes is not None:
            gone = or_(gone, ended.c.kept_bytes > keep_bytes)
        oldest_first = (ended.c.finished_utc, ended.c.id)
        with self._transactions.reading() as connection:
            rows = connection.execute(select(ended).where(gone).order_by(*oldest_first).limit(limit))
            return tuple(job_of(row) for row in rows)

    def delete(self, job_id: str) -> None:
        """Forget a finished job with its chunks and events. Raises JobStateConflict when it is not.

        Chunks go in portions, a transaction each, so that others who write need not wait for a million rows;
        the job goes last, so that a deletion that was cut short can be repeated.
        """
        job = self.get(job_id)
        if not job.finished:
            raise JobStateConflict(f"Job {job_id} is {job.state}; cancel it before it is deleted.")
        for end in range(MAX_DELETED_CHUNKS, job.chunks, MAX_DELETED_CHUNKS):
            with self._transactions.writing() as connection:
                connection.execute(delete(chunks).where(chunks.c.job_id == job_id, chunks.c.number < end))
        with self._locked(job_id) as (connection, _):
            connection.execute(delete(jobs).where(jobs.c.id == job_id))

    @contextmanager
    def _locked(self, job_id: str) -> Iterator[tuple[Connection, Job]]:
        """A job that nobody else changes as long as this lasts."""
        with self._transactions.writing() as connection:
            yield connection, find(connection, job_id, lock=True)

    @contextmanager
    def _owned(self, job_id: str, owner: str) -> Iterator[tuple[Connection, Job]]:
        with self._locked(job_id) as (connection, job):
            _check_owner(job, owner)
            yield connection, job

    @contextmanager
    def _driven(self, job_id: str, owner: str) -> Iterator[tuple[Connection, Job]]:
        with self._owned(job_id, owner) as (connection, job):
            if job.finished:
                raise JobStateConflict(f"Job {job_id} is {job.state}; nothing more can be done.")
            yield connection, job

    @contextmanager
    def _running(self, job_id: str, owner: str, number: int) -> Iterator[tuple[Connection, Job]]:
        with self._owned(job_id, owner) as (connection, job):
            if job.state != "running":
                raise JobStateConflict(
                    f"Job {job_id} is {job.state}; its chunks are done only while it runs."
                )
            assert 0 <= number < job.chunks, (number, job.chunks)
            yield connection, job


def _refuse_full_queue(connection: Connection, most_queued: int | None) -> None:
    if most_queued is None:
        return
    queued = connection.execute(select(func.count()).where(jobs.c.state == "queued")).scalar_one()
    if queued >= most_queued:
        raise TooManyJobs(f"{queued} jobs wait already; try again when some of them are done.")


def _check_owner(job: Job, owner: str) -> None:
    if job.owner != owner:
        raise NotOwner(f"Job {job.id} is driven by {job.owner or 'nobody'}, not by {owner}.")
