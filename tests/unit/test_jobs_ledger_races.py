"""The ledger when many write at once, when a writer is killed, and when the database goes away."""

import itertools
import os
import random
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.errors import LedgerUnavailable, NotOwner
from app.jobs.counts import Counts
from app.jobs.job import Lease, NewJob, new_job_id
from app.jobs.open_ledger import open_ledger
from app.jobs.turnstile import Turnstile

ROOT = Path(__file__).resolve().parents[2]
PROCESSES = 4

# Each waits for a line, so that all begin at once.
BEGIN = """
import os, sys, time
from app.jobs.counts import Counts
from app.jobs.job import NewJob, new_job_id
from app.jobs.open_ledger import open_ledger
url, me = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
with open_ledger(url) as ledger:
"""

CLAIM = """
    while job := ledger.claim(me):
        print(job.id)
"""

SUBMIT = """
    for number in range(10):
        new = NewJob(new_job_id(time.time, os.urandom), "{}", "digest", f"key {number}")
        print(ledger.submit(new)[0].id)
"""

# Says what is done only after it is done.
WORK_WITHOUT_END = """
    while True:
        ledger.submit(NewJob(new_job_id(time.time, os.urandom), "{}", "digest"))
        job = ledger.claim(me)
        ledger.advance(job.id, me, "preparing")
        ledger.plan_chunks(job.id, me, 5, files=10, images=10)
        for number in range(5):
            ledger.start_chunk(job.id, me, number)
            ledger.finish_chunk(job.id, me, number, Counts(copied=2))
            print(job.id, number, flush=True)
        ledger.advance(job.id, me, "finishing")
        ledger.advance(job.id, me, "done")
"""


class Processes:
    """Several interpreters that do the same with one ledger."""

    def __init__(self, work, url, count=PROCESSES):
        self.running = [
            subprocess.Popen(
                [sys.executable, "-c", BEGIN + work, url, f"process {number}"],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for number in range(count)
        ]
        for process in self.running:
            assert process.stdout.readline() == "ready\n", process.communicate()[1]
        for process in self.running:
            process.stdin.write("go\n")
            process.stdin.flush()

    def said(self):
        """What each printed, in lines, once all have ended well."""
        said = []
        for process in self.running:
            output, errors = process.communicate(timeout=200)
            assert process.returncode == 0, errors
            said.append(output.splitlines())
        return said

    def kill(self):
        """End all with SIGKILL; what each printed until then, in whole lines."""
        for process in self.running:
            process.send_signal(signal.SIGKILL)
        return [process.communicate()[0].rpartition("\n")[0].splitlines() for process in self.running]


@pytest.fixture
def ledger(ledger_url):
    with open_ledger(ledger_url) as opened:
        yield opened


def submit(ledger):
    return ledger.submit(NewJob(new_job_id(time.time, os.urandom), "{}", "digest"))[0]


def run(ledger, owner="me", chunks=3):
    submit(ledger)
    job = ledger.claim(owner)
    ledger.advance(job.id, owner, "preparing")
    return ledger.plan_chunks(job.id, owner, chunks, files=1, images=1)


def at_once(*calls):
    """What calls return, or the errors that they raise, when all begin together."""
    barrier = threading.Barrier(len(calls))

    def begin(call):
        barrier.wait()
        try:
            return call()
        except Exception as error:  # noqa: BLE001 (it is the answer)
            return error

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(begin, calls))


def test_processes_that_open_an_empty_database_at_once_make_its_tables_once(ledger_url):
    Processes("    print(ledger.tally())", ledger_url).said()

    with open_ledger(ledger_url) as ledger:
        assert ledger.page().jobs == ()


def test_threads_that_open_a_ledger_at_once_all_get_one(ledger_url):
    def look():
        with open_ledger(ledger_url) as ledger:
            return ledger.tally()

    assert at_once(*[look] * 6) == [{}] * 6


def test_each_job_is_claimed_by_one_of_many_processes(ledger, ledger_url):
    ids = [submit(ledger).id for _ in range(40)]

    said = Processes(CLAIM, ledger_url).said()

    assert sorted(itertools.chain(*said)) == ids
    owners = {job.id: job.owner for job in ledger.page(limit=100).jobs}
    assert owners == {job: f"process {number}" for number, jobs in enumerate(said) for job in jobs}


def test_processes_that_submit_the_same_key_at_once_make_one_job(ledger, ledger_url):
    said = Processes(SUBMIT, ledger_url).said()

    assert len(set(map(tuple, said))) == 1
    assert len(ledger.page().jobs) == len(set(said[0])) == 10


def test_one_wins_when_many_take_over(ledger):
    for _ in range(5):
        job = run(ledger, "gone")
        seen = Lease(job.id, "gone", job.beat)

        taken = at_once(*(lambda me=me, seen=seen: ledger.take_over(seen, f"heir {me}") for me in range(6)))

        (winner,) = [found for found in taken if found]
        assert ledger.get(job.id).owner == winner.owner


def test_a_chunk_that_is_finished_many_times_at_once_is_counted_once(ledger):
    job = run(ledger, chunks=5)

    for number in range(5):
        first = at_once(
            *[lambda number=number: ledger.finish_chunk(job.id, "me", number, Counts(copied=2))] * 6
        )
        assert Counter(first) == {True: 1, False: 5}

    now = ledger.get(job.id)
    assert (now.counts, now.chunks_done) == (Counts(copied=10), 5)


def test_a_chunk_that_two_owners_finish_is_counted_once(ledger):
    for _ in range(5):
        job = run(ledger, "old")
        seen = Lease(job.id, "old", job.beat)

        def take_over_and_finish(seen=seen):
            ledger.take_over(seen, "new")
            return ledger.finish_chunk(seen.job_id, "new", 0, Counts(copied=1))

        old, new = at_once(
            lambda job=job: ledger.finish_chunk(job.id, "old", 0, Counts(copied=1)), take_over_and_finish
        )

        assert (isinstance(old, NotOwner), new) == ((True, True) if new is True else (False, False))
        assert ledger.get(job.id).counts == Counts(copied=1)


def test_events_have_no_gap_when_a_driver_and_others_write(ledger):
    job = run(ledger)

    def write(kind):
        for _ in range(20):
            ledger.append_event(job.id, kind, "{}")

    assert (
        at_once(lambda: write("a"), lambda: write("b"), lambda: ledger.request_cancel(job.id))[:2]
        == [None] * 2
    )

    seqs = [event.seq for event in ledger.events_after(job.id)]
    assert seqs == list(range(1, 3 + 40 + 1 + 1))


@pytest.mark.parametrize("delay_s", [0.0, 0.3])
def test_a_ledger_whose_writers_were_killed_is_whole_and_forgot_nothing(ledger, ledger_url, delay_s):
    writers = Processes(WORK_WITHOUT_END, ledger_url, 2)
    first = writers.running[0].stdout.readline()
    assert first, writers.running[0].communicate()[1]
    time.sleep(delay_s + random.random() / 10)

    said = [first, *itertools.chain(*writers.kill())]

    done = {(job.id, number) for job, number in _done_chunks(ledger)}
    assert {(line.split()[0], int(line.split()[1])) for line in said} <= done
    for job in ledger.page(limit=1000).jobs:
        assert job.counts == Counts(copied=2 * job.chunks_done)
        assert job.chunks_done == sum(1 for owner, _ in done if owner == job.id)
        assert [event.seq for event in ledger.events_after(job.id)] == list(range(1, job.last_event + 1))
    # And it goes on: what the dead left is taken over.
    for lease in ledger.leases():
        assert ledger.take_over(lease, "heir").owner == "heir"


def _done_chunks(ledger):
    for job in ledger.page(limit=1000).jobs:
        missing = {chunk.number for chunk in ledger.chunks_waiting(job.id)}
        yield from ((job, number) for number in range(job.chunks) if number not in missing)


def test_a_server_that_goes_away_is_unavailable_and_all_is_well_when_it_is_back(postgres):
    with open_ledger(postgres.new_database()) as ledger:
        job = run(ledger)
        postgres.stop()
        try:
            for _ in range(2):
                with pytest.raises(LedgerUnavailable, match="does not answer") as raised:
                    ledger.beat(job.id, "me")
                assert raised.value.reason
                with pytest.raises(LedgerUnavailable):
                    ledger.get(job.id)
        finally:
            postgres.start()

        assert ledger.get(job.id) == job
        assert ledger.finish_chunk(job.id, "me", 0, Counts(copied=1))


def test_a_restart_of_the_server_that_nobody_saw_is_not_noticed(postgres):
    with open_ledger(postgres.new_database()) as ledger:
        job = run(ledger)
        postgres.stop()
        postgres.start()

        assert ledger.get(job.id) == job


def test_a_transaction_that_the_server_cut_off_wrote_nothing(postgres):
    with open_ledger(postgres.new_database()) as ledger:
        job = run(ledger)
        try:
            with pytest.raises(LedgerUnavailable):
                _write_while(postgres.stop, ledger, job)
        finally:
            postgres.start()

        assert ledger.get(job.id) == job


def _write_while(happening, ledger, job):
    with ledger._driven(job.id, "me") as (connection, _):
        connection.exec_driver_sql("UPDATE jobs SET detail = 'half'")
        happening()


def test_a_database_that_nobody_serves_is_unavailable_and_keeps_its_password():
    with (
        pytest.raises(LedgerUnavailable, match=r"postgresql\+psycopg://me:\*\*\*@127.0.0.1:1/x") as raised,
        open_ledger("postgresql://me:open-sesame@127.0.0.1:1/x"),
    ):
        pass

    assert "open-sesame" not in "".join(traceback.format_exception(raised.value)) + repr(raised.value)


def test_a_writer_that_comes_back_at_once_waits_for_the_one_that_waits(tmp_path):
    with open_ledger(f"sqlite:///{tmp_path}/ledger.sqlite") as one, open_ledger(one.name) as other:
        job = run(one)
        with ThreadPoolExecutor(1) as threads:
            for _ in range(5):
                with one._driven(job.id, "me"):
                    beat = threads.submit(other.beat, job.id, "me")
                    time.sleep(0.2)
                writes = 0
                while not beat.done() and writes < 100:
                    one.append_event(job.id, "again", "{}")
                    writes += 1
                assert writes <= 2
                beat.result(20)


def test_a_writer_whose_turn_does_not_come_gives_up(tmp_path):
    with Turnstile(tmp_path / "turn", 1.0).passing():
        asked = time.monotonic()
        with pytest.raises(LedgerUnavailable), Turnstile(tmp_path / "turn", 0.1).passing():
            pass
        assert time.monotonic() - asked >= 0.1


def test_a_turnstile_without_a_folder_is_unavailable(tmp_path):
    with pytest.raises(LedgerUnavailable) as raised, Turnstile(tmp_path / "no" / "turn", 1.0).passing():
        pass

    assert "No such file" in raised.value.reason


def test_a_writer_waits_for_another_and_does_not_fail(tmp_path):
    with open_ledger(f"sqlite:///{tmp_path}/ledger.sqlite") as one, open_ledger(one.name) as other:
        job = run(one)
        with ThreadPoolExecutor(1) as threads:
            with one._driven(job.id, "me"):
                beat = threads.submit(other.beat, job.id, "me")
                time.sleep(0.3)
                assert not beat.done()
                assert other.get(job.id) == job
            assert beat.result(20).beat == job.beat + 1
