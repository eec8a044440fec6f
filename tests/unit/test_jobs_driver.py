"""A driver and what comes in between: a cancellation at the last moment, children that die."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from app.jobs import driver
from app.jobs.driver import Driver
from app.jobs.folder import JobFolder
from app.jobs.job import Job, NewJob, new_job_id
from app.jobs.ledger import Ledger
from app.jobs.open_ledger import open_ledger
from app.jobs.request import JobRequest, PinnedModel
from app.options import JobOptions
from app.settings import Settings

ME = "me"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data=tmp_path, job_beat_s=0.05, job_lease_s=1)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with open_ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}") as opened:
        yield opened


@pytest.fixture
def job(ledger: Ledger, settings: Settings) -> Job:
    """A job that only plans, and has: nothing but its end is left to do."""
    pinned = PinnedModel(name="tiny", version=1, sha256="0" * 64)
    request = JobRequest(model=pinned, archive="a.zip", options=JobOptions(dry_run=True))
    job_id = new_job_id(time.time, os.urandom)
    ledger.submit(NewJob(job_id, request.model_dump_json(), "digest"))
    ledger.claim(ME)
    ledger.advance(job_id, ME, "preparing")
    ledger.plan_chunks(job_id, ME, 0, files=1, images=1)
    folder = JobFolder(settings.data / "jobs" / job_id)
    folder.root.mkdir(parents=True)
    folder.plan.write_bytes(b"{}\n")
    folder.prepared.write_text(json.dumps({"problems": []}))
    return ledger.advance(job_id, ME, "finishing")


class Nobody:
    """An executor that has nothing to refine, and remembers which jobs came to their end."""

    def __init__(self) -> None:
        self.ended: list[str] = []

    def end(self, job: str) -> None:
        self.ended.append(job)


def drive(ledger: Ledger, settings: Settings, job: Job) -> None:
    executor = Nobody()
    asyncio.run(Driver(ledger, executor, settings, ME, clock_s=time.monotonic).drive(job))
    assert executor.ended == [job.id], "its refiner would be held for ever"


@pytest.mark.parametrize("beat_s", [0.05, 60], ids=["seen at a beat", "seen at no beat"])
def test_a_job_whose_end_is_asked_for_before_it_is_done_leaves_nothing(
    ledger: Ledger, settings: Settings, job: Job, monkeypatch: pytest.MonkeyPatch, beat_s: float
) -> None:
    advance = Ledger.advance

    def slowly(self: Ledger, job_id: str, owner: str, state: Any, **told: Any) -> Job:
        if state == "done":
            ledger.request_cancel(job_id)
            time.sleep(0.5)  # several beats, if there are any
        return advance(self, job_id, owner, state, **told)

    monkeypatch.setattr(Ledger, "advance", slowly)

    drive(ledger, settings.model_copy(update={"job_beat_s": beat_s}), job)

    assert ledger.get(job.id).state == "cancelled"
    assert not JobFolder(settings.data / "jobs" / job.id).root.exists()


def test_a_cancellation_that_comes_too_late_takes_nothing_of_a_job_that_is_done(
    ledger: Ledger, settings: Settings, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove_work = JobFolder.remove_work

    def late(self: JobFolder) -> None:
        ledger.request_cancel(job.id)
        time.sleep(0.5)  # several beats
        remove_work(self)

    monkeypatch.setattr(JobFolder, "remove_work", late)

    drive(ledger, settings, job)

    assert ledger.get(job.id).state == "done"
    assert JobFolder(settings.data / "jobs" / job.id).plan.exists()


@pytest.mark.parametrize("deaths", [driver.MOST_DEATHS - 1, driver.MOST_DEATHS])
def test_what_ends_in_an_unforeseen_way_is_tried_again_some_times_and_not_at_once(
    ledger: Ledger, settings: Settings, job: Job, monkeypatch: pytest.MonkeyPatch, deaths: int
) -> None:
    monkeypatch.setattr(driver, "FIRST_WAIT_S", 0.01)
    kept_bytes, died = JobFolder.kept_bytes, []

    def deadly(self: JobFolder) -> int:
        if len(died) < deaths:
            died.append(time.monotonic())
            raise RuntimeError("killed")
        return kept_bytes(self)

    monkeypatch.setattr(JobFolder, "kept_bytes", deadly)

    drive(ledger, settings, job)

    assert ledger.get(job.id).state == ("done" if deaths < driver.MOST_DEATHS else "failed")
    pauses = [later - before for before, later in pairwise(died)]
    assert all(pause >= 0.01 * 2**i for i, pause in enumerate(pauses))
