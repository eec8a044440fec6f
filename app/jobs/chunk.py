"""One chunk of a job: its files are refined, brought to the disk, and told. Doing it again gives the same."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from app.datasets.manifest import Entry
from app.datasets.place import Place
from app.datasets.set_plan import PlannedFile
from app.jobs.request import JobRequest
from app.pixel_budget import PixelBudget
from app.set_refining import SetRun, refine_file


@dataclass(frozen=True)
class ChunkWork:
    """Everything that a worker needs to know; dropped: where it may leave dropped images for the report."""

    job: str
    number: int
    request: JobRequest
    source: Place
    target: Place
    files: Sequence[PlannedFile]
    dropped: Place | None = None


@dataclass(frozen=True)
class Room:
    """What all chunks at work on one engine share: files in flight, and pixels decoded at once."""

    files: asyncio.Semaphore
    pixels: PixelBudget


async def refine_chunk(run: SetRun, files: Sequence[PlannedFile], room: Room) -> list[Entry]:
    """What became of the files, in their order, when all outputs are where a power cut cannot take them.

    Raises what ends a run (see `refine_file`); cancelling leaves no file half written.
    """

    async def one(file: PlannedFile) -> list[Entry]:
        async with room.files:
            return await refine_file(run, file, room.pixels)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(file)) for file in files]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures
    entries = [entry for task in tasks for entry in task.result()]
    written = [entry.result for entry in entries if entry.after is not None]
    settle = partial(run.target.settle, written)
    await asyncio.get_running_loop().run_in_executor(run.services.background_codecs, settle)
    return entries
