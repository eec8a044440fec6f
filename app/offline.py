"""Refining a set without a server: many files in flight, each result visible only when it is whole."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from app.datasets.manifest import Entry, ManifestWriter, as_line
from app.datasets.set_report import SetReport
from app.folder_plan import FolderPlan
from app.pixel_budget import PixelBudget
from app.set_refining import SetRun, refine_file
from app.settings import Settings

SETTLED_AT_ONCE = 1024


@dataclass
class Summary:
    """What became of the files: verdicts of refined images, copies, failures as (name, sentence).

    problems: what is wrong with annotations, as (name of the image, sentence).
    """

    verdicts: Counter[str] = field(default_factory=Counter)
    copied: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    written: list[str] = field(default_factory=list)

    def count(self, entry: Entry) -> None:
        """Count what became of one file."""
        if entry.after is not None:
            self.written.append(entry.result)
        if entry.action == "failed":
            self.failures.append((entry.path, entry.reason or ""))
        elif entry.action == "copied":
            self.copied += 1
        elif (refined := entry.refined) is not None:
            self.verdicts[refined.verdict] += 1
            self.problems += [(entry.path, problem) for problem in refined.problems]


async def refine_planned(
    run: SetRun,
    plan: FolderPlan,
    on_done: Callable[[], None],
    manifest: ManifestWriter | None = None,
    report: SetReport | None = None,
) -> Summary:
    """Refine and copy as planned. A file that fails is noted in the summary and stops nobody else.

    `on_done` is called after every file. The `manifest` gets a line about the run and one about every file.
    At the end everything is on the disk. Raises OSError when the disk is full, or for the manifest.
    """
    summary = Summary()
    budget = PixelBudget(run.services.settings.max_pixels)
    waiting = enumerate(plan.files)
    if manifest is not None:
        manifest.put(0, as_line(_about_run(run)))

    async def work() -> None:
        for number, file in waiting:
            entries = await refine_file(run, file, budget)
            for entry in entries:
                summary.count(entry)
                if report is not None:
                    report.add(entry)
            if manifest is not None:
                manifest.put(number + 1, b"".join(as_line(entry.to_json()) for entry in entries))
            on_done()

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(workers(run.services.settings, len(plan.files))):
                group.create_task(work())
    except ExceptionGroup as group:
        raise group.exceptions[0] from group
    for start in range(0, len(summary.written), SETTLED_AT_ONCE):
        run.target.settle(summary.written[start : start + SETTLED_AT_ONCE])
    summary.failures.sort()
    summary.problems.sort()
    return summary


def workers(settings: Settings, files: int) -> int:
    """Enough for full batches while others are decoded and encoded, never more than the engine takes."""
    return min(files, 2 * settings.max_batch_images, settings.max_queue_images)


def _about_run(run: SetRun) -> dict[str, object]:
    return {
        "model": {"name": run.model.name, "version": run.model.version},
        "provider": run.model.provider,
        "options": run.options.model_dump(mode="json"),
    }
