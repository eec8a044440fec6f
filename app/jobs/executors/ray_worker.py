"""One worker in a Ray cluster: it has a GPU, or a share of a processor, and refines for all replicas.

Ray is not imported here: whoever hires a worker makes an actor of this class.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Final

from app.datasets.folder_place import FolderPlace
from app.errors import ModelNotServed, PlaceUnavailable, SimtrueError
from app.jobs.chunk import ChunkWork
from app.jobs.chunk_text import entries_to_text, error_to_text, work_of
from app.jobs.executors.local import LocalExecutor, served_as
from app.jobs.request import PinnedModel
from app.logs import configure_logs
from app.services import Services, open_services
from app.settings import Device, load_settings

ALONE_S: Final = 120.0
"""A worker that no replica has asked for so long ends, and lets go of its GPU."""

_log = logging.getLogger(__name__)


class RayWorker:
    """Owns services of its own, which its environment describes; every method runs on Ray's event loop."""

    def __init__(self, device: Device, threads: int) -> None:
        self._device, self._threads = device, threads
        self._opening = asyncio.Lock()
        self._open = ExitStack()
        self._services: Services | None = None
        self._executor: LocalExecutor | None = None
        self._chunks = 0
        self._asked_s = time.monotonic()
        self._waiting: asyncio.Task[None] | None = None

    async def ready(self) -> str:
        """Open everything, if it is not; an empty list of entries, or what stands in the way."""
        self._asked_s = time.monotonic()
        if self._waiting is None:
            self._waiting = asyncio.create_task(self._end_when_alone())
        try:
            await self._opened()
        except (SimtrueError, OSError) as error:
            return error_to_text(error)
        return entries_to_text(())

    async def refine(self, order: str) -> str:
        """Refine a chunk; its entries, or the error that it ended with (see `chunk_text`)."""
        self._chunks += 1
        try:
            executor, services = await self._opened()
            work = await asyncio.to_thread(_seen_from_here, work_of(order))
            await asyncio.to_thread(_serve, services, work.request.model)
            return entries_to_text(await executor.refine(work))
        except (SimtrueError, OSError) as error:
            return error_to_text(error)
        finally:
            self._chunks -= 1
            self._asked_s = time.monotonic()

    def close(self) -> None:
        """Close the services; a worker in a cluster has no such end."""
        self._open.close()

    async def _opened(self) -> tuple[LocalExecutor, Services]:
        async with self._opening:
            if self._executor is None or self._services is None:
                self._services = await asyncio.to_thread(self._open_services)
                self._executor = LocalExecutor(self._services)
            return self._executor, self._services

    def _open_services(self) -> Services:
        threads = self._threads
        settings = load_settings(
            device=self._device, threads=threads, codec_threads=threads, background_codec_threads=threads
        )
        configure_logs(settings.log_level)
        return self._open.enter_context(open_services(settings))

    async def _end_when_alone(self) -> None:
        while self._chunks or time.monotonic() - self._asked_s < ALONE_S:
            await asyncio.sleep(ALONE_S / 10)
        _log.info("nobody asks this worker any more; it ends")
        os._exit(0)  # everything that it wrote is whole, and nobody waits for it


def _seen_from_here(work: ChunkWork) -> ChunkWork:
    """The work, where it can be done on this machine: results in a folder of its own would be lost.

    Raises PlaceUnavailable. Dropped images, only for the report, go where there is a place for them.
    """
    for place in (work.source, work.target):
        if isinstance(place, FolderPlace) and not place.folder.is_dir():
            raise PlaceUnavailable(
                f"Worker {socket.gethostname()} of the Ray cluster does not see {place.folder}; all machines "
                "must share that folder, or the set must come from S3 and go there."
            )
    shared = isinstance(work.dropped, FolderPlace) and work.dropped.folder.parent.is_dir()
    return work if shared else replace(work, dropped=None)


def _serve(services: Services, pinned: PinnedModel) -> None:
    """See that the very model of a job is served, also where it is not the newest. Raises ModelNotServed."""
    try:
        served_as(services, pinned)
    except ModelNotServed:
        load = partial(services.models.load, pinned.name, pinned.version)
        try:
            load()
            served_as(services, pinned)
        except SimtrueError:
            raise ModelNotServed(
                f"The job needs model {pinned.name!r} version {pinned.version} (SHA-256 "
                f"{pinned.sha256[:12]}…), which worker {socket.gethostname()} of the Ray cluster does not "
                f"have in {services.settings.models}; bring it there, and the job goes on."
            ) from None
