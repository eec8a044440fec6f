"""What a driver does when those who refine its chunks are lost, away, or more than before."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.datasets.folder_place import FolderPlace
from app.datasets.manifest import Entry
from app.datasets.set_plan import PlannedFile
from app.errors import ClusterUnavailable, WorkerLost
from app.jobs import driver as driver_module
from app.jobs.chunk import ChunkWork
from app.jobs.driver import Driver
from app.jobs.folder import JobFolder
from app.jobs.job import Job, NewJob, new_job_id
from app.jobs.ledger import Ledger
from app.jobs.open_ledger import open_ledger
from app.jobs.request import JobRequest, PinnedModel
from app.settings import Settings

OWNER = "me"
CHUNKS = 4


class Workers:
    """An executor of one's own making; `refines` makes an entry or raises."""

    def __init__(self, refines: Callable[[ChunkWork], list[Entry]], slots: int = 1) -> None:
        self.slots = slots
        self.begun: list[int] = []
        self._refines = refines

    async def refine(self, work: ChunkWork) -> list[Entry]:
        self.begun.append(work.number)
        await asyncio.sleep(0)
        return self._refines(work)

    def end(self, job: str) -> None: ...

    async def close(self) -> None: ...


def copied(work: ChunkWork) -> list[Entry]:
    return [Entry(file.name, "copied") for file in work.files]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with open_ledger(f"sqlite:///{tmp_path}/ledger.sqlite") as opened:
        yield opened


@pytest.fixture
def job(ledger: Ledger, tmp_path: Path) -> Job:
    """A job of ours that is running: CHUNKS chunks of one file each, which are only to be copied."""
    request = JobRequest(model=PinnedModel(name="tiny", version=1, sha256="0" * 64), archive="a.zip")
    new = NewJob(new_job_id(time.time, os.urandom), request.model_dump_json(), "digest")
    ledger.submit(new)
    ledger.claim(OWNER)
    ledger.advance(new.id, OWNER, "preparing")
    folder = JobFolder(tmp_path / "jobs" / new.id)
    for path in (folder.source, folder.result):
        path.mkdir(parents=True)
    for number in range(CHUNKS):
        folder.write_chunk(number, [PlannedFile("copy", f"{number}.txt", f"{number}.txt")])
    folder.prepared.write_text(json.dumps({"problems": []}))
    return ledger.plan_chunks(new.id, OWNER, CHUNKS, files=CHUNKS, images=0)


def drive(ledger: Ledger, job: Job, workers: Workers, folder: Path, **given: object) -> Job:
    settings = Settings(data=folder, **given)
    driver = Driver(ledger, workers, settings, OWNER, clock_s=time.monotonic)
    asyncio.run(asyncio.wait_for(driver.drive(job), 60))
    return ledger.get(job.id)


def test_a_chunk_whose_worker_is_lost_is_begun_again(ledger: Ledger, job: Job, tmp_path: Path) -> None:
    losses = [WorkerLost("A machine is gone.")]

    def refines(work: ChunkWork) -> list[Entry]:
        if work.number == 2 and losses:
            raise losses.pop()
        return copied(work)

    workers = Workers(refines)
    done = drive(ledger, job, workers, tmp_path)

    assert (done.state, done.counts.copied, done.counts.failed) == ("done", CHUNKS, 0)
    assert workers.begun == [0, 1, 2, 2, 3]


def test_a_chunk_that_ends_every_worker_is_given_up_and_its_files_are_kept_as_they_are(
    ledger: Ledger, job: Job, tmp_path: Path
) -> None:
    folder = JobFolder(tmp_path / "jobs" / job.id)
    given = {"2.png": b"evil", "2.txt": b"2"}
    for name, data in given.items():
        FolderPlace(folder.source).write(name, data)
    image = PlannedFile("refine", "2.png", "2.jpg", output_format="JPEG")
    twice = PlannedFile("refine", "2.tif", "2.jpg", problem="2.png is written as 2.jpg already")
    folder.write_chunk(2, [image, twice, PlannedFile("copy", "2.txt", "2.txt")])

    def refines(work: ChunkWork) -> list[Entry]:
        if work.number == 2:
            raise WorkerLost("It is gone.")
        return copied(work)

    workers = Workers(refines)
    done = drive(ledger, job, workers, tmp_path, job_chunk_attempts=3)

    assert (done.state, done.counts.copied, done.counts.failed) == ("done", CHUNKS, 2)
    assert set(done.counts.failures) == {
        "Refining ended its process 3 times at this file, or at one beside it.",
        "Left out: 2.png is written as 2.jpg already.",
    }
    assert workers.begun.count(2) == 3
    with zipfile.ZipFile(folder.archive("zip")) as packed:
        assert {name: packed.read(name) for name in packed.namelist()} == given


def test_a_cluster_that_is_away_is_waited_for_and_counts_as_no_attempt(
    ledger: Ledger, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver_module, "FIRST_WAIT_S", 0.001)
    said: list[str] = []
    absences = [ClusterUnavailable("The cluster is away.")] * 5

    def refines(work: ChunkWork) -> list[Entry]:
        said.append(ledger.get(job.id).detail)
        if absences:
            raise absences.pop()
        return copied(work)

    done = drive(ledger, job, Workers(refines), tmp_path, job_chunk_attempts=1)

    assert (done.state, done.counts.copied, done.counts.failed) == ("done", CHUNKS, 0)
    assert said[1] == "The cluster is away."
    assert not done.waiting


def test_slots_that_come_while_chunks_are_in_work_are_used(
    ledger: Ledger, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver_module, "SLOTS_AGAIN_S", 0.01)
    all_begun = asyncio.Event()

    class Growing(Workers):
        async def refine(self, work: ChunkWork) -> list[Entry]:
            self.begun.append(work.number)
            self.slots = CHUNKS
            if len(self.begun) == CHUNKS:
                all_begun.set()
            await all_begun.wait()
            return copied(work)

    assert drive(ledger, job, Growing(copied), tmp_path).state == "done"


@pytest.mark.parametrize(
    "where",
    [(Ledger, "start_chunk"), (JobFolder, "read_chunk"), (JobFolder, "write_done")],
    ids=lambda at: at[1],
)
def test_a_stop_at_any_moment_counts_as_no_attempt(
    ledger: Ledger, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: tuple[type, str]
) -> None:
    asked = threading.Event()
    original = getattr(*where)

    def slowly(*args: object) -> object:
        answer = original(*args)
        asked.set()
        time.sleep(0.2)
        return answer

    async def stopped() -> None:
        driver = Driver(ledger, Workers(copied), Settings(data=tmp_path), OWNER, clock_s=time.monotonic)
        driving = asyncio.ensure_future(driver.drive(job))
        await asyncio.to_thread(asked.wait, 30)
        driving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await driving

    monkeypatch.setattr(*where, slowly)
    asyncio.run(stopped())

    left = ledger.get(job.id)
    assert (left.owner, left.state) == (None, "running")
    assert {chunk.attempts for chunk in ledger.chunks_waiting(job.id)} == {0}
