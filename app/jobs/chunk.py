"""One chunk of a job: its files are refined, brought to the disk, and told. Doing it again gives the same."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

from app.datasets.folder_place import FolderPlace
from app.datasets.manifest import Entry
from app.datasets.place import Place
from app.datasets.set_plan import PlannedFile
from app.jobs.bundle import Bundle, bundle_of
from app.jobs.request import JobRequest
from app.pixel_budget import PixelBudget
from app.refining.devices import available_cores
from app.set_copying import SetWay, copied, left_out
from app.set_groups import refine_group
from app.set_refining import SetRun
from app.settings import Settings
from app.threads import in_threads

LARGEST_GROUP: Final = 16
SMALLEST_GROUP: Final = 4
"""Files that go through the threads together."""


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

    @contextmanager
    def results(self) -> Iterator[Place]:
        """Where the results go: to their destination, or into a bundle until they are packed."""
        if self.request.destination is not None:
            yield self.target
            return
        assert isinstance(self.target, FolderPlace), self.target
        with Bundle(bundle_of(self.target.folder, self.number)) as bundle:
            yield bundle


@dataclass(frozen=True)
class Room:
    """What all chunks at work on one engine share: groups of files in flight, and pixels decoded at once."""

    groups: asyncio.Semaphore
    group_files: int
    pixels: PixelBudget

    @classmethod
    def of(cls, settings: Settings) -> Room:
        """Enough for full batches while others are decoded and encoded, and for all threads that do that."""
        threads = settings.background_codec_threads or available_cores()
        files = 2 * settings.max_batch_images
        group_files = min(max(files // (2 * threads), SMALLEST_GROUP), LARGEST_GROUP)
        groups = max(files // group_files, 2 * threads)
        return cls(asyncio.Semaphore(groups), group_files, PixelBudget(settings.max_pixels))


async def refine_chunk(run: SetRun, files: Sequence[PlannedFile], room: Room) -> list[Entry]:
    """What became of the files, in their order, when all outputs are where a power cut cannot take them.

    Raises what ends a run (see `refine_file`); cancelling leaves no file half written.
    """

    async def refine(some: Sequence[PlannedFile]) -> list[Entry]:
        async with room.groups:
            return await refine_group(run, some, room.pixels)

    starts = range(0, len(files), room.group_files)
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(refine(files[i : i + room.group_files])) for i in starts]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures
    entries = [entry for task in tasks for entry in task.result()]
    written = [entry.result for entry in entries if entry.after is not None]
    await in_threads(run.services.background_codecs, partial(run.target.settle, written))
    return entries


def give_up(work: ChunkWork, reason: str) -> list[Entry]:
    """The files of a chunk that cannot be refined, as they are; its images count as failed, for that reason.

    Raises what ends a run (see `copied`).
    """
    with work.results() as results:
        way = SetWay(work.source, results, work.request.options.variants, work.request.leave_copies)
        entries = []
        for file in work.files:
            if file.problem is not None:
                entries += left_out(file, f"Left out: {file.problem}.", way.variants)
            else:
                entries += copied(way, file, reason if file.action == "refine" else None)
        results.settle([entry.result for entry in entries if entry.after is not None])
    return entries
