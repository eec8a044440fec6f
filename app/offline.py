"""Refining files without a server: many in flight, each result visible only when it is whole."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO

from app.annotations.shapes import ImageRef
from app.errors import InvalidRequest, SimtrueError
from app.folder_plan import PlannedFile
from app.options import RefineOptions
from app.pixel_budget import PixelBudget
from app.refinement import ImageJob, RefinedImage, refine_image
from app.refining.images import measure
from app.refining.models import ServedModel
from app.services import Services
from app.settings import Settings

PARTIAL_SUFFIX = ".simtrue-partial"


@dataclass
class Summary:
    """What became of the files: verdicts of refined images, copies, failures as (name, sentence).

    problems: what is wrong with annotations, as (name of the image, sentence).
    """

    verdicts: Counter[str] = field(default_factory=Counter)
    copied: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)

    def count(self, name: str, refined: RefinedImage | None) -> None:
        """Count a refined image, or a copy."""
        if refined is None:
            self.copied += 1
            return
        self.verdicts[refined.verdict] += 1
        self.problems += [(name, problem) for problem in refined.problems]


@dataclass(frozen=True)
class FolderRun:
    """What every file of one run shares."""

    services: Services
    model: ServedModel
    options: RefineOptions


async def refine_files(
    run: FolderRun, files: Sequence[PlannedFile], on_done: Callable[[PlannedFile], None]
) -> Summary:
    """Refine and copy as planned. A file that fails is noted in the summary and stops nobody else.

    `on_done` is called after every file. Target folders are made as needed.
    """
    summary = Summary()
    budget = PixelBudget(run.services.settings.max_pixels)
    waiting = iter(files)

    async def work() -> None:
        for file in waiting:
            try:
                summary.count(file.name, await _write_one(run, file, budget))
            except SimtrueError as error:
                summary.failures.append((file.name, error.detail))
            except OSError as error:
                summary.failures.append((file.name, f"{error.strerror or error}."))
            on_done(file)

    async with asyncio.TaskGroup() as group:
        for _ in range(_workers(run.services.settings, len(files))):
            group.create_task(work())
    summary.failures.sort()
    summary.problems.sort()
    return summary


def _workers(settings: Settings, files: int) -> int:
    """Enough for full batches while others are decoded and encoded, never more than the engine takes."""
    return min(files, 2 * settings.max_batch_images, settings.max_queue_images)


async def _write_one(run: FolderRun, file: PlannedFile, budget: PixelBudget) -> RefinedImage | None:
    """Refine or copy one file; None for a copy."""
    if file.problem is not None:
        raise InvalidRequest(f"Left out: {file.problem}.")
    in_codecs = partial(asyncio.get_running_loop().run_in_executor, run.services.codecs)
    if file.action == "copy":
        await in_codecs(_copy, file.source, file.target)
        return None
    job = await in_codecs(_read_job, run, file)
    (refined,) = await refine_image(run.services, job, budget)
    await in_codecs(_write, refined.data, file.source, file.target)
    return refined


def _read_job(run: FolderRun, file: PlannedFile) -> ImageJob:
    data = file.source.read_bytes()
    width, height = measure(data, filename=file.name, max_pixels=run.services.settings.max_pixels)
    image = ImageRef(file.source.name, width, height)
    geometry = None if file.annotations is None else file.annotations.read(image)
    return ImageJob(
        index=0,
        filename=file.name,
        data=data,
        pixels=width * height,
        geometry=geometry,
        model=run.model,
        options=run.options,
        output_format=lambda _: file.output_format,
        deadline_s=None,
    )


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as reading, _appearing(target) as writing:
        shutil.copyfileobj(reading, writing, 1 << 20)
        shutil.copystat(source, writing.name)


def _write(data: bytes, source: Path, target: Path) -> None:
    with _appearing(target) as writing:
        writing.write(data)
        shutil.copymode(source, writing.name)


@contextlib.contextmanager
def _appearing(target: Path) -> Iterator[IO[bytes]]:
    """A file that takes its name only when it is whole and on the disk."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
        dir=target.parent, prefix=".", suffix=PARTIAL_SUFFIX, delete=False
    ) as file:
        partial_path = Path(file.name)
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            partial_path.replace(target)
        except BaseException:
            partial_path.unlink(missing_ok=True)
            raise
