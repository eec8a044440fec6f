"""Refining files without a server: many in flight, each result visible only when it is whole."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from app.annotations.shapes import ImageRef
from app.datasets.manifest import ManifestWriter
from app.datasets.set_report import Region, SetReport
from app.errors import InvalidRequest, SimtrueError
from app.folder_plan import PlannedFile
from app.image_report import report_of
from app.options import RefineOptions
from app.pixel_budget import PixelBudget
from app.refinement import ImageJob, Preservation, RefinedImage, refine_image
from app.refining.images import measure
from app.refining.models import ServedModel
from app.services import Services
from app.settings import Settings
from model.files import appearing

COPIED_AT_ONCE = 1 << 20


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


@dataclass(frozen=True)
class Digest:
    """Of a file's bytes."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class Written:
    """What became of one file; `refined` is None for a copy."""

    before: Digest
    after: Digest
    refined: RefinedImage | None = None


async def refine_files(
    run: FolderRun,
    files: Sequence[PlannedFile],
    on_done: Callable[[PlannedFile], None],
    manifest: ManifestWriter | None = None,
    report: SetReport | None = None,
) -> Summary:
    """Refine and copy as planned. A file that fails is noted in the summary and stops nobody else.

    `on_done` is called after every file. Target folders are made as needed. The `manifest` gets a line about
    the run and one about every file; an OSError of its own ends the run. The `report` gathers for its page.
    """
    summary = Summary()
    budget = PixelBudget(run.services.settings.max_pixels)
    waiting = enumerate(files)
    if manifest is not None:
        manifest.put(0, _about_run(run))

    async def work() -> None:
        for number, file in waiting:
            written, failure = await _attempt(run, file, budget, report)
            if written is not None:
                summary.count(file.name, written.refined)
            else:
                summary.failures.append((file.name, failure))
            if report is not None:
                _tell(report, file, written, failure)
            if manifest is not None:
                manifest.put(number + 1, _about_file(file, written, failure))
            on_done(file)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(_workers(run.services.settings, len(files))):
                group.create_task(work())
    except ExceptionGroup as group:
        of_manifest, other = group.split(OSError)  # those of files are in the summary
        if of_manifest is None or other is not None:
            raise
        raise of_manifest.exceptions[0] from group
    summary.failures.sort()
    summary.problems.sort()
    return summary


async def _attempt(
    run: FolderRun, file: PlannedFile, budget: PixelBudget, report: SetReport | None
) -> tuple[Written | None, str]:
    """What became of a file, or None and why."""
    try:
        return await _write_one(run, file, budget, report), ""
    except SimtrueError as error:
        return None, error.detail
    except OSError as error:
        return None, f"{error.strerror or error}."


def _about_run(run: FolderRun) -> dict[str, object]:
    return {
        "model": {"name": run.model.name, "version": run.model.version},
        "provider": run.model.provider,
        "options": run.options.model_dump(mode="json"),
    }


def _about_file(file: PlannedFile, written: Written | None, failure: str) -> dict[str, object]:
    """One line: what happened and why, the bytes before and after, and everything measured."""
    entry: dict[str, object] = {"path": Path(file.name).as_posix()}
    if written is None:
        return {**entry, "action": "failed", "reason": failure}
    entry["action"] = "copied" if written.refined is None else "refined"
    if file.label_image is not None:
        entry["reason"] = f"taken for a label image, because {file.label_image}"
    if file.target.name != file.source.name:
        entry["written_as"] = file.target.name
    entry |= {"in": asdict(written.before), "out": asdict(written.after)}
    if written.refined is not None:
        told = report_of(written.refined).model_dump(mode="json", exclude={"index", "filename", "variant"})
        where = None if file.annotations is None else file.annotations.where
        entry |= {"annotations": where, **told}
    return entry


def _workers(settings: Settings, files: int) -> int:
    """Enough for full batches while others are decoded and encoded, never more than the engine takes."""
    return min(files, 2 * settings.max_batch_images, settings.max_queue_images)


def _tell(report: SetReport, file: PlannedFile, written: Written | None, failure: str) -> None:
    """What the report counts; the regions were told when the pixels were at hand."""
    if written is None:
        report.fail(file.name, failure)
    elif written.refined is None:
        report.fates["copied"] += 1
        if file.label_image is not None:
            report.label_images[file.label_image] += 1
    else:
        report.fates[written.refined.verdict.replace("_", " ")] += 1
        for problem in written.refined.problems:
            report.complain(file.name, problem)


async def _write_one(
    run: FolderRun, file: PlannedFile, budget: PixelBudget, report: SetReport | None
) -> Written:
    """Refine or copy one file."""
    if file.problem is not None:
        raise InvalidRequest(f"Left out: {file.problem}.")
    in_codecs = partial(asyncio.get_running_loop().run_in_executor, run.services.codecs)
    if file.action == "copy":
        digest = await in_codecs(_copy, file.source, file.target)
        return Written(digest, digest)
    job = await in_codecs(_read_job, run, file)
    (refined,) = await refine_image(run.services, job, budget)
    await in_codecs(_write, refined.data, file.source, file.target)
    if report is not None and refined.preservation:
        regions = _regions(job, refined.preservation)
        await in_codecs(report.add_regions, file.name, regions, job.data, refined.data)
    before, after = await in_codecs(_digests, job.data, refined.data)
    return Written(before, after, refined)


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
        background=False,
    )


def _regions(job: ImageJob, preservation: Sequence[Preservation]) -> list[Region]:
    """The measured annotations with their boxes."""
    assert job.geometry is not None
    boxes = {shape.source: (shape.x1, shape.y1, shape.x2, shape.y2) for shape in job.geometry.shapes}
    return [
        Region(one.label, boxes[one.annotation], one.drift.shift_px, one.drift.structure_kept)
        for one in preservation
    ]


def _copy(source: Path, target: Path) -> Digest:
    hashing, count = hashlib.sha256(), 0
    with source.open("rb") as reading, appearing(target) as writing:
        while part := reading.read(COPIED_AT_ONCE):
            hashing.update(part)
            count += writing.write(part)
        shutil.copystat(source, writing.name)
    return Digest(hashing.hexdigest(), count)


def _digests(before: bytes, after: bytes) -> tuple[Digest, Digest]:
    one, other = (Digest(hashlib.sha256(data).hexdigest(), len(data)) for data in (before, after))
    return one, other


def _write(data: bytes, source: Path, target: Path) -> None:
    with appearing(target) as writing:
        writing.write(data)
        shutil.copymode(source, writing.name)
