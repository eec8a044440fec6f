"""A real service in a process of its own, for tests that look at it from outside."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
START_S = 60
STOP_S = 60

Serving = Callable[..., AbstractContextManager[int]]


@contextlib.contextmanager
def _serving(
    models: Path,
    *,
    words: tuple[str, ...] = ("serve",),
    program: tuple[str, ...] = (
        sys.executable,
        "-c",
        "import sys; from app.cli import main; sys.exit(main())",
    ),
    environment: dict[str, str] | None = None,
    cwd: Path = ROOT,
) -> Iterator[int]:
    """Run `simtrue serve` with `words`, ready inside the block on the yielded port of 127.0.0.1.

    `environment` replaces this process's own. After the block the service gets SIGTERM and must end with 0.
    """
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    variables = {"SIMTRUE_MODELS": str(models), "SIMTRUE_PORT": str(port)}
    server = subprocess.Popen(
        [*program, *words],
        env=(os.environ if environment is None else environment) | variables,
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        _wait_until_ready(server, port)
        yield port
    finally:
        server.terminate()
        try:
            output = server.communicate(timeout=STOP_S)[0]
        finally:
            server.kill()
    assert server.returncode == 0, output


@pytest.fixture(scope="session")
def serving() -> Serving:
    """The context manager `_serving`: `with serving(models) as port: …`."""
    return _serving


def _wait_until_ready(server: subprocess.Popen[str], port: int) -> None:
    give_up = time.monotonic() + START_S
    while not _ready(port):
        if time.monotonic() > give_up or server.poll() is not None:
            server.kill()
            pytest.fail(f"the service did not get ready:\n{server.communicate()[0]}")
        time.sleep(0.05)


def _ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


PROGRAM = (sys.executable, "-c", "import sys; from app.cli import main; sys.exit(main())", "serve")
FINISHED = ("done", "failed", "cancelled")
PATIENCE_S = 480
IMAGES = 60

Replicas = Callable[..., "Replica"]
Truth = tuple[dict[str, bytes], bytes]


class Replica:
    """A service process with jobs, which may share data and ledger with others, and be killed."""

    def __init__(self, **settings: object) -> None:
        self.data = Path(str(settings["data"]))
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 (closed at its end)
        named = {f"SIMTRUE_{name.upper()}": str(value) for name, value in settings.items()}
        self.process = subprocess.Popen(
            PROGRAM, env=os.environ | named, cwd=ROOT, stdout=subprocess.PIPE, stderr=self._output, text=True
        )
        assert self.process.stdout is not None
        greeting = self.process.stdout.readline()
        assert greeting, self.said()
        self.client = httpx.Client(base_url=greeting.rsplit(maxsplit=1)[-1], timeout=60)

    def said(self) -> str:
        """Its log until now."""
        self._output.seek(0)
        return self._output.read().decode()

    def send(self, number: int) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def freeze(self) -> None:
        """Stop it where it is, and wait until each of its threads stands still."""
        self.send(signal.SIGSTOP)
        threads = Path(f"/proc/{self.process.pid}/task")
        while any(_state(stat) != "T" for stat in threads.glob("*/stat")):
            time.sleep(0.01)

    def end(self) -> None:
        """Kill it, if it lives."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._output.close()
        self.client.close()

    def submit(self, archive: bytes | None = None, **asked: object) -> str:
        """Hand in an archive, or what JSON describes; the id of the job."""
        body = {"json": asked} if archive is None else {"content": archive}
        kind = {} if archive is None else {"Content-Type": "application/zip"}
        answer = self.client.post("/jobs", headers=kind, **body)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def job(self, job_id: str) -> dict[str, Any]:
        """One look at a job."""
        return dict(self.client.get(f"/jobs/{job_id}").raise_for_status().json())

    def until(self, job_id: str, true: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """Look at a job until something is true of it."""
        give_up_s = time.monotonic() + PATIENCE_S
        while not true(job := self.job(job_id)):
            assert time.monotonic() < give_up_s, (job, self.said())
            assert job["state"] not in FINISHED, (job, self.said())
            time.sleep(0.1)
        return job

    def whenever(self, true: Callable[[], object]) -> None:
        """Wait until something is true, whatever becomes of jobs."""
        give_up_s = time.monotonic() + PATIENCE_S
        while not true():
            assert time.monotonic() < give_up_s, self.said()
            time.sleep(0.1)

    def finished(self, job_id: str) -> Truth:
        """The files of a result, when the job is done, and its manifest."""
        self.until(job_id, lambda job: job["state"] == "done")
        packed = self.client.get(f"/jobs/{job_id}/result").raise_for_status().content
        manifest = self.client.get(f"/jobs/{job_id}/manifest").raise_for_status().content
        return _unpacked(packed), manifest

    def states(self, job_id: str) -> list[str]:
        """The states that a finished job went through."""
        told = self.client.get(f"/jobs/{job_id}/events").raise_for_status().text
        data = re.findall(r"^event: state\ndata: (.*)$", told, re.MULTILINE)
        return [json.loads(event)["state"] for event in data]

    def records(self, job_id: str) -> dict[str, tuple[int, int]]:
        """The records of done chunks: name to inode and time, which change when one is done again."""
        found = (path for path in (self.data / "jobs" / job_id / "done").glob("*.jsonl"))
        return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}


def _state(stat: Path) -> str:
    """Of a thread; its name, in brackets before it, may hold anything."""
    return stat.read_text().rpartition(")")[2].split()[0]


def _unpacked(archive: bytes) -> dict[str, bytes]:
    """The files in a zip."""
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


@pytest.fixture(scope="session")
def unpacked() -> Callable[[bytes], dict[str, bytes]]:
    """The function `_unpacked`."""
    return _unpacked


@pytest.fixture(scope="session")
def slow_models(tmp_path_factory: pytest.TempPathFactory, write_model: Callable[..., Path]) -> Path:
    """A refiner that takes some 50 ms, so that a job lasts long enough to be hit, and takes noise."""
    root = tmp_path_factory.mktemp("models")
    write_model(root, "slow", work=100, noise=(1, 0))
    return root


@pytest.fixture
def replicas(tmp_path: Path, slow_models: Path) -> Iterator[Replicas]:
    """Starts services on one data folder: `replicas(job_lease_s=1)`."""
    begun: list[Replica] = []

    def start(**settings: object) -> Replica:
        usual: dict[str, object] = {"models": slow_models, "data": tmp_path / "data", "port": 0}
        usual |= {"device": "cpu", "threads": 1, "job_chunk_files": 4, "job_beat_s": 0.2, "job_lease_s": 1}
        begun.append(Replica(**usual | settings))
        return begun[-1]

    yield start
    for replica in begun:
        replica.end()


@pytest.fixture(scope="session")
def labelled_set() -> bytes:
    """A zip of images with labels, and a text that is to be copied."""
    chance = np.random.default_rng(0)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("notes.txt", "copied\n" * 100)
        for i in range(IMAGES):
            picture = io.BytesIO()
            Image.fromarray(chance.integers(20, 200, (32, 32), dtype=np.uint8)).save(picture, "PNG")
            archive.writestr(f"images/{i:03}.png", picture.getvalue())
            archive.writestr(f"labels/{i:03}.txt", "0 0.5 0.5 0.4 0.4\n")
    return file.getvalue()


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, slow_models: Path, labelled_set: bytes) -> Truth:
    """What becomes of that set in a service that nothing happens to."""
    data = tmp_path_factory.mktemp("undisturbed")
    alone = Replica(models=slow_models, data=data, port=0, device="cpu", threads=1)
    try:
        return alone.finished(alone.submit(labelled_set))
    finally:
        alone.end()
