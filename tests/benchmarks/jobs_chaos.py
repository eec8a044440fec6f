"""Pulls the plug on a dataset job again and again, and checks every file of what comes out.

    python tests/benchmarks/jobs_chaos.py                  # 2000 images, ten pulls; some minutes

A set of 32x32 px PNGs with YOLO labels goes through a service twice: once undisturbed, once while the service
is killed or stopped and its child processes are killed, in every state of the job, at random moments. After
each kill or stop of the service it is started again at once. The second result must be complete: every
file has the SHA-256 that the manifest tells, labels have the bytes that came in, and the archive is the one
of the undisturbed job, byte for byte. Prints a table of the pulls, how many chunks were begun again, and a
sentence.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import random
import signal
import sqlite3
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
from job_runs import Service, write_set

LOOK_EVERY_S = 0.005
LONGEST_PAUSE_S = 0.3
CHUNK_FILES = 32


@dataclass(frozen=True)
class Pull:
    """What is done to whom, once the job is in a state with so much of it done (0 to 1)."""

    what: str
    state: str
    part: float = 0.0


def main() -> None:
    """Run, print the table, and end with an error when anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--pulls", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="for the data; a temporary one unless given")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="simtrue-", dir=given.folder) as name:
        folder = Path(name)
        write_set(folder / "set.zip", given.images, labels=True)
        undisturbed = _undisturbed(folder)
        chaos = Chaos(folder, random.Random(given.seed))
        chaos.run(plan(given.pulls, chaos.chance))
        chaos.verify(undisturbed)


def plan(count: int, chance: random.Random) -> list[Pull]:
    """At least the first four, however few; the others while chunks are refined, at random moments."""
    ends = [Pull("kill the service", "upload"), Pull("kill the child", "preparing")]
    ends += [Pull("kill the service", "preparing")]
    last = [Pull("kill the child", "finishing"), Pull("kill the service", "finishing")]
    between = max(count - len(ends) - len(last), 1)
    parts = sorted(chance.uniform(0, 0.95) for _ in range(between))
    kinds = ["kill the service"] * (between - between // 3) + ["stop the service"] * (between // 3)
    chance.shuffle(kinds)
    return [*ends, *(Pull(kind, "running", part) for kind, part in zip(kinds, parts, strict=True)), *last]


def _undisturbed(folder: Path) -> bytes:
    with Service(folder / "undisturbed", job_chunk_files=CHUNK_FILES) as service:
        begun_s = time.perf_counter()
        job_id = str(service.submit(folder / "set.zip")["id"])
        service.finished(job_id)
        print(f"undisturbed: {time.perf_counter() - begun_s:.1f} s\n", flush=True)
        return service.client.get(f"/jobs/{job_id}/result").content


class Chaos:
    """One disturbed job."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.chance = chance
        self._archive, self._data = folder / "set.zip", folder / "disturbed"
        self._service = Service(self._data, job_chunk_files=CHUNK_FILES)
        self._job_id = ""
        self._begun_s = 0.0

    def run(self, pulls: Sequence[Pull]) -> None:
        """Do all of it, with a line for each."""
        print("| s | pull | asked for | chunks done | again after, s |\n| --- | --- | --- | --- | --- |")
        self._service.start()
        self._begun_s = time.perf_counter()
        for pull in pulls:
            if pull.state == "upload":
                self._cut_upload(pull)
                continue
            if not self._job_id:
                self._job_id = str(self._service.submit(self._archive)["id"])
            state = self._wait_for(pull)
            if pull.what == "kill the child":
                killed = self._kill_child(pull.state)
                self._tell(pull, state if killed else "no child was there", None)
            else:
                number = signal.SIGKILL if pull.what == "kill the service" else signal.SIGTERM
                self._tell(pull, state, self._end(number))

    def _cut_upload(self, pull: Pull) -> None:
        """Kill the service while it takes in an archive that never ends."""

        def endless() -> Iterator[bytes]:
            while True:
                yield b"PK\x03\x04" * 4096
                time.sleep(0.001)

        client = threading.Thread(target=self._send, args=[endless()])
        client.start()
        while not list(self._data.glob("jobs/*/.upload*")):
            time.sleep(LOOK_EVERY_S)
        time.sleep(self.chance.uniform(0, LONGEST_PAUSE_S))
        again_s = self._end(signal.SIGKILL)
        client.join()
        assert self._service.client.get("/jobs").json()["jobs"] == [], "half an upload became a job"
        self._tell(pull, "upload", again_s)

    def _send(self, content: object) -> None:
        with suppress(httpx.TransportError):
            self._service.client.post("/jobs", content=content, headers={"Content-Type": "application/zip"})

    def _wait_for(self, pull: Pull) -> str:
        """Until the job is as far as the pull wants, and then some random moment more; its state then."""
        order = ["queued", "preparing", "running", "finishing", "done"]
        while True:
            state, done, chunks = self._look()
            assert state in order, state
            ahead = order.index(state) - order.index(pull.state)
            if ahead > 0 or (ahead == 0 and done >= pull.part * chunks):
                break
            time.sleep(LOOK_EVERY_S)
        if ahead == 0:
            time.sleep(self.chance.uniform(0, LONGEST_PAUSE_S))
        return self._look()[0]

    def _look(self) -> tuple[str, int, int]:
        """State, chunks done, chunks; from the ledger, which is there without the service."""
        asked = "SELECT state, chunks_done, chunks FROM jobs WHERE id = ?"
        with closing(sqlite3.connect(self._data / "ledger.sqlite", timeout=30)) as ledger:
            state, done, chunks = ledger.execute(asked, [self._job_id]).fetchone()
        return str(state), int(done), int(chunks)

    def _kill_child(self, state: str) -> bool:
        """Kill the child as soon as there is one; whether there was, before the job was a state further."""
        while not (children := self._service.children()):
            if self._look()[0] != state:
                return False
            time.sleep(LOOK_EVERY_S)
        for child in children:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        return True

    def _end(self, number: int) -> float:
        """End the service and start it again; the seconds until it answers."""
        begun_s = time.perf_counter()
        self._service.stop(number)
        self._service.start()
        return time.perf_counter() - begun_s

    def _tell(self, pull: Pull, state: str, again_s: float | None) -> None:
        after_s = time.perf_counter() - self._begun_s
        done = "" if not self._job_id else "{1} of {2}".format(*self._look())
        found = pull.state if state == pull.state else f"{pull.state}, but: {state}"
        again = "" if again_s is None else f"{again_s:.1f}"
        print(f"| {after_s:.1f} | {pull.what} | {found} | {done} | {again} |", flush=True)

    def verify(self, undisturbed: bytes) -> None:
        """Check everything about the result."""
        service = self._service
        with ExitStack() as stack:
            stack.push(service)  # it runs since the last pull
            service.finished(self._job_id)
            left = self._left()
            took_s = time.perf_counter() - self._begun_s
            result = service.client.get(f"/jobs/{self._job_id}/result").content
            manifest = service.client.get(f"/jobs/{self._job_id}/manifest").text.splitlines()[1:]
        assert result == undisturbed, "the archive is not that of the undisturbed job"
        entries = [json.loads(line) for line in manifest]
        with zipfile.ZipFile(io.BytesIO(result)) as got, zipfile.ZipFile(self._archive) as sent:
            assert sorted(got.namelist()) == sorted(sent.namelist()), "files are missing, or too many"
            assert sorted(entry["path"] for entry in entries) == sorted(sent.namelist())
            for entry in entries:
                before, after = sent.read(entry["path"]), got.read(entry["path"])
                assert hashlib.sha256(before).hexdigest() == entry["in"]["sha256"], entry
                assert hashlib.sha256(after).hexdigest() == entry["out"]["sha256"], entry
                assert entry["path"].endswith(".png") or before == after, entry
        with closing(sqlite3.connect(self._data / "ledger.sqlite")) as ledger:
            (twice, chunks) = ledger.execute(
                "SELECT sum(max(attempts - 1, 0)), count(*) FROM chunks WHERE job_id = ?", [self._job_id]
            ).fetchone()
        print(
            f"\n{len(entries)} files in {took_s:.1f} s, all as in the manifest and the undisturbed job; "
            f"{twice} of {chunks} chunks were begun twice. Left in the job's folder: {', '.join(left)}."
        )

    def _left(self) -> list[str]:
        """What there is of the job when only its end was left to tidy up."""
        folder = self._data / "jobs" / self._job_id
        while (folder / "source").exists() or (folder / "done").exists():
            time.sleep(LOOK_EVERY_S)
        return sorted(path.name for path in folder.iterdir())


if __name__ == "__main__":
    main()
