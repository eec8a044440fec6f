"""Chunks are refined by workers in a Ray cluster, as many as its machines have room for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from app.datasets.folder_place import FolderPlace
from app.datasets.manifest import Entry
from app.errors import ClusterUnavailable, SimtrueError, WorkerLost
from app.jobs.chunk import ChunkWork
from app.jobs.chunk_text import entries_of, work_to_text
from app.jobs.executors.local import CHUNKS_AT_ONCE
from app.jobs.executors.ray_cluster import Berth, RayCluster
from model.files import make_folder

LOOK_EVERY_S: Final = 10.0
"""How often it is looked whether machines came or went, and workers are told that somebody needs them."""
FIRST_WORKER_WITHIN_S: Final = 20.0
"""After that a chunk that has no worker is given back, so that its job says what it waits for."""
READY_WITHIN_S: Final = 600.0
ANSWER_WITHIN_S: Final = 60.0
IDLE_S: Final = 300.0
"""Without a chunk for so long the cluster is let go of, so that its machines can be given back."""

_log = logging.getLogger(__name__)


@dataclass
class _Worker:
    berth: Berth
    actor: Any
    at_work: int = 0


class RayExecutor:
    """Owns the workers that this process may use; for one event loop."""

    def __init__(self, cluster: RayCluster, clock_s: Callable[[], float]) -> None:
        self._cluster, self._clock_s = cluster, clock_s
        self._workers: dict[str, _Worker] = {}
        self._joining: dict[str, asyncio.Task[None]] = {}
        self._following: asyncio.Task[None] | None = None
        self._look_now = asyncio.Event()
        self._changed = asyncio.Condition()
        self._problem = ""
        self._asked_s = clock_s()
        self._in_flight = 0

    @property
    def slots(self) -> int:
        """Chunks at once: so many per worker."""
        return max(1, CHUNKS_AT_ONCE * len(self._workers))

    async def refine(self, work: ChunkWork) -> list[Entry]:
        """Refine a chunk. Raises ClusterUnavailable, WorkerLost, and what the worker said."""
        if isinstance(work.target, FolderPlace):  # workers take that for the sign that they share it
            await asyncio.to_thread(make_folder, work.target.folder)
        order = await asyncio.to_thread(work_to_text, work)
        self._in_flight += 1
        try:
            worker = await self._free_worker()
            return entries_of(await self._asked(worker, order))
        finally:
            self._in_flight -= 1
            self._asked_s = self._clock_s()

    def end(self, job: str) -> None:
        """Workers let go of refiners by themselves."""

    async def close(self) -> None:
        """Let go of the cluster; other replicas go on using its workers."""
        if self._following is not None:
            self._following.cancel()
            with suppress(asyncio.CancelledError):
                await self._following

    async def _asked(self, worker: _Worker, order: str) -> str:
        worker.at_work += 1
        try:
            return await self._cluster.ask(worker.actor, "refine", order)
        except WorkerLost:
            await self._mistrust(worker.berth.node)
            raise
        except ClusterUnavailable as error:
            await self._lose_all(error.detail)
            self._look_now.set()
            raise
        finally:
            worker.at_work -= 1
            await self._tell()

    async def _free_worker(self) -> _Worker:
        if self._following is None or self._following.done():
            self._following = asyncio.create_task(self._follow())
        try:
            async with asyncio.timeout(FIRST_WORKER_WITHIN_S) as patience, self._changed:
                while not (free := [one for one in self._workers.values() if one.at_work < CHUNKS_AT_ONCE]):
                    if self._workers:
                        patience.reschedule(None)
                    elif self._problem:
                        raise ClusterUnavailable(self._problem)
                    await self._changed.wait()
                return min(free, key=lambda one: one.at_work)
        except TimeoutError:
            raise ClusterUnavailable("No worker of the Ray cluster is ready yet.") from None

    async def _follow(self) -> None:
        """Keep workers on all machines of the cluster as long as there are chunks."""
        self._asked_s = self._clock_s()
        try:
            while self._in_flight or self._clock_s() - self._asked_s < IDLE_S:
                await self._look()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._look_now.wait(), LOOK_EVERY_S)
                self._look_now.clear()
        finally:
            for task in self._joining.values():
                task.cancel()
            await self._lose_all("")
            await self._cluster.disconnect()

    async def _look(self) -> None:
        try:
            await self._cluster.connect()
            berths = {berth.name: berth for berth in await self._cluster.berths()}
            if not berths:
                raise ClusterUnavailable("The Ray cluster has no machines that may refine.")
        except SimtrueError as error:
            await self._lose_all(error.detail)
            return
        for name in set(self._workers) - set(berths):
            del self._workers[name]
        for name, berth in berths.items():
            if name not in self._workers and name not in self._joining:
                self._joining[name], self._problem = asyncio.create_task(self._join(berth)), ""
        await asyncio.gather(*(self._greet(worker) for worker in list(self._workers.values())))

    async def _join(self, berth: Berth) -> None:
        try:
            actor = await self._cluster.hire(berth)
            await self._ready(actor, READY_WITHIN_S)
        except (ClusterUnavailable, WorkerLost) as error:
            await self._complain(error.detail)
        except SimtrueError as error:
            await self._complain(f"A worker of the Ray cluster cannot work: {error.detail}")
            with suppress(SimtrueError):
                await self._cluster.dismiss(actor)
        except Exception as error:  # noqa: BLE001 (what is wrong with one worker is no fault of the others)
            await self._complain(
                f"A worker of the Ray cluster is broken: {str(error) or type(error).__name__}"
            )
        else:
            _log.info("%s is ready (%s, %d threads)", berth.name, berth.device, berth.threads)
            self._workers[berth.name], self._problem = _Worker(berth, actor), ""
            await self._tell()
        finally:
            del self._joining[berth.name]

    async def _greet(self, worker: _Worker) -> None:
        """See that an idle worker is still there, and let it know that it is needed."""
        if worker.at_work:
            return
        try:
            await self._ready(worker.actor, ANSWER_WITHIN_S)
        except SimtrueError:
            await self._mistrust(worker.berth.node)

    async def _ready(self, actor: Any, within_s: float) -> None:
        try:
            async with asyncio.timeout(within_s):
                entries_of(await self._cluster.ask(actor, "ready"))
        except TimeoutError:
            raise WorkerLost(f"A worker of the Ray cluster was not ready within {within_s:g} s.") from None

    async def _mistrust(self, node: str) -> None:
        """Where one worker is lost, the whole machine may be: none gets a chunk before it has answered."""
        for name, worker in list(self._workers.items()):
            if worker.berth.node == node:
                del self._workers[name]
        self._look_now.set()
        await self._tell()

    async def _lose_all(self, problem: str) -> None:
        self._workers.clear()
        await self._complain(problem)

    async def _complain(self, problem: str) -> None:
        if problem and problem != self._problem:
            _log.warning("%s", problem)
        self._problem = problem
        await self._tell()

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()
