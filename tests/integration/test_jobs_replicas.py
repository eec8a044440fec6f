"""Two services on one ledger: a job has one driver, and another one when that is gone or stands still."""

from __future__ import annotations

import fcntl
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

Replicas = Callable[..., Any]
Truth = tuple[dict[str, bytes], bytes]

BEAT_S, LEASE_S = 0.5, 3
"""Long enough for a machine with much to do; the tests wait until a lease is over."""
CHUNKS_SEEN = 3


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, object]:
    """What both replicas share; a test that takes it runs on both kinds of ledger."""
    url = f"sqlite:///{tmp_path}/ledger.sqlite"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres").new_database()
    return {"database": url, "job_beat_s": BEAT_S, "job_lease_s": LEASE_S, "job_chunk_files": 4}


def driver_of(settings: dict[str, object], job: str) -> str:
    """Who the ledger says drives it, as `host:pid:chance`; empty for nobody."""
    url, query = str(settings["database"]), f"SELECT owner FROM jobs WHERE id = '{job}'"
    if url.startswith("sqlite:///"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), timeout=30)) as ledger:
            (owner,) = ledger.execute(query).fetchone()
    else:
        with psycopg.connect(url) as ledger:
            (owner,) = ledger.execute(query).fetchone()
    return str(owner or "")


@contextmanager
def between_writes(settings: dict[str, object], job: str) -> Iterator[None]:
    """Nobody writes the job's row inside the block: whoever is stopped there holds no lock.

    A process that is stopped while it holds one holds up everybody: SQLite's until it goes on, PostgreSQL's
    until the server ends its transaction after a minute.
    """
    url = str(settings["database"])
    if url.startswith("sqlite:///"):
        file = url.removeprefix("sqlite:///")
        # The turnstile first, as all do: who waits for the ledger itself holds it, and keeps it while frozen.
        with (
            Path(f"{file}-turn").open("ab") as turnstile,
            closing(sqlite3.connect(file, timeout=30)) as ledger,
        ):
            fcntl.flock(turnstile, fcntl.LOCK_EX)
            ledger.execute("BEGIN IMMEDIATE")
            yield
    else:
        with psycopg.connect(url) as ledger:
            ledger.execute("SELECT id FROM jobs WHERE id = %s FOR UPDATE", [job])
            yield


def pid_of(owner: str) -> int:
    return int(owner.split(":")[1])


def driving(settings: dict[str, object], job: str, *replicas: Any) -> tuple[Any, Any]:
    """The replica that drives a job, and the other one, when some chunks are done."""
    replicas[0].until(job, lambda _: len(replicas[0].records(job)) >= CHUNKS_SEEN)
    pid = pid_of(driver_of(settings, job))
    one, other = sorted(replicas, key=lambda replica: replica.process.pid != pid)
    assert one.process.pid == pid
    return one, other


def test_each_job_is_driven_by_one_replica_only(
    replicas: Replicas, settings: dict[str, object], labelled_set: bytes, undisturbed: Truth
) -> None:
    """Jobs handed to one replica are shared among both, and none changes hands or is begun twice."""
    pair = [replicas(**settings, jobs_at_once=1) for _ in range(2)]
    jobs = [pair[0].submit(labelled_set) for _ in range(3)]
    drivers: dict[str, set[str]] = {job: set() for job in jobs}

    give_up_s = time.monotonic() + 120
    while {pair[1].job(job)["state"] for job in jobs} != {"done"}:
        assert time.monotonic() < give_up_s
        for job in jobs:
            drivers[job] |= {driver_of(settings, job)} - {""}
        time.sleep(0.1)

    assert {job: len(owners) for job, owners in drivers.items()} == dict.fromkeys(jobs, 1)
    assert len({owner for owners in drivers.values() for owner in owners}) == 2
    for job in jobs:
        assert pair[0].finished(job) == pair[1].finished(job) == undisturbed
        assert pair[0].states(job) == ["queued", "preparing", "running", "finishing", "done"]


def test_when_the_driver_is_killed_the_other_goes_on_where_it_was(
    replicas: Replicas, settings: dict[str, object], labelled_set: bytes, undisturbed: Truth
) -> None:
    pair = [replicas(**settings) for _ in range(2)]
    job = pair[0].submit(labelled_set)
    driver, other = driving(settings, job, *pair)

    driver.send(signal.SIGKILL)
    driver.process.wait()
    before = driver.records(job)
    other.until(job, lambda _: pid_of(driver_of(settings, job)) == other.process.pid)
    other.until(job, lambda job: job["state"] == "finishing" or job["done"] == job["files"])

    assert before.items() <= other.records(job).items(), "a chunk that was done was done again"
    assert other.finished(job) == undisturbed


def test_a_driver_that_stood_still_finds_itself_replaced_and_does_no_harm(
    replicas: Replicas, settings: dict[str, object], labelled_set: bytes, undisturbed: Truth
) -> None:
    pair = [replicas(**settings) for _ in range(2)]
    job = pair[0].submit(labelled_set)
    driver, other = driving(settings, job, *pair)

    with between_writes(settings, job):
        driver.freeze()
    before = driver.records(job)
    other.until(job, lambda _: pid_of(driver_of(settings, job)) == other.process.pid)
    driver.send(signal.SIGCONT)
    driver.until(job, lambda _: f"driven by {driver_of(settings, job)}, not by" in driver.said())
    kept = other.records(job)
    result = other.finished(job)

    assert before.items() <= kept.items(), "a chunk that was done was done again"
    assert result == undisturbed == driver.finished(job)
    assert pid_of(driver_of(settings, job)) == other.process.pid


def test_a_driver_that_wakes_when_all_is_over_changes_nothing(
    replicas: Replicas, settings: dict[str, object], labelled_set: bytes, undisturbed: Truth
) -> None:
    pair = [replicas(**settings) for _ in range(2)]
    job = pair[0].submit(labelled_set)
    driver, other = driving(settings, job, *pair)

    with between_writes(settings, job):
        driver.freeze()
    assert other.finished(job) == undisturbed
    over = other.job(job)
    driver.send(signal.SIGCONT)
    while "driven by" not in driver.said():
        time.sleep(0.1)

    assert other.job(job) == over
    assert driver.finished(job) == undisturbed
