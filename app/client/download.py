"""What a job made, brought to a file that is whole or not there; a broken download is gone on with."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from hashlib import file_digest
from pathlib import Path

import httpx

from app.client.answers import Job, Result
from app.client.following import FIRST_PAUSE_S, LONGEST_PAUSE_S, PATIENCE_S
from app.client.service import Service, passes, path_of
from app.errors import BadAnswer, InvalidRequest, SimtrueError
from model.files import PARTIAL_SUFFIX, appearing, make_folder, sync_folder


def target_of(target: Path, job: Job) -> Path:
    """The file for the result of a job: `target`, or one in it when it is a folder."""
    if not target.is_dir():
        return target
    stem = Path(job.set_name.replace("\\", "/")).name.partition(".")[0]
    kind = (job.result.archive if job.result is not None else "result").partition(".")[2]
    return target / f"{stem or job.id}-refined.{Path(kind).name or 'zip'}"


def partial_of(target: Path, result: Result) -> Path:
    """Where a download of this very result waits until it is whole."""
    return target.with_name(f".{target.name[:40]}.{result.sha256[:16]}{PARTIAL_SUFFIX}")


class Download:
    """One result on its way into a file.

    `on_bytes` is told how many bytes are there, from the beginning.
    """

    def __init__(
        self,
        service: Service,
        job: Job,
        target: Path,
        on_bytes: Callable[[int], None],
        *,
        clock_s: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Raises InvalidRequest when the job has no result."""
        if job.result is None:
            where = f"; it went to {job.destination}" if job.destination is not None else ""
            raise InvalidRequest(f"Job {job.id} is {job.state} and has no archive to fetch{where}.")
        self._service, self._job, self._result, self._target = service, job, job.result, target
        self.partial = partial_of(target, job.result)
        self._on_bytes, self._clock_s, self._sleep = on_bytes, clock_s, sleep

    def run(self) -> None:
        """Download what is missing, check it, and give the file its name.

        What is there stays when it breaks, for the next time. Raises BadAnswer when the bytes are not those
        that the job promised, what `Service` raises and will not pass, and OSError.
        """
        make_folder(self._target.parent)
        moved_s, pause_s, before = self._clock_s(), FIRST_PAUSE_S, -1
        while (there := self._there()) < self._result.bytes or not self.partial.exists():
            if there > before:
                moved_s, pause_s, before = self._clock_s(), FIRST_PAUSE_S, there
            try:
                self._go_on(there)
            except SimtrueError as error:
                if not passes(error) or self._clock_s() - moved_s > PATIENCE_S:
                    raise
                self._sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        self._check_and_name()

    def _there(self) -> int:
        size = self.partial.stat().st_size if self.partial.exists() else 0
        if size > self._result.bytes:
            self.partial.unlink()
            return 0
        return size

    def _go_on(self, there: int) -> None:
        headers = {"Range": f"bytes={there}-", "If-Range": f'"{self._result.sha256}"'} if there else {}
        with self._service.open("GET", path_of(self._job.id, "/result"), headers=headers) as answer:
            begin = _begin(answer) if answer.status_code == httpx.codes.PARTIAL_CONTENT else 0
            if begin not in (0, there):
                raise BadAnswer(f"The service sends bytes from {begin} on, but was asked for {there}.")
            with self.partial.open("ab" if begin else "wb") as file:
                self._receive(answer, file.write, begin)
                file.flush()
                os.fsync(file.fileno())

    def _receive(self, answer: httpx.Response, write: Callable[[bytes], int], there: int) -> None:
        self._on_bytes(there)
        for piece in answer.iter_raw():
            there += len(piece)
            if there > self._result.bytes:
                raise BadAnswer(f"The service sends more than the {self._result.bytes} bytes of the result.")
            write(piece)
            self._on_bytes(there)
        if there < self._result.bytes:  # not broken off: then the connection would have said so
            raise BadAnswer(
                f"The service sends only {there} of the {self._result.bytes} bytes of the result."
            )

    def _check_and_name(self) -> None:
        with self.partial.open("rb") as file:
            digest = file_digest(file, "sha256").hexdigest()
        if digest != self._result.sha256:
            self.partial.unlink()
            raise BadAnswer(
                f"What came is not the result of job {self._job.id}: its SHA-256 is {digest}, but should be "
                f"{self._result.sha256}; nothing of it was kept."
            )
        self.partial.replace(self._target)
        sync_folder(self._target.parent)


def fetch_paper(service: Service, job_id: str, part: str, accept: str, target: Path) -> None:
    """Bring a paper of a job, such as its report, to a file. Raises what `Service` raises, and OSError."""
    with (
        service.open("GET", path_of(job_id, part), headers={"Accept": accept}) as answer,
        appearing(target) as file,
    ):
        for piece in answer.iter_raw():
            file.write(piece)


def _begin(answer: httpx.Response) -> int:
    unit, _, rest = answer.headers.get("content-range", "").partition(" ")
    begin = rest.partition("-")[0]
    if unit != "bytes" or not (begin.isascii() and begin.isdecimal()):
        raise BadAnswer("The service sends a part of the result, but does not say which.")
    return int(begin)
