"""Chunks are refined by this process's own engine, behind the requests of people."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from app.datasets.manifest import Entry
from app.errors import ModelNotServed
from app.jobs.chunk import ChunkWork, Room, refine_chunk
from app.jobs.request import PinnedModel
from app.refining.models import ServedModel
from app.services import Services
from app.set_refining import SetRun

CHUNKS_AT_ONCE: Final = 2
"""While one chunk is brought to the disk and recorded, the next keeps the engine busy."""

MOST_HELD: Final = 256
"""Jobs whose refiners are held; most share one."""


class LocalExecutor:
    """Owns the share of this process's engine that jobs may use; for one event loop."""

    slots = CHUNKS_AT_ONCE

    def __init__(self, services: Services) -> None:
        self._services = services
        self._room = Room.of(services.settings)
        self._held: OrderedDict[str, ServedModel] = OrderedDict()

    async def refine(self, work: ChunkWork) -> list[Entry]:
        """Refine a chunk. Raises ModelNotServed, and what `refine_chunk` raises."""
        with work.results() as results:
            run = SetRun(
                services=self._services,
                model=self._model(work.job, work.request.model),
                options=work.request.options.refine_options(),
                source=work.source,
                target=results,
                dropped=work.dropped,
                drop_below=work.request.options.drop_below,
                background=True,
                leave_copies=work.request.leave_copies,
            )
            return await refine_chunk(run, work.files, self._room)

    def end(self, job: str) -> None:
        """Let go of the refiner of a job."""
        self._held.pop(job, None)

    async def close(self) -> None:
        """Nothing of its own to close."""

    def _model(self, job: str, pinned: PinnedModel) -> ServedModel:
        """The very refiner of the job; once found it is held, so that a newer version does not change it."""
        held = self._held.pop(job, None) or served_as(self._services, pinned)
        self._held[job] = held
        while len(self._held) > MOST_HELD:  # of jobs whose end nobody told
            self._held.popitem(last=False)
        return held


def served_as(services: Services, pinned: PinnedModel) -> ServedModel:
    """The model that a job was accepted with. Raises ModelNotServed when another one, or none, is served."""
    for status in services.models.statuses():
        model = status.model
        if model is not None and (model.name, model.sha256) == (pinned.name, pinned.sha256):
            return model
    raise ModelNotServed(
        f"The job needs model {pinned.name!r} version {pinned.version} (SHA-256 {pinned.sha256[:12]}…), "
        f"which is not served now; POST /models/{pinned.name}/load with that version, and it goes on."
    )
