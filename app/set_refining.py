"""One file of a set on its way: refined, copied or dropped, from its place into those of the results."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from app.annotations.shapes import ImageRef
from app.datasets.manifest import Entry, Measured, Refined
from app.datasets.place import Digest, Place
from app.datasets.set_plan import PlannedFile
from app.delivery import ImageJob, Preservation, RefinedImage
from app.errors import SimtrueError
from app.image_report import rounded
from app.options import RefineOptions
from app.pixel_budget import PixelBudget
from app.refinement import refine_image
from app.refining.images import measure
from app.refining.models import ServedModel
from app.services import Services
from app.set_copying import SetWay, copied, left_out, sentence_about, written_as
from app.threads import in_threads

T = TypeVar("T")


@dataclass(frozen=True)
class SetRun:
    """What every file of one run shares.

    drop_below: leave images out of the result that are below the
    thresholds. dropped: where those go, to be shown. background: let the requests of people go first.
    leave_copies: what is to be copied is only read; who packs the result takes it from the source, where
    nobody changes it.
    """

    services: Services
    model: ServedModel
    options: RefineOptions
    source: Place
    target: Place
    dropped: Place | None = None
    drop_below: bool = False
    background: bool = False
    leave_copies: bool = False

    @property
    def way(self) -> SetWay:
        """The part of it that needs no refiner."""
        return SetWay(self.source, self.target, self.options.variants, self.leave_copies)


async def refine_file(run: SetRun, file: PlannedFile, budget: PixelBudget) -> list[Entry]:
    """Refine or copy a file, in all variants; one entry of the manifest for each.

    Never raises for what is wrong with one file: that is an entry, too, and an image that cannot be refined
    is copied, since a set must not lose a file that its annotations name. Writing does not wait for the disk:
    see `Place.settle`. Raises ShuttingDown, PlaceUnavailable, and OSError when the disk is full, which end
    the run.
    """
    begun = await in_codecs(run, partial(read_or_copy, run, file))
    return await refine_read(run, file, begun, budget) if isinstance(begun, ImageJob) else begun


async def refine_read(run: SetRun, file: PlannedFile, job: ImageJob, budget: PixelBudget) -> list[Entry]:
    """Refine an image whose bytes are there; the same promises as `refine_file`."""
    try:
        refined = await refine_image(run.services, job, budget)
        return await in_codecs(run, partial(write_results, run, file, job.data, refined))
    except (SimtrueError, OSError) as error:
        return await in_codecs(run, partial(copy_unrefined, run, file, error))


def read_or_copy(run: SetRun, file: PlannedFile) -> list[Entry] | ImageJob:
    """An image that is to be refined, read and measured; any other file is done already."""
    if file.problem is not None:
        return left_out(file, f"Left out: {file.problem}.", run.options.variants)
    if file.action == "copy":
        return copied(run.way, file)
    try:
        return job_of(run, file, run.source.read(file.name))
    except (SimtrueError, OSError) as error:
        return copy_unrefined(run, file, error)


def copy_unrefined(run: SetRun, file: PlannedFile, error: SimtrueError | OSError) -> list[Entry]:
    """Copy an image that cannot be refined. Raises the error again when it is not about this image."""
    return copied(run.way, file, sentence_about(error))


async def in_codecs(run: SetRun, work: Callable[[], T]) -> T:
    """What `work` returns in a thread for the codecs of this run."""
    return await in_threads(run.services.background_codecs if run.background else run.services.codecs, work)


def job_of(run: SetRun, file: PlannedFile, data: bytes, size: tuple[int, int] | None = None) -> ImageJob:
    """An image of the set with its annotations; `size` is its width and height, where they are known.

    Raises what is wrong with the image as far as can be seen, or with reading its annotations.
    """
    width, height = size or measure(data, filename=file.name, max_pixels=run.services.settings.max_pixels)
    image = ImageRef(file.name.rpartition("/")[2], width, height)
    geometry = None if file.annotations is None else file.annotations.read(image, run.source)
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
        background=run.background,
    )


def write_results(
    run: SetRun, file: PlannedFile, before: bytes, refined: Sequence[RefinedImage]
) -> list[Entry]:
    """Write every variant, but not those that are to be dropped."""
    entries, digest = [], _digest(before)
    for image in refined:
        result, told = run.way.result_of(file, image.variant), _told(file, image)
        name = written_as(file, result)
        if run.drop_below and image.verdict == "below_thresholds":
            if run.dropped is not None:
                run.dropped.write(result, image.data)
            entries.append(Entry(file.name, "dropped", None, name, digest, None, told))
            continue
        run.target.write(result, image.data, mode_of=run.source.local(file.name))
        entries.append(Entry(file.name, "refined", None, name, digest, _digest(image.data), told))
    return entries


def _told(file: PlannedFile, image: RefinedImage) -> Refined:
    measured = None if image.preservation is None else tuple(map(_measured, image.preservation))
    return Refined(
        annotations=None if file.annotations is None else file.annotations.where,
        variant=image.variant,
        seed=image.seed,
        strength_applied=image.strength_applied,
        width=image.width,
        height=image.height,
        mode=image.mode,
        media_type=image.media_type,
        lossless=image.lossless,
        verdict=image.verdict,
        preservation=measured,
        problems=image.problems,
        notes=image.notes,
    )


def _measured(one: Preservation) -> Measured:
    x1, y1, x2, y2 = (round(edge, 3) for edge in one.box)
    drift = one.drift
    dx, dy, shift_px = map(rounded, (drift.dx, drift.dy, drift.shift_px))
    kept, least = map(rounded, (drift.structure_kept, drift.least_kept))
    return Measured(one.annotation, one.label, (x1, y1, x2, y2), dx, dy, shift_px, kept, least)


def _digest(data: bytes) -> Digest:
    return Digest(hashlib.sha256(data).hexdigest(), len(data))


def pictures_of(run: SetRun, entry: Entry) -> tuple[bytes, bytes | None]:
    """The image of an entry as it was and as it became, for the report."""
    after = None if entry.action == "dropped" else run.target.read(entry.result)
    return run.source.read(entry.path), after
