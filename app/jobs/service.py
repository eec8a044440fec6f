"""The door to jobs: opens the ledger when it is first needed, and keeps a thread that does the work."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from app.errors import LedgerUnavailable, ShuttingDown, SimtrueError
from app.jobs.folder import JobFolder
from app.jobs.job import Job, NewJob, State, new_job_id
from app.jobs.request import JobRequest
from app.services import Services
from model.files import make_folder

if TYPE_CHECKING:  # SQLAlchemy is loaded when a ledger is opened, not when the service starts
    from app.jobs.driver import Executor
    from app.jobs.ledger import Ledger
    from app.jobs.runner import Runner

OPENED_WITHIN_S: Final = 15.0
OPENED_AGAIN_AFTER_S: Final = 5.0

_log = logging.getLogger(__name__)


class Jobs:
    """Owns the thread of the runner and the ledger that it opens; any thread may call."""

    def __init__(self, services: Services) -> None:
        self.settings = services.settings
        self._services = services
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._told = threading.Condition(self._lock)
        self._ledger: Ledger | None = None
        self._runner: Runner | None = None
        self._problem = ""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._main: asyncio.Task[None] | None = None
        self._closed = False

    def start(self) -> None:
        """Begin to drive jobs; again does nothing."""
        with self._lock:
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._work, name="jobs", daemon=True)
                self._thread.start()

    def ledger(self) -> Ledger:
        """The open ledger; waits a while for it. Raises LedgerUnavailable with what stands in the way."""
        self.start()
        with self._lock:
            self._told.wait_for(lambda: self._ledger or self._problem or self._closed, OPENED_WITHIN_S)
            if self._ledger is not None:
                return self._ledger
            if self._closed:
                raise ShuttingDown("The service is stopping and takes no new jobs.")
            raise LedgerUnavailable(self._problem or "The ledger of jobs is not open yet; try again.")

    def tally(self) -> dict[State, int]:
        """How many jobs are in each state; nothing while no ledger is open, or when it does not answer."""
        ledger = self._ledger
        if ledger is None:
            return {}
        try:
            return ledger.tally()
        except LedgerUnavailable:
            return {}

    def new_folder(self) -> tuple[str, JobFolder]:
        """An id for a job that is going to be submitted, and its folder."""
        job_id = new_job_id(time.time, os.urandom)
        folder = self.folder(job_id)
        make_folder(folder.root)
        return job_id, folder

    def folder(self, job_id: str) -> JobFolder:
        """The folder of a job."""
        return JobFolder(self.settings.data / "jobs" / job_id)

    def submit(
        self, job_id: str, request: JobRequest, archive_sha256: str | None, idempotency_key: str | None
    ) -> tuple[Job, bool]:
        """Accept a job for good; see `Ledger.submit`. Raises TooManyJobs."""
        new = NewJob(job_id, request.model_dump_json(), request.digest(archive_sha256), idempotency_key)
        accepted = self.ledger().submit(new, self.settings.max_queued_jobs)
        self.wake()
        return accepted

    def cancel(self, job_id: str) -> Job:
        """Ask for the end of a job that works or waits; one that is finished meanwhile stays as it is."""
        job = self.ledger().request_cancel(job_id)
        if job.state == "cancelled":
            shutil.rmtree(self.folder(job_id).root, ignore_errors=True)
        self.wake()
        return job

    def delete(self, job_id: str) -> None:
        """Forget a finished job, and all that it made. Raises JobStateConflict."""
        self.ledger().delete(job_id)
        shutil.rmtree(self.folder(job_id).root, ignore_errors=True)

    def wake(self) -> None:
        """Let the runner look at once."""
        if self._runner is not None:
            self._runner.wake()

    def close(self) -> None:
        """Give jobs in work back and end the thread. Idempotent."""
        with self._lock:
            self._closed = True
            self._told.notify_all()
            loop, main, thread = self._loop, self._main, self._thread
        if loop is not None and main is not None:
            with suppress(RuntimeError):  # it has ended by itself
                loop.call_soon_threadsafe(main.cancel)
        if thread is not None:
            thread.join()

    def _work(self) -> None:
        with suppress(asyncio.CancelledError):
            asyncio.run(self._main_task())

    async def _main_task(self) -> None:
        with self._lock:
            self._loop, self._main = asyncio.get_running_loop(), asyncio.current_task()
            if self._closed:
                return
        while True:
            try:
                await self._run()
            except (SimtrueError, OSError) as error:
                self._tell(_sentence(error))
                _log.warning("jobs cannot be done now: %s", self._problem)
                await asyncio.sleep(OPENED_AGAIN_AFTER_S)

    async def _run(self) -> None:
        from app.jobs.open_ledger import database_url, open_ledger
        from app.jobs.owner import owner_name
        from app.jobs.runner import Runner

        settings = self.settings
        with owner_name(settings.data / "owners") as owner, open_ledger(database_url(settings)) as ledger:
            executor = self._executor()
            try:
                self._runner = Runner(
                    ledger, executor, settings, owner, clock_s=time.monotonic, clock_utc=time.time
                )
                self._tell("", ledger)
                await self._runner.run()
            finally:
                self._runner = None
                self._tell("The ledger of jobs is closed.")
                await executor.close()

    def _executor(self) -> Executor:
        from app.jobs.executors.local import LocalExecutor
        from app.jobs.executors.ray import RayExecutor
        from app.jobs.executors.ray_cluster import RayCluster

        if self.settings.executor == "ray":
            return RayExecutor(RayCluster(self.settings), clock_s=time.monotonic)
        return LocalExecutor(self._services)

    def _tell(self, problem: str, ledger: Ledger | None = None) -> None:
        with self._lock:
            self._problem, self._ledger = problem, ledger
            self._told.notify_all()


@contextmanager
def open_jobs(services: Services) -> Iterator[Jobs]:
    """The jobs of a service. Those of earlier are gone on with at once, otherwise nothing is opened yet."""
    jobs = Jobs(services)
    try:
        if services.settings.database is not None or (services.settings.data / "jobs").is_dir():
            jobs.start()
        yield jobs
    finally:
        jobs.close()


def _sentence(error: SimtrueError | OSError) -> str:
    if isinstance(error, SimtrueError):
        return error.detail
    return f"The folder for jobs cannot be used ({error.filename}: {error.strerror}); set SIMTRUE_DATA."
