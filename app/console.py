"""What the commands show in a terminal: a progress bar, what became of the files, the models."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from app.datasets.manifest import ManifestWriter
from app.datasets.set_plan import PlannedFile
from app.datasets.set_report import SetReport
from app.folder_plan import FolderPlan
from app.offline import Summary, refine_planned
from app.options import RefineOptions
from app.refining.models import ModelStatus
from app.services import open_services
from app.set_refining import SetRun, pictures_of
from app.settings import Settings
from model.files import appearing


@dataclass(frozen=True)
class Papers:
    """Where the papers about a refined set go, if anywhere."""

    manifest: Path | None = None
    report: Path | None = None


MAX_LISTED = 100
LABEL_REASONS_SHOWN = 5
MOST_IN_TERMINAL = 30
"""Files of a plan that a terminal shows all of."""
FIRST_OF_KIND = 5
"""Of more files, those shown of each kind: refined with annotations, refined without, copied, …"""


def refine_with_progress(
    settings: Settings, model: str | None, options: RefineOptions, plan: FolderPlan, papers: Papers
) -> Summary:
    """Refine the planned files under a progress bar, write the papers and say what became of them.

    Raises what opening the services and choosing the model raise; files that fail are in the summary.
    """
    console = Console(stderr=True)
    with open_services(settings) as services:
        run = SetRun(services, services.models.get(model), options, plan.source, plan.target)
        served = run.model
        console.print(f"Model {served.name} v{served.version} on {served.provider}", highlight=False)
        with (
            _progress(console) as progress,
            nullcontext() if papers.manifest is None else ManifestWriter(papers.manifest) as manifest,
        ):
            bar = progress.add_task("refining", total=len(plan.files))
            report = _report(settings, options, plan)
            done = partial(progress.advance, bar)
            summary = asyncio.run(refine_planned(run, plan, done, manifest, report))
    if papers.report is not None:
        with appearing(papers.report) as page:
            page.write(report.render(_about(run, plan), partial(pictures_of, run)).encode())
    _show_summary(console, summary)
    _show_problems(console, plan.problems, summary.problems)
    _show_label_images(console, plan.files)
    return summary


def _report(settings: Settings, options: RefineOptions, plan: FolderPlan) -> SetReport:
    limits = options.thresholds
    report = SetReport(
        limits.max_shift_px, limits.min_structure_kept, limits.min_least_kept, settings.max_pixels
    )
    for problem in plan.problems:
        report.complain("", problem)
    return report


def _about(run: SetRun, plan: FolderPlan) -> dict[str, str]:
    options, limits = run.options, run.options.thresholds
    return {
        "model": f"{run.model.name} v{run.model.version} on {run.model.provider}",
        "strength, seed": f"{options.strength:g}, {options.seed}",
        "thresholds": f"moved at most {limits.max_shift_px:g} px, at least {limits.min_structure_kept:.0%} "
        f"left and {limits.min_least_kept:.0%} where most was lost; else {limits.below}",
        "files": f"{len(plan.files)}",
    }


def show_plan(plan: FolderPlan) -> None:
    """Print what would become of every file on standard output, one line each, and how many of each.

    Of many files a terminal shows the first of each kind; what is piped or redirected has them all.
    """
    console = Console()
    if len(plan.files) <= MOST_IN_TERMINAL or not console.file.isatty():
        _show_files(console, plan.files)
    else:
        _show_first_files(console, plan.files)
    _show_problems(console, plan.problems, ())
    fates = Counter(_fate(file).strip() for file in plan.files)
    console.print(", ".join(f"{count} {fate}" for fate, count in sorted(fates.items())), highlight=False)


def _show_files(console: Console, files: Sequence[PlannedFile]) -> None:
    for file in files:
        console.print(Text(f"{_fate(file)}  {file.name}{_why(file)}"), soft_wrap=True)


def _show_first_files(console: Console, files: Sequence[PlannedFile]) -> None:
    kinds: dict[tuple[str, bool, bool], list[PlannedFile]] = {}
    for file in files:
        kind = (_fate(file), file.label_image is not None, file.annotations is not None)
        kinds.setdefault(kind, []).append(file)
    for _, alike in sorted(kinds.items()):
        _show_files(console, alike[:FIRST_OF_KIND])
        if len(alike) > FIRST_OF_KIND:
            console.print(f"{'':10}and {len(alike) - FIRST_OF_KIND} more", highlight=False)
    console.print("Piped or redirected, this lists every file: --dry-run > plan.txt", highlight=False)


def _fate(file: PlannedFile) -> str:
    return "left out" if file.problem else f"{file.action:8}"


def _why(file: PlannedFile) -> str:
    if file.problem:
        return f": {file.problem}"
    if file.label_image:
        return f": taken for a label image, because {file.label_image}"
    return f", annotations in {file.annotations.where}" if file.annotations else ""


def _show_label_images(console: Console, files: Sequence[PlannedFile]) -> None:
    reasons = Counter(file.label_image for file in files if file.label_image)
    for reason, count in reasons.most_common(LABEL_REASONS_SHOWN):
        said = f"{count} copied, taken for label images, because {reason}; --include PATTERN overrules"
        console.print(Text(said), soft_wrap=True)
    if len(reasons) > LABEL_REASONS_SHOWN:
        rest = sum(count for _, count in reasons.most_common()[LABEL_REASONS_SHOWN:])
        console.print(f"{rest} more were taken for label images; see --dry-run", highlight=False)


def show_models(settings: Settings) -> None:
    """Print a table of the model repository on standard output."""
    table = Table("model", "version", "state", "takes", "about", box=None, pad_edge=False)
    with open_services(settings) as services:
        for status in services.models.statuses():
            table.add_row(*(Text(cell) for cell in _cells(status)))
        readiness = services.models.readiness()
    console = Console()
    console.print(f"{settings.models}", highlight=False, soft_wrap=True)
    console.print(table if table.row_count else readiness.detail, highlight=False)


def _cells(status: ModelStatus) -> tuple[str, str, str, str, str]:
    card = status.model.card if status.model else None
    takes = f"{card.channels} x {card.bit_depth} bit" if card else ""
    about = status.detail or (f"{card.description} ({card.real_data}; {card.licence})" if card else "")
    return status.name, str(status.version), status.state, takes, about


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console)


def _show_summary(console: Console, summary: Summary) -> None:
    refined = sum(summary.verdicts.values())
    verdicts = ", ".join(f"{count} {verdict}" for verdict, count in sorted(summary.verdicts.items()))
    said = f"{refined} refined" + (f" ({verdicts})" if verdicts else "")
    console.print(f"{said}, {summary.copied} copied, {len(summary.failures)} failed", highlight=False)
    _show_list(console, [f"{name}: {detail}" for name, detail in summary.failures])


def _show_problems(console: Console, of_files: Sequence[str], of_images: Sequence[tuple[str, str]]) -> None:
    """What is wrong with the annotations; they stay as they are."""
    sentences = [*of_files, *(f"{name}: {problem}" for name, problem in of_images)]
    if sentences:
        several = "s" * (len(sentences) > 1)
        said = f"{len(sentences)} problem{several} in the annotations, which stay as they are:"
        console.print(said, highlight=False)
        _show_list(console, sentences)


def _show_list(console: Console, sentences: Sequence[str]) -> None:
    for sentence in sentences[:MAX_LISTED]:
        console.print(Text(f"  {sentence}"), soft_wrap=True)
    if len(sentences) > MAX_LISTED:
        console.print(f"  and {len(sentences) - MAX_LISTED} more", highlight=False)
