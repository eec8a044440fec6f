"""The ledger of jobs, on real SQLite and real PostgreSQL."""

import json
import os

import pytest

from app.errors import (
    IdempotencyConflict,
    InvalidRequest,
    JobStateConflict,
    NotOwner,
    TooManyJobs,
    UnknownJob,
)
from app.jobs import ledger as ledger_module
from app.jobs.counts import Counts
from app.jobs.job import FINISHED, FOLLOWERS, Chunk, Lease, NewJob, new_job_id
from app.jobs.open_ledger import open_ledger

ORDER = ("queued", "preparing", "running", "finishing", "done")
NOBODY = "0" * 26


class Clock:
    """A second passes at each look."""

    def __init__(self):
        self.now = 1_000_000.0

    def __call__(self):
        self.now += 1.0
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def ledger(ledger_url, clock):
    with open_ledger(ledger_url, clock) as opened:
        yield opened


@pytest.fixture
def submit(ledger, clock):
    def submit(key=None, digest="d", request='{"model":"a"}'):
        return ledger.submit(NewJob(new_job_id(clock, os.urandom), request, digest, key))[0]

    return submit


@pytest.fixture
def drive(ledger, submit):
    """A job that `me` brought into a state, with 3 chunks once it runs."""

    def drive(state="running"):
        submit()
        job = ledger.claim("me")
        for step in ORDER[1 : ORDER.index(state) + 1] if state in ORDER else (state,):
            if step == "running":
                ledger.plan_chunks(job.id, "me", 3, files=10, images=8)
            elif step == "finishing":
                for number in range(3):
                    ledger.finish_chunk(job.id, "me", number, Counts(copied=1))
                ledger.advance(job.id, "me", step)
            else:
                ledger.advance(job.id, "me", step)
        return ledger.get(job.id)

    return drive


def kinds(ledger, job):
    return [event.kind for event in ledger.events_after(job.id)]


def test_a_submitted_job_is_queued_and_remembered_as_it_was_sent(ledger, clock):
    new = NewJob(new_job_id(clock, os.urandom), '{"a": "ü\\u0000",  "b":1}', "digest", "key")

    job, is_new = ledger.submit(new)

    assert is_new
    assert job == ledger.get(new.id)
    assert (job.state, job.request_json, job.owner, job.counts) == (
        "queued",
        new.request_json,
        None,
        Counts(),
    )
    assert job.created_utc == clock.now


def test_a_ledger_that_is_opened_again_still_knows(ledger, submit, ledger_url):
    job = submit()

    with open_ledger(ledger_url) as again:
        assert again.get(job.id) == job


def test_the_same_request_with_the_same_key_is_one_job(ledger, submit, clock):
    job = submit("key")

    again, is_new = ledger.submit(NewJob(new_job_id(clock, os.urandom), "{}", "d", "key"))

    assert (again.id, is_new) == (job.id, False)
    assert len(ledger.page().jobs) == 1


def test_another_request_with_the_same_key_is_refused(submit):
    job = submit("key", digest="one")

    with pytest.raises(IdempotencyConflict, match=job.id):
        submit("key", digest="other")


def test_without_a_key_every_request_is_a_job_of_its_own(ledger, submit):
    assert submit().id != submit().id


def test_submitting_may_be_repeated_when_its_answer_was_lost(ledger, clock):
    new = NewJob(new_job_id(clock, os.urandom), "{}", "d")
    ledger.submit(new)

    job, is_new = ledger.submit(new)

    assert (job.id, is_new, job.last_event) == (new.id, True, 1)


def test_a_job_that_is_not_there_is_unknown_whatever_its_id(ledger):
    for job_id in (NOBODY, "", "x", "\0", "'; --", "ü" * 26, "\udc80", "9" * 100_000):
        for ask in (ledger.get, ledger.events_after, ledger.request_cancel, ledger.delete):
            with pytest.raises(UnknownJob) as raised:
                ask(job_id)
            assert len(raised.value.detail) < 300


def test_jobs_are_listed_newest_first_page_by_page(ledger, submit):
    ids = [submit().id for _ in range(5)]

    first = ledger.page(limit=2)
    second = ledger.page(limit=2, cursor=first.cursor)
    third = ledger.page(limit=2, cursor=second.cursor)

    pages = [[job.id for job in page.jobs] for page in (first, second, third)]
    assert pages == [[ids[4], ids[3]], [ids[2], ids[1]], [ids[0]]]
    assert third.cursor is None


def test_a_page_that_ends_with_the_last_job_has_no_cursor(ledger, submit):
    submit()
    submit()

    assert ledger.page(limit=2).cursor is None


def test_jobs_are_listed_and_counted_by_state(ledger, submit, drive):
    done, waiting = drive("done"), submit()

    assert [job.id for job in ledger.page(["done", "failed"]).jobs] == [done.id]
    assert [job.id for job in ledger.page(["queued"]).jobs] == [waiting.id]
    assert ledger.tally() == {"done": 1, "queued": 1}


def test_a_cursor_of_somebody_elses_making_is_refused(ledger):
    with pytest.raises(InvalidRequest, match="cursor"):
        ledger.page(cursor="\0")


def test_the_oldest_job_is_claimed_first_and_each_once(ledger, submit):
    ids = [submit().id for _ in range(3)]

    assert [ledger.claim("me").id for _ in ids] == ids
    assert ledger.claim("me") is None


def test_a_job_that_was_given_back_is_claimed_in_the_state_it_was_in(ledger, drive):
    job = drive("running")

    ledger.release(job.id, "me")
    ledger.release(job.id, "me")

    assert ledger.leases() == ()
    claimed = ledger.claim("you")
    assert (claimed.id, claimed.state, claimed.owner) == (job.id, "running", "you")


@pytest.mark.parametrize("state", sorted(FINISHED))
def test_a_finished_job_is_not_claimed_and_cannot_be_taken_over(ledger, drive, state):
    job = drive(state)

    assert ledger.claim("you") is None
    assert ledger.take_over(Lease(job.id, "me", job.beat), "you") is None
    assert ledger.leases() == ()


def test_a_beat_is_seen_by_those_who_watch(ledger, drive):
    job = drive()
    (before,) = ledger.leases()

    ledger.beat(job.id, "me")

    (after,) = ledger.leases()
    assert (before.owner, after.owner) == ("me", "me")
    assert after.beat > before.beat


def test_a_job_is_taken_over_from_an_owner_whose_beat_stands_still(ledger, drive):
    job = drive()
    (seen,) = ledger.leases()

    taken = ledger.take_over(seen, "you")

    assert (taken.id, taken.owner, taken.state) == (job.id, "you", "running")


def test_a_job_is_not_taken_over_from_an_owner_who_lives(ledger, drive):
    job = drive()
    (seen,) = ledger.leases()
    ledger.beat(job.id, "me")

    assert ledger.take_over(seen, "you") is None
    assert ledger.get(job.id).owner == "me"


@pytest.mark.parametrize(
    "write",
    [
        lambda ledger, job: ledger.beat(job, "me"),
        lambda ledger, job: ledger.advance(job, "me", "failed"),
        lambda ledger, job: ledger.advance(job, "me", "running"),
        lambda ledger, job: ledger.note(job, "me", waiting=True, detail="x"),
        lambda ledger, job: ledger.plan_chunks(job, "me", 3, files=1, images=1),
        lambda ledger, job: ledger.start_chunk(job, "me", 0),
        lambda ledger, job: ledger.finish_chunk(job, "me", 0, Counts(copied=1)),
        lambda ledger, job: ledger.append_event(job, "progress", "{}", owner="me"),
    ],
)
def test_whoever_lost_a_job_cannot_write_to_it_any_more(ledger, drive, write):
    job = drive()
    ledger.take_over(Lease(job.id, "me", job.beat), "you")
    before, chunks = ledger.get(job.id), ledger.chunks_waiting(job.id)

    with pytest.raises(NotOwner):
        write(ledger, job.id)

    assert ledger.get(job.id) == before
    assert ledger.chunks_waiting(job.id) == chunks


def test_giving_back_a_job_that_was_lost_changes_nothing(ledger, drive):
    job = drive()
    ledger.take_over(Lease(job.id, "me", job.beat), "you")

    ledger.release(job.id, "me")

    assert ledger.get(job.id).owner == "you"


def test_a_job_goes_through_its_states_with_an_event_and_a_time_each(ledger, submit, clock):
    submit()
    job = ledger.claim("me")
    ledger.advance(job.id, "me", "preparing")
    started = clock.now
    ledger.plan_chunks(job.id, "me", 0, files=2, images=0)
    ledger.advance(job.id, "me", "finishing")
    done = ledger.advance(job.id, "me", "done", result_json='{"a":1}', bytes_on_disk=77)

    said = [json.loads(event.data_json)["state"] for event in ledger.events_after(job.id)]
    assert said == list(ORDER)
    assert (done.started_utc, done.finished_utc, done.result_json, done.bytes_on_disk, done.files) == (
        started,
        clock.now,
        '{"a":1}',
        77,
        2,
    )
    assert done == ledger.get(job.id)


@pytest.mark.parametrize("state", FOLLOWERS)
def test_no_other_state_can_follow(ledger, drive, state):
    job = drive(state)

    for wanted in set(FOLLOWERS) - FOLLOWERS[state] - {state}:
        with pytest.raises(JobStateConflict, match=f"is {state} and cannot become {wanted}"):
            ledger.advance(job.id, "me", wanted)
    assert ledger.get(job.id) == job


@pytest.mark.parametrize("state", FOLLOWERS)
def test_to_be_in_a_state_already_is_no_error_and_no_event(ledger, drive, state):
    job = drive(state)

    assert ledger.advance(job.id, "me", state) == job == ledger.get(job.id)


def test_a_job_with_chunks_missing_cannot_finish(ledger, drive):
    job = drive("running")
    ledger.finish_chunk(job.id, "me", 1, Counts())

    with pytest.raises(JobStateConflict, match="1 of its 3 chunks"):
        ledger.advance(job.id, "me", "finishing")


@pytest.mark.parametrize("state", sorted(FINISHED))
def test_nothing_more_is_done_to_a_finished_job(ledger, drive, state):
    job = drive(state)

    for write in (
        lambda: ledger.beat(job.id, "me"),
        lambda: ledger.note(job.id, "me", waiting=True, detail="x"),
        lambda: ledger.plan_chunks(job.id, "me", 1, files=1, images=1),
        lambda: ledger.start_chunk(job.id, "me", 0),
        lambda: ledger.finish_chunk(job.id, "me", 0, Counts()),
    ):
        with pytest.raises(JobStateConflict):
            write()
    assert ledger.get(job.id) == job


def test_why_a_job_waits_is_said_once_and_taken_back_by_the_next_state(ledger, drive):
    job = drive("preparing")
    ledger.note(job.id, "me", waiting=True, detail="The disk is full.")
    waiting = ledger.note(job.id, "me", waiting=True, detail="The disk is full.")

    assert (waiting.waiting, waiting.detail, waiting.state) == (True, "The disk is full.", "preparing")
    running = ledger.plan_chunks(job.id, "me", 1, files=1, images=1)
    assert (running.waiting, running.detail) == (False, "")
    assert kinds(ledger, job) == ["state", "state", "note", "state"]


def test_a_sentence_may_name_any_file_and_be_of_any_length(ledger, drive):
    job = drive()

    failed = ledger.advance(job.id, "me", "failed", detail="\udcff\0é" + "x" * 10_000)

    assert failed.detail.startswith("\\udcff\\x00éx")
    assert len(failed.detail) == 2000
    assert ledger.get(job.id) == failed


def test_chunks_are_waiting_in_order_until_they_are_done(ledger, drive):
    job = drive()

    ledger.start_chunk(job.id, "me", 1)
    ledger.start_chunk(job.id, "me", 2)
    ledger.finish_chunk(job.id, "me", 1, Counts())

    assert ledger.chunks_waiting(job.id) == (Chunk(0, 0), Chunk(2, 1))
    assert ledger.chunks_waiting(job.id, limit=1) == (Chunk(0, 0),)
    assert ledger.chunks_waiting(job.id, after=0) == (Chunk(2, 1),)


def test_a_job_of_a_million_chunks_is_planned_and_looked_through_at_once(ledger, submit):
    submit()
    job = ledger.claim("me")
    ledger.advance(job.id, "me", "preparing")
    ledger.plan_chunks(job.id, "me", 1_000_000, files=10**8, images=10**8)
    ledger.finish_chunk(job.id, "me", 999_998, Counts())

    assert ledger.chunks_waiting(job.id, after=989_996)[-1] == Chunk(990_996, 0)
    assert ledger.chunks_waiting(job.id, after=999_997) == (Chunk(999_999, 0),)
    assert ledger.get(job.id).images == 10**8


def test_attempts_at_a_chunk_are_counted(ledger, drive):
    job = drive()

    assert [ledger.start_chunk(job.id, "me", 1) for _ in range(3)] == [1, 2, 3]


def test_an_attempt_that_was_stopped_in_good_order_does_not_count(ledger, drive):
    job = drive()
    ledger.start_chunk(job.id, "me", 1)

    for _ in range(3):
        ledger.stop_chunk(job.id, "me", 1)

    assert ledger.chunks_waiting(job.id) == (Chunk(0, 0), Chunk(1, 0), Chunk(2, 0))
    assert ledger.start_chunk(job.id, "me", 1) == 1


def test_the_speed_of_a_job_is_that_of_its_last_chunks(ledger, drive, clock):
    job = drive()
    assert ledger.files_per_s(job.id) is None
    clock.now += 100
    ledger.finish_chunk(job.id, "me", 0, Counts({"accepted": 20}, copied=10))
    assert ledger.files_per_s(job.id, window_s=10.0) == pytest.approx(3.0)
    clock.now += 8

    ledger.finish_chunk(job.id, "me", 1, Counts({"accepted": 10}))
    assert ledger.files_per_s(job.id, window_s=10.0) == pytest.approx(1.0)
    assert ledger.files_per_s(job.id, window_s=20.0) == pytest.approx(2.0)


def test_planning_may_be_repeated_when_its_answer_was_lost(ledger, drive):
    job = drive("running")

    assert ledger.plan_chunks(job.id, "me", 3, files=10, images=8) == job
    with pytest.raises(JobStateConflict):
        ledger.plan_chunks(job.id, "me", 4, files=10, images=8)


@pytest.mark.parametrize("started", [True, False])
def test_a_finished_chunk_is_counted_once(ledger, drive, started):
    job = drive()
    counts = Counts({"accepted": 3}, copied=2, failures={"broken": 1})
    if started:
        ledger.start_chunk(job.id, "me", 0)

    assert ledger.finish_chunk(job.id, "me", 0, counts)
    assert not ledger.finish_chunk(job.id, "me", 0, counts)
    assert ledger.finish_chunk(job.id, "me", 1, counts)

    now = ledger.get(job.id)
    assert (now.counts, now.chunks_done) == (counts + counts, 2)


def test_a_queued_job_is_cancelled_at_once(ledger, submit):
    job = submit()

    cancelled = ledger.request_cancel(job.id)

    assert (cancelled.state, cancelled.cancel) == ("cancelled", True)
    assert cancelled == ledger.get(job.id)
    assert ledger.claim("me") is None


def test_the_owner_sees_at_its_next_beat_that_it_shall_stop(ledger, drive):
    job = drive()
    assert not ledger.beat(job.id, "me").cancel

    asked = ledger.request_cancel(job.id)
    ledger.request_cancel(job.id)

    assert (asked.state, asked.cancel) == ("running", True)
    assert ledger.beat(job.id, "me").cancel
    assert kinds(ledger, job)[3:] == ["cancel"]


@pytest.mark.parametrize("state", sorted(FINISHED))
def test_cancelling_a_finished_job_changes_nothing(ledger, drive, state):
    job = drive(state)

    assert ledger.request_cancel(job.id) == job == ledger.get(job.id)


def test_events_are_numbered_without_a_gap_and_read_from_anywhere(ledger, submit, clock):
    job = submit()

    assert ledger.append_event(job.id, "progress", '{"done": 1}') == 2
    at_utc = clock.now
    assert ledger.append_event(job.id, "progress", '{"done": 2}') == 3

    assert [event.seq for event in ledger.events_after(job.id)] == [1, 2, 3]
    assert ledger.events_after(job.id, seq=1, limit=1) == ((2, at_utc, "progress", '{"done": 1}'),)
    assert ledger.events_after(job.id, seq=3) == ()
    assert ledger.get(job.id).last_event == 3


def test_events_of_a_finished_job_stay_until_it_is_deleted(ledger, drive):
    job = drive("done")
    assert len(ledger.events_after(job.id)) == 5

    ledger.delete(job.id)

    with pytest.raises(UnknownJob):
        ledger.events_after(job.id)


def test_a_job_is_deleted_with_its_chunks_and_events(ledger, drive, monkeypatch):
    monkeypatch.setattr(ledger_module, "MAX_DELETED_CHUNKS", 2)
    job, other = drive("done"), drive("done")

    ledger.delete(job.id)

    assert [left.id for left in ledger.page().jobs] == [other.id]
    with ledger._transactions.reading() as connection:
        for table in ("chunks", "events"):
            left = connection.exec_driver_sql(f"SELECT DISTINCT job_id FROM {table}").scalars().all()
            assert left == [other.id]


def test_a_job_that_is_not_finished_is_not_deleted(ledger, drive):
    job = drive()

    with pytest.raises(JobStateConflict, match="running"):
        ledger.delete(job.id)

    assert ledger.get(job.id) == job


def test_a_key_may_be_used_again_when_its_job_was_deleted(ledger, submit):
    job = submit("key")
    ledger.request_cancel(job.id)
    ledger.delete(job.id)

    assert submit("key", digest="other").id != job.id


@pytest.fixture
def three_done(ledger, submit):
    """Three jobs that ended at different times, of 10 bytes each, and one that runs."""

    def done():
        submit()
        job = ledger.claim("me")
        return ledger.advance(job.id, "me", "failed", bytes_on_disk=10)

    jobs = [done() for _ in range(3)]
    submit()
    return jobs


def test_jobs_that_ended_long_ago_expire_oldest_first(ledger, three_done):
    first, second, third = three_done

    assert ledger.expired(first.finished_utc) == ()
    assert ledger.expired(third.finished_utc) == (first, second)
    assert ledger.expired(third.finished_utc + 1, limit=1) == (first,)


@pytest.mark.parametrize(("keep_bytes", "gone"), [(30, 0), (29, 1), (20, 1), (9, 3), (0, 3)])
def test_jobs_beyond_the_bytes_to_keep_expire_oldest_first(ledger, three_done, keep_bytes, gone):
    assert ledger.expired(0.0, keep_bytes) == tuple(three_done[:gone])


def test_a_full_queue_refuses_new_jobs_but_not_a_request_that_was_accepted_before(ledger, clock):
    def send(key):
        return ledger.submit(NewJob(new_job_id(clock, os.urandom), "{}", "d", key), most_queued=1)

    first, _ = send("mine")
    with pytest.raises(TooManyJobs, match="1 jobs wait already"):
        send("another")
    assert send("mine") == (first, False)
    ledger.claim("me")
    ledger.advance(first.id, "me", "preparing")
    assert send("another")[1], "the first does not wait any more"
