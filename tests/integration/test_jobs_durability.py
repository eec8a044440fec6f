"""A dataset job goes on whatever is pulled: the service, its children, the source, the room on the disk."""

from __future__ import annotations

import io
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = (sys.executable, "-c", "import sys; from app.cli import main; sys.exit(main())", "serve")
IMAGES = 60
WORK = 20
"""Multiplications per inference: some 10 ms, so that a job lasts long enough to be hit."""
FINISHED = ("done", "failed", "cancelled")
PATIENCE_S = 120


class Service:
    """A service process on a data folder, which may be killed and started again."""

    def __init__(self, models: Path, data: Path, **settings: object) -> None:
        self.data = data
        named = {
            "models": models,
            "data": data,
            "port": 0,
            "device": "cpu",
            "threads": 1,
            "job_chunk_files": 4,
            "job_beat_s": 0.2,
            "job_lease_s": 1,
            **settings,
        }
        self._environment = os.environ | {f"SIMTRUE_{name.upper()}": str(named[name]) for name in named}
        self._process: subprocess.Popen[str] | None = None
        self.client = httpx.Client()

    def start(self) -> None:
        self._process = subprocess.Popen(
            PROGRAM, env=self._environment, cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        url = self._process.stdout.readline().rsplit(maxsplit=1)[-1]
        self.client.close()
        self.client = httpx.Client(base_url=url, timeout=60)

    def send(self, number: int) -> int:
        """Send a signal to the process; its exit code."""
        self._process.send_signal(number)
        code = self._process.wait(PATIENCE_S)
        self._process.stdout.close()
        self.client.close()
        return code

    def kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.send(signal.SIGKILL)

    def children(self) -> list[int]:
        """The processes of its own that prepare and finish jobs."""
        told = Path(f"/proc/{self._process.pid}/task").glob("*/children")
        return [int(pid) for file in told for pid in file.read_text().split()]

    def submit(self, archive: bytes, key: str = "", options: str = "{}") -> httpx.Response:
        headers = {"Content-Type": "application/zip"} | ({"Idempotency-Key": key} if key else {})
        return self.client.post("/jobs", content=archive, headers=headers, params={"options": options})

    def job(self, job_id: str) -> dict[str, Any]:
        return self.client.get(f"/jobs/{job_id}").raise_for_status().json()

    def until(self, job_id: str, true: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Look at a job until something is true of it."""
        give_up_s = time.monotonic() + PATIENCE_S
        while not true(job := self.job(job_id)):
            assert time.monotonic() < give_up_s, job
            assert job["state"] not in FINISHED, job
            time.sleep(0.02)
        return job

    def result(self, job_id: str) -> bytes:
        """Of a job that must get done."""
        self.until(job_id, lambda job: job["state"] == "done")
        return self.client.get(f"/jobs/{job_id}/result").raise_for_status().content

    def folder(self, job_id: str) -> Path:
        return self.data / "jobs" / job_id


Serve = Callable[..., Service]


@pytest.fixture
def serve(tmp_path: Path, write_model: Callable[..., Path]) -> Iterator[Serve]:
    """Starts services; their data folder is `data` below the temporary one, unless it is named."""
    write_model(tmp_path / "models", "slow", work=WORK, noise=(1, 0))
    begun: list[Service] = []

    def start(data: Path = tmp_path / "data", **settings: object) -> Service:
        begun.append(Service(tmp_path / "models", data, **settings))
        begun[-1].start()
        return begun[-1]

    yield start
    for service in begun:
        service.kill()


@pytest.fixture(scope="module")
def dataset(labelled_set: bytes) -> bytes:
    """The set that every job here is about."""
    return labelled_set


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, write_model: Callable[..., Path], dataset: bytes
) -> bytes:
    """The result of a job that nobody disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    write_model(folder / "models", "slow", work=WORK, noise=(1, 0))
    service = Service(folder / "models", folder / "data")
    service.start()
    try:
        return service.result(service.submit(dataset).json()["id"])
    finally:
        service.kill()


def attempts(service: Service, job_id: str) -> list[int]:
    """How often each chunk was begun."""
    with closing(sqlite3.connect(service.data / "ledger.sqlite", timeout=30)) as ledger:
        rows = ledger.execute("SELECT attempts FROM chunks WHERE job_id = ? ORDER BY number", [job_id])
        return [attempts for (attempts,) in rows]


def times_of_records(service: Service, job_id: str) -> dict[str, int]:
    """When each finished chunk was recorded."""
    folder = service.folder(job_id) / "done"
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.jsonl")}


def is_tidy(service: Service, job_id: str) -> bool:
    """Whether the papers and the result of a job that is done are soon all there is."""
    kept = ["manifest.jsonl", "plan.jsonl", "prepared.json", "report.html", "report.json", "result.zip"]
    give_up_s = time.monotonic() + PATIENCE_S
    while sorted(path.name for path in service.folder(job_id).iterdir()) != kept:
        if time.monotonic() > give_up_s:
            return False
        time.sleep(0.05)
    return True


def test_a_job_killed_in_every_state_gives_the_result_of_one_that_was_not(
    serve: Serve, dataset: bytes, undisturbed: bytes
) -> None:
    service = serve()
    job_id = service.submit(dataset).json()["id"]
    chance = random.Random(0)
    hits = [
        lambda job: job["state"] == "preparing",
        lambda job: job["state"] == "running",
        lambda job: job["done"] > IMAGES / 2,
        lambda job: job["done"] > IMAGES,
        lambda job: job["state"] == "finishing",
    ]
    for hit in hits:
        with suppress(AssertionError):  # it was over before it was seen
            service.until(job_id, hit)
        time.sleep(chance.uniform(0, 0.1))
        service.kill()
        service.start()

    assert service.result(job_id) == undisturbed
    assert is_tidy(service, job_id)


def test_what_was_recorded_is_not_done_again(serve: Serve, dataset: bytes, undisturbed: bytes) -> None:
    service = serve()
    job_id = service.submit(dataset).json()["id"]
    for part in (0.2, 0.5, 0.8):
        service.until(job_id, lambda job: job["done"] >= part * job["files"] > 0)  # noqa: B023
        service.kill()
        recorded = times_of_records(service, job_id)
        service.start()
        service.until(job_id, lambda job: job["done"] > 4 * len(recorded) or job["state"] != "running")  # noqa: B023
        assert recorded.items() <= times_of_records(service, job_id).items()

    assert service.result(job_id) == undisturbed
    begun = attempts(service, job_id)
    assert sum(begun) - len(begun) <= 3 * 2, "more than the two chunks at work at each kill were done twice"


@pytest.mark.parametrize("state", ["preparing", "finishing"])
def test_a_child_that_is_killed_is_begun_again(
    serve: Serve, dataset: bytes, undisturbed: bytes, state: str
) -> None:
    service = serve()
    job_id = service.submit(dataset).json()["id"]
    killed = 0
    while killed < 2 and service.job(job_id)["state"] not in FINISHED:
        if service.job(job_id)["state"] == state:
            for child in service.children():
                os.kill(child, signal.SIGKILL)
                killed += 1
        time.sleep(0.01)

    assert service.result(job_id) == undisturbed
    assert killed, "no child was seen"
    assert is_tidy(service, job_id)


@contextmanager
def uploading(service: Service, archive: bytes) -> Iterator[None]:
    """Half of an upload is on its way inside the block."""
    host, port = service.client.base_url.host, service.client.base_url.port
    with socket.create_connection((host, port)) as connection:
        head = "POST /jobs HTTP/1.1\r\nHost: a\r\nContent-Type: application/zip\r\nContent-Length: "
        connection.sendall(f"{head}{2 * len(archive)}\r\n\r\n".encode() + archive)
        while not list((service.data / "jobs").glob("*")):
            time.sleep(0.01)
        yield


def test_an_upload_cut_off_by_a_kill_leaves_no_job_and_in_the_end_no_folder(
    serve: Serve, dataset: bytes
) -> None:
    service = serve()
    with uploading(service, dataset):
        service.kill()
    (folder,) = (service.data / "jobs").glob("*")

    service.start()
    assert service.client.get("/jobs").json()["jobs"] == []
    service.kill()
    long_ago = time.time() - 2 * 86_400
    os.utime(folder, (long_ago, long_ago))
    service.start()
    give_up_s = time.monotonic() + PATIENCE_S
    while folder.exists():
        assert time.monotonic() < give_up_s
        time.sleep(0.05)


def test_the_same_key_after_a_crash_is_the_same_job(serve: Serve, dataset: bytes) -> None:
    service = serve()
    first = service.submit(dataset, key="once").json()["id"]
    service.kill()
    service.start()
    again = service.submit(dataset, key="once")

    assert again.json()["id"] == first
    assert again.headers["Idempotent-Replayed"] == "true"
    service.result(first)
    assert service.submit(dataset, key="once").json()["state"] == "done"


def test_a_stop_gives_the_job_back_and_a_start_goes_on_at_once(
    serve: Serve, dataset: bytes, undisturbed: bytes
) -> None:
    service = serve(job_lease_s=600)
    job_id = service.submit(dataset).json()["id"]
    service.until(job_id, lambda job: job["done"] > 0)
    begun_s = time.monotonic()
    assert service.send(signal.SIGTERM) == 0
    assert time.monotonic() - begun_s < 15
    with closing(sqlite3.connect(service.data / "ledger.sqlite")) as ledger:
        assert ledger.execute("SELECT owner, state FROM jobs").fetchall() == [(None, "running")]
    assert set(attempts(service, job_id)) <= {0, 1}

    service.start()
    assert service.result(job_id) == undisturbed
    assert max(attempts(service, job_id)) == 1, "a stop in good order counted as an attempt"


def test_a_source_file_that_vanishes_fails_alone(serve: Serve, dataset: bytes, tmp_path: Path) -> None:
    source = tmp_path / "sets" / "one"
    with zipfile.ZipFile(io.BytesIO(dataset)) as archive:
        archive.extractall(source)
    service = serve(source_roots=tmp_path / "sets")
    job_id = service.client.post("/jobs", json={"source": str(source)}).json()["id"]
    service.until(job_id, lambda job: job["done"] > 0)
    (source / "images" / f"{IMAGES - 1:03}.png").unlink()
    job = service.until(job_id, lambda job: job["state"] == "done")

    assert job["counts"]["failures"] == {"No such file or directory.": 1}
    assert job["done"] == job["files"] == 2 * IMAGES + 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB of its own."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=3m", "simtrue-test", str(folder)]
    mounted = subprocess.run(mounting, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """Take all the room there is; the file that does."""
    ballast = disk / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(b"\0" * 4096)
    return ballast


def test_a_job_waits_for_room_says_so_and_goes_on(
    serve: Serve, dataset: bytes, undisturbed: bytes, small_disk: Path
) -> None:
    service = serve(small_disk / "data", database=f"sqlite:///{small_disk.parent / 'ledger.sqlite'}")
    job_id = service.submit(dataset).json()["id"]
    service.until(job_id, lambda job: job["done"] > 0)
    ballast = fill(small_disk)
    waiting = service.until(job_id, lambda job: job["waiting"])
    assert waiting["state"] == "running"
    assert "The disk is full" in waiting["detail"]
    refused = service.submit(dataset)
    assert refused.status_code == 507, refused.text
    ballast.unlink()

    assert service.result(job_id) == undisturbed
    assert service.job(job_id)["detail"] == ""


def test_a_job_whose_ledger_has_no_room_either_goes_on_when_there_is(
    serve: Serve, dataset: bytes, undisturbed: bytes, small_disk: Path
) -> None:
    service = serve(small_disk / "data")
    job_id = service.submit(dataset).json()["id"]
    service.until(job_id, lambda job: job["done"] > 0)
    ballast = fill(small_disk)
    time.sleep(3)
    assert service.job(job_id)["state"] == "running"
    ballast.unlink()

    assert service.result(job_id) == undisturbed


def test_a_job_outlives_its_ledger_going_away(
    serve: Serve, dataset: bytes, undisturbed: bytes, postgres: Any
) -> None:
    service = serve(database=postgres.new_database())
    job_id = service.submit(dataset).json()["id"]
    service.until(job_id, lambda job: job["done"] > 0)
    postgres.stop()
    try:
        time.sleep(2)
        refused = service.client.get(f"/jobs/{job_id}")
        assert refused.status_code == 503
        assert service.client.get("/health/ready").status_code == 200
    finally:
        postgres.start()

    def at_last() -> dict[str, Any] | None:
        """The service may need a moment to reach the database again."""
        answer = service.client.get(f"/jobs/{job_id}")
        return answer.json() if answer.status_code == 200 else None

    give_up_s = time.monotonic() + PATIENCE_S
    while (job := at_last()) is None:
        assert time.monotonic() < give_up_s
        time.sleep(0.1)
    assert job["state"] == "running"
    assert service.result(job_id) == undisturbed
