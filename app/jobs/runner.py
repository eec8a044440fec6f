"""Which jobs this process drives: it claims what is free, takes over what was left, and cleans up."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from app.errors import LedgerUnavailable, SimtrueError, UnknownJob
from app.jobs.driver import Driver, Executor
from app.jobs.folder import JobFolder
from app.jobs.job import Job, Lease, is_job_id
from app.jobs.lease_watch import LeaseWatch
from app.jobs.ledger import Ledger
from app.jobs.owner import is_known_dead
from app.settings import Settings

LOOK_EVERY_S: Final = 1.0
CLEAN_EVERY_S: Final = 60.0
ORPHAN_AGE_S: Final = 86_400.0
"""A folder that no job in the ledger has is an upload that was broken off, once it is so old."""

_log = logging.getLogger(__name__)


class Runner:
    """Owns the drivers of this process; `run` for one event loop, `wake` for any thread."""

    def __init__(
        self,
        ledger: Ledger,
        executor: Executor,
        settings: Settings,
        owner: str,
        *,
        clock_s: Callable[[], float],
        clock_utc: Callable[[], float],
    ) -> None:
        self._ledger, self._executor, self._settings, self._owner = ledger, executor, settings, owner
        self._clock_s, self._clock_utc = clock_s, clock_utc
        self._watch = LeaseWatch(settings.job_lease_s, clock_s)
        self._driving: dict[str, asyncio.Task[None]] = {}
        self._woken = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def wake(self) -> None:
        """There may be something new; looked for at once."""
        if self._loop is not None:
            with suppress(RuntimeError):  # it is closed already
                self._loop.call_soon_threadsafe(self._woken.set)

    async def run(self) -> None:
        """Drive jobs until cancelled; those in work are then given back as they are."""
        self._loop = asyncio.get_running_loop()
        cleaning = asyncio.ensure_future(self._clean_now_and_then())
        try:
            while True:
                await self._look()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), LOOK_EVERY_S)
                self._woken.clear()
        finally:
            cleaning.cancel()
            for task in self._driving.values():
                task.cancel()
            await asyncio.gather(cleaning, *self._driving.values(), return_exceptions=True)

    async def _look(self) -> None:
        self._forget_finished()
        try:
            while len(self._driving) < self._settings.jobs_at_once:
                job = await asyncio.to_thread(self._next)
                if job is None:
                    return
                self._drive(job)
        except LedgerUnavailable as error:
            _log.warning("no look for jobs: %s", error.detail)

    def _next(self) -> Job | None:
        """A job that somebody left, or else one that nobody has begun."""
        leases = self._ledger.leases()
        stale = set(self._watch.stale(leases))
        for lease in leases:
            if lease in stale or self._is_gone(lease):
                job = self._ledger.take_over(lease, self._owner)
                if job is not None:
                    _log.warning("job %s is taken over from %s", job.id, lease.owner)
                    return job
        return self._ledger.claim(self._owner)

    def _is_gone(self, lease: Lease) -> bool:
        if lease.owner == self._owner:
            return lease.job_id not in self._driving
        return is_known_dead(self._settings.data / "owners", lease.owner)

    def _drive(self, job: Job) -> None:
        driver = Driver(self._ledger, self._executor, self._settings, self._owner, clock_s=self._clock_s)
        self._driving[job.id] = asyncio.ensure_future(driver.drive(job))
        self._driving[job.id].add_done_callback(lambda _: self._woken.set())

    def _forget_finished(self) -> None:
        for job_id, task in list(self._driving.items()):
            if not task.done():
                continue
            del self._driving[job_id]
            if not task.cancelled() and (error := task.exception()) is not None:
                _log.error("driving job %s failed and is begun again", job_id, exc_info=error)

    async def _clean_now_and_then(self) -> None:
        while True:
            try:
                await asyncio.to_thread(self._clean)
            except (SimtrueError, OSError):
                _log.warning("cleaning up old jobs failed; it is tried again", exc_info=True)
            await asyncio.sleep(CLEAN_EVERY_S)

    def _clean(self) -> None:
        """Delete finished jobs that are too old or too many, and what interrupted work left behind."""
        settings = self._settings
        oldest_utc = self._clock_utc() - settings.job_retention_hours * 3600
        for job in self._ledger.expired(oldest_utc, settings.jobs_max_bytes):
            _log.info("job %s, finished long ago, is deleted", job.id)
            shutil.rmtree(self._folder(job.id).root, ignore_errors=True)
            self._ledger.delete(job.id)
        for folder in sorted((settings.data / "jobs").glob("*")):
            if is_job_id(folder.name):
                self._clean_folder(folder)

    def _clean_folder(self, folder: Path) -> None:
        try:
            job = self._ledger.get(folder.name)
        except UnknownJob:
            if self._clock_utc() - folder.stat().st_mtime > ORPHAN_AGE_S:
                shutil.rmtree(folder, ignore_errors=True)
            return
        if job.state == "cancelled":
            shutil.rmtree(folder, ignore_errors=True)
        elif job.finished:
            JobFolder(folder).remove_work()

    def _folder(self, job_id: str) -> JobFolder:
        return JobFolder(self._settings.data / "jobs" / job_id)
