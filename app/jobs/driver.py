"""The way of one job: prepared, refined chunk by chunk, finished; each step until it is in the ledger."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, ParamSpec, Protocol, TypeVar

from app.datasets.folder_place import FolderPlace
from app.datasets.manifest import Entry
from app.datasets.place import Place
from app.datasets.sources import open_destination, open_source
from app.errors import (
    ClusterUnavailable,
    JobCancelled,
    JobStateConflict,
    LedgerUnavailable,
    ModelNotServed,
    NotOwner,
    PlaceUnavailable,
    SimtrueError,
    StorageFull,
    WorkerLost,
)
from app.full_disk import naming_full_disk
from app.jobs.child import ask_child
from app.jobs.chunk import ChunkWork, give_up
from app.jobs.folder import JobFolder
from app.jobs.job import Job
from app.jobs.ledger import Ledger
from app.jobs.order import place_to_json
from app.jobs.request import JobRequest
from app.jobs.tally import tally
from app.settings import Settings
from app.threads import in_threads

WAITED_FOR: Final = (StorageFull, PlaceUnavailable, ModelNotServed, ClusterUnavailable, LedgerUnavailable)
"""What passes without anybody's doing, or by somebody's who reads the sentence; the job then goes on."""
FIRST_WAIT_S: Final = 1.0
LONGEST_WAIT_S: Final = 60.0
MOST_DEATHS: Final = 5
"""Of children, or of the driver itself: a job that ended them so often is not tried again."""
DISK_IS_FULL: Final = "The disk is full: {reason}; the job goes on when there is room."
PROGRESS_EVERY_S: Final = 1.0
SLOTS_AGAIN_S: Final = 5.0
"""How soon a job makes use of an executor that has grown."""

P = ParamSpec("P")
T = TypeVar("T")
_log = logging.getLogger(__name__)


class Executor(Protocol):
    """Who refines chunks."""

    @property
    def slots(self) -> int:
        """Chunks at once; more or fewer as time goes by."""
        ...

    async def refine(self, work: ChunkWork) -> list[Entry]:
        """Refine a chunk; what became of its files, in their order, once their results cannot be lost.

        Raises WorkerLost when the process that did it ended.
        """
        ...

    def end(self, job: str) -> None:
        """Nothing more of this job will come from here."""
        ...

    async def close(self) -> None:
        """Let go of everything."""
        ...


@dataclass(frozen=True)
class _Way:
    """A job, and where everything of it is."""

    id: str
    request: JobRequest
    folder: JobFolder
    source: Place
    target: Place


class Driver:
    """Drives one job for `owner`; for one event loop."""

    def __init__(
        self,
        ledger: Ledger,
        executor: Executor,
        settings: Settings,
        owner: str,
        *,
        clock_s: Callable[[], float],
    ) -> None:
        self._ledger, self._executor, self._settings, self._owner = ledger, executor, settings, owner
        self._clock_s = clock_s
        self._told_s = 0.0

    async def drive(self, job: Job) -> None:
        """Bring a job to its end, or until it is cancelled or somebody else's. Cancelling gives it back."""
        if job.cancel:
            await self._cancel(job.id)
            return
        work = asyncio.ensure_future(self._until_finished(job.id))
        beating = asyncio.ensure_future(self._beat_until_cancelled(job.id))
        try:
            await asyncio.wait({work, beating}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
            elif beating.result():
                await _stopped(work)
                await self._cancel(job.id)
            else:
                await work
        except NotOwner as error:
            _log.warning("%s", error.detail)
        except asyncio.CancelledError:
            await _stopped(work)
            with suppress(LedgerUnavailable):
                await _in_thread(self._ledger.release, job.id, self._owner)
            raise
        finally:
            await _stopped(work)
            await _stopped(beating)
            self._executor.end(job.id)

    async def _beat_until_cancelled(self, job_id: str) -> bool:
        """Show that this owner lives; True when the job is to end, False when it has. Raises NotOwner."""
        while True:
            try:
                job = await _in_thread(self._ledger.beat, job_id, self._owner)
            except LedgerUnavailable as error:
                _log.warning("no beat for job %s: %s", job_id, error.detail)
            except JobStateConflict:  # it was finished just now, and only cleans up
                return False
            else:
                if job.cancel:
                    return True
            await asyncio.sleep(self._settings.job_beat_s)

    async def _cancel(self, job_id: str) -> None:
        """Remove what there is of it, then say so: a cancelled job has no files; one that is done has."""
        if (await _in_thread(self._ledger.get, job_id)).finished:
            return
        folder = self._folder(job_id)
        await _in_thread(shutil.rmtree, folder.root, ignore_errors=True)
        await _in_thread(self._ledger.advance, job_id, self._owner, "cancelled")

    async def _until_finished(self, job_id: str) -> None:
        """Go on from wherever it is; what stands in the way is waited for."""
        wait_s = FIRST_WAIT_S
        while True:
            begun_s = self._clock_s()
            try:
                await self._go_on_or_fail(job_id)
            except WAITED_FOR as error:
                if self._clock_s() - begun_s > LONGEST_WAIT_S:
                    wait_s = FIRST_WAIT_S  # it had gone well for a while
                await self._wait(job_id, error.detail, wait_s)
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)
            else:
                return

    async def _go_on_or_fail(self, job_id: str) -> None:
        """Raises NotOwner, and what is waited for."""
        for death in range(1, MOST_DEATHS + 1):
            try:
                return await self._go_on(job_id)
            except (NotOwner, *WAITED_FOR):
                raise
            except JobCancelled:  # sooner than a beat sees it
                return await self._cancel(job_id)
            except SimtrueError as error:
                return await self._fail(job_id, error.detail)
            except Exception as error:  # noqa: BLE001 (one job's fault must not be another's)
                _log.exception("job %s failed in an unforeseen way", job_id)
                if death == MOST_DEATHS:
                    said = str(error) or type(error).__name__
                    return await self._fail(job_id, f"It ended in an unforeseen way {death} times: {said}.")
                await asyncio.sleep(FIRST_WAIT_S * 2 ** (death - 1))
        return None

    async def _wait(self, job_id: str, detail: str, wait_s: float) -> None:
        _log.warning("job %s waits: %s", job_id, detail)
        with suppress(LedgerUnavailable):
            await _in_thread(self._ledger.note, job_id, self._owner, waiting=True, detail=detail)
        await asyncio.sleep(wait_s)

    async def _fail(self, job_id: str, detail: str) -> None:
        _log.error("job %s failed: %s", job_id, detail)
        await self._advance(job_id, "failed", detail=detail)
        await _in_thread(self._folder(job_id).remove_work)

    async def _go_on(self, job_id: str) -> None:
        job = await _in_thread(self._ledger.get, job_id)
        if job.cancel:
            return await self._cancel(job_id)
        if job.state == "queued":
            job = await self._advance(job_id, "preparing")
        if job.finished:
            return None
        way = await _in_thread(self._way, job)
        if job.state == "preparing":
            job = await self._prepare(way)
        if job.state == "running":
            await self._run(way)
            job = await self._advance(job_id, "finishing")
        if job.state == "finishing":
            await self._finish(way, job)
        return None

    def _way(self, job: Job) -> _Way:
        request, folder = JobRequest.model_validate_json(job.request_json), self._folder(job.id)
        source: Place = FolderPlace(folder.source)
        if request.source is not None:
            source = open_source(request.source, self._settings)
        target: Place = FolderPlace(folder.result)
        if request.destination is not None:
            target = open_destination(request.destination, self._settings)
        return _Way(job.id, request, folder, source, target)

    async def _prepare(self, way: _Way) -> Job:
        totals = await ask_child("app.jobs.prepare", self._order_of_preparation(way))
        await self._tell(way.id, "prepared", totals)
        chunks = 0 if way.request.options.dry_run else int(totals["chunks"])
        plan = partial(self._ledger.plan_chunks, files=int(totals["files"]), images=int(totals["images"]))
        return await _in_thread(plan, way.id, self._owner, chunks)

    def _order_of_preparation(self, way: _Way) -> dict[str, Any]:
        settings = self._settings
        return {
            "folder": str(way.folder.root),
            "request": way.request.model_dump_json(),
            "source": None if way.request.source is None else place_to_json(way.source),
            "max_files": settings.max_set_files,
            "max_bytes": settings.max_set_bytes,
            "chunk_files": settings.job_chunk_files,
        }

    async def _run(self, way: _Way) -> None:
        """Refine what is not done yet, a few chunks at once; the first that cannot go on stops all."""
        at_work: set[asyncio.Task[None]] = set()
        try:
            async for number in self._waiting(way.id):
                at_work.add(asyncio.ensure_future(self._refine(way, number)))
                while len(at_work) >= self._executor.slots:
                    at_work = await _some_done(at_work, asyncio.FIRST_COMPLETED, SLOTS_AGAIN_S)
            await _some_done(at_work, asyncio.ALL_COMPLETED)
        finally:
            await asyncio.gather(*map(_stopped, at_work))

    async def _waiting(self, job_id: str) -> AsyncIterator[int]:
        last = -1
        while chunks := await _in_thread(self._ledger.chunks_waiting, job_id, 256, last):
            for chunk in chunks:
                yield chunk.number
            last = chunks[-1].number

    async def _refine(self, way: _Way, number: int) -> None:
        """A chunk, unless its record is there and only the ledger does not know yet."""
        if await _in_thread(way.folder.done(number).exists):
            counts = await _in_thread(lambda: tally(way.folder.read_done(number)))
        else:
            work = await self._work_of(way, number)
            async with self._counted_when_it_kills(work):
                entries = await self._entries_of(work)
                with naming_full_disk(DISK_IS_FULL):
                    await _in_thread(way.folder.write_done, number, entries)
            counts = tally(entries)
        await _in_thread(self._ledger.finish_chunk, way.id, self._owner, number, counts)
        await self._tell_progress(way.id)

    async def _work_of(self, way: _Way, number: int) -> ChunkWork:
        files = await _in_thread(way.folder.read_chunk, number)
        kept = FolderPlace(way.folder.dropped)
        return ChunkWork(way.id, number, way.request, way.source, way.target, files, kept)

    @asynccontextmanager
    async def _counted_when_it_kills(self, work: ChunkWork) -> AsyncIterator[None]:
        """Of an attempt that ends in good order, however it ends, the ledger does not keep count."""
        try:
            yield
        except BaseException:
            with suppress(SimtrueError):
                await asyncio.shield(_in_thread(self._ledger.stop_chunk, work.job, self._owner, work.number))
            raise

    async def _entries_of(self, work: ChunkWork) -> list[Entry]:
        """What becomes of the files of a chunk; one that ends its process again and again is given up."""
        while True:
            attempt = await _in_thread(self._ledger.start_chunk, work.job, self._owner, work.number)
            if attempt > self._settings.job_chunk_attempts:
                reason = f"Refining ended its process {attempt - 1} times at this file, or at one beside it."
                with naming_full_disk(DISK_IS_FULL):
                    return await _in_thread(give_up, work, reason)
            try:
                with naming_full_disk(DISK_IS_FULL):
                    return await self._executor.refine(work)
            except WorkerLost as error:
                _log.warning("job %s, chunk %d is begun again: %s", work.job, work.number, error.detail)

    async def _tell_progress(self, job_id: str) -> None:
        """An event now and then, and that the job no longer waits."""
        now_s = self._clock_s()
        if now_s - self._told_s < PROGRESS_EVERY_S:
            return
        self._told_s = now_s
        job = await _in_thread(self._ledger.note, job_id, self._owner, waiting=False, detail="")
        await self._tell(job_id, "progress", {"done": job.counts.files, "chunks_done": job.chunks_done})

    async def _finish(self, way: _Way, job: Job) -> None:
        prepared = await _in_thread(lambda: json.loads(way.folder.prepared.read_bytes()))
        result: dict[str, Any] = {"archive": None}
        if not way.request.options.dry_run:
            result = await ask_child("app.jobs.finish", self._order_of_finish(way, job, prepared["problems"]))
        said = json.dumps({**result, "prepared": prepared})
        size = await _in_thread(way.folder.kept_bytes)
        await self._advance(way.id, "done", result_json=said, bytes_on_disk=size)
        await _in_thread(way.folder.remove_work)

    def _order_of_finish(self, way: _Way, job: Job, problems: list[str]) -> dict[str, Any]:
        options, model = way.request.options, way.request.model
        limits = options.thresholds
        about = {
            "model": f"{model.name} v{model.version}",
            "strength, seed": f"{options.strength:g}, {options.seed}",
            "thresholds": f"moved at most {limits.max_shift_px:g} px, at least "
            f"{limits.min_structure_kept:.0%} left and {limits.min_least_kept:.0%} where most was lost; "
            f"else {limits.below}",
            "files": f"{job.files}",
        }
        return {
            "folder": str(way.folder.root),
            "request": way.request.model_dump_json(),
            "source": place_to_json(way.source),
            "target": place_to_json(way.target),
            "chunks": job.chunks,
            "max_pixels": self._settings.max_pixels,
            "problems": problems,
            "about": about,
        }

    async def _advance(self, job_id: str, state: Any, **told: Any) -> Job:
        return await _in_thread(partial(self._ledger.advance, **told), job_id, self._owner, state)

    async def _tell(self, job_id: str, kind: str, data: Mapping[str, object]) -> None:
        await _in_thread(self._ledger.append_event, job_id, kind, json.dumps(data), self._owner)

    def _folder(self, job_id: str) -> JobFolder:
        return JobFolder(self._settings.data / "jobs" / job_id)


async def _in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    return await in_threads(None, partial(work, *args, **kwargs))


async def _some_done(
    tasks: set[asyncio.Task[None]], when: str, timeout_s: float | None = None
) -> set[asyncio.Task[None]]:
    """Wait, raise what one raised, and hand back those that still work."""
    if not tasks:
        return tasks
    done, pending = await asyncio.wait(tasks, return_when=when, timeout=timeout_s)
    for task in done:
        task.result()
    return pending


async def _stopped(task: asyncio.Future[Any]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError, Exception):
        await task
