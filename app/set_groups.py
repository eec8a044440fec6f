"""Some files of a set on their way together: alone, small images spend more on threads than on codecs."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Final

from app.datasets.manifest import Entry
from app.datasets.set_plan import PlannedFile
from app.delivery import ImageJob, Prepared, finish_variant
from app.errors import SimtrueError, TooManyPixels
from app.pixel_budget import PixelBudget
from app.refinement import begin_inference, prepare
from app.refining.images import DecodedImage, Pixels, decode
from app.set_refining import (
    SetRun,
    copy_unrefined,
    in_codecs,
    job_of,
    read_or_copy,
    refine_read,
    write_results,
)
from app.threads import all_over

SMALL_PIXELS: Final = 1 << 14
"""An image of at most so many goes with its group, a larger one alone."""


@dataclass(frozen=True, eq=False)
class _InEngine:
    """A small image on its way through the engine, in all variants."""

    job: ImageJob
    prepared: Prepared
    futures: list[Future[Pixels]]


_Begun = list[Entry] | _InEngine | ImageJob
"""Of one file: what became of it, or how far it is; a large image is only read."""


async def refine_group(run: SetRun, files: Sequence[PlannedFile], budget: PixelBudget) -> list[Entry]:
    """What became of some files, in their order; each as `refine_file` does it, with what that raises."""
    async with budget.hold(len(files) * SMALL_PIXELS * run.options.variants):
        begun = await in_codecs(run, partial(_begin, run, files))
        await all_over([future for one in begun if isinstance(one, _InEngine) for future in one.futures])
        ended = await in_codecs(run, partial(_end, run, files, begun))
    entries: list[Entry] = []
    for file, one in zip(files, ended, strict=True):
        entries += await refine_read(run, file, one, budget) if isinstance(one, ImageJob) else one
    return entries


def _begin(run: SetRun, files: Sequence[PlannedFile]) -> list[_Begun]:
    begun: list[_Begun] = []
    try:
        for file in files:
            begun.append(_begin_one(run, file))  # noqa: PERF401 (what is begun must be known after an error)
    except BaseException:
        for one in begun:
            if isinstance(one, _InEngine):
                for future in one.futures:
                    future.cancel()
        raise
    return begun


def _begin_one(run: SetRun, file: PlannedFile) -> _Begun:
    if file.problem is not None or file.action == "copy":
        return read_or_copy(run, file)
    try:
        data = run.source.read(file.name)
        decoded = _decoded(run, file, data)
        if decoded is None:
            return job_of(run, file, data)
        job = job_of(run, file, data, (decoded.width, decoded.height))
        prepared = prepare(job, decoded)
        return _InEngine(job, prepared, begin_inference(run.services, job, prepared))
    except (SimtrueError, OSError) as error:
        return copy_unrefined(run, file, error)


def _decoded(run: SetRun, file: PlannedFile, data: bytes) -> DecodedImage | None:
    """The pixels of an image, None for a large one."""
    try:
        most = min(SMALL_PIXELS, run.services.settings.max_pixels)
        return decode(data, filename=file.name, max_pixels=most)
    except TooManyPixels:
        return None


def _end(run: SetRun, files: Sequence[PlannedFile], begun: Sequence[_Begun]) -> list[list[Entry] | ImageJob]:
    return [
        _end_one(run, file, one) if isinstance(one, _InEngine) else one
        for file, one in zip(files, begun, strict=True)
    ]


def _end_one(run: SetRun, file: PlannedFile, begun: _InEngine) -> list[Entry]:
    try:
        refined = [
            finish_variant(begun.job, begun.prepared, variant, future.result())
            for variant, future in enumerate(begun.futures)
        ]
        return write_results(run, file, begun.job.data, refined)
    except (SimtrueError, OSError) as error:
        return copy_unrefined(run, file, error)
