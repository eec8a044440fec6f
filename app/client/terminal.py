"""What `simtrue jobs` shows in a terminal: bars while something moves, a table of jobs, how one ended."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

from app.client.answers import Job
from app.client.following import Away

MOST_REASONS_SHOWN = 20


@contextmanager
def transfer_bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar of bytes; yields what is told how many there are so far."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(what, total=total)
        yield lambda there: progress.update(task, completed=there)


def show_until_finished(looks: Iterable[Job | Away]) -> Job:
    """A bar of files that follows a job; the last look at it."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[pace]}", markup=False),
    )
    job: Job | None = None
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("…", total=None, pace="")
        for look in looks:
            if isinstance(look, Away):
                progress.update(task, description=f"waiting for the service: {look.detail}", pace="")
                continue
            job = look
            _show_look(progress, task, job)
    assert job is not None, "a job that is followed is looked at"
    return job


def _show_look(progress: Progress, task: TaskID, job: Job) -> None:
    said = f"{job.state}, waits: {job.detail}" if job.waiting else job.state
    progress.update(task, description=said, completed=job.done, total=job.files or None, pace=_pace(job))


def _pace(job: Job) -> str:
    if not job.files_per_s:
        return ""
    left = "" if job.eta_s is None else f", {_clock(job.eta_s)} left"
    return f"{job.files_per_s:.3g} files/s{left}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(min(seconds, 1e8)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


def show_end(job: Job) -> None:
    """How a job ended, on standard error."""
    console = Console(stderr=True)
    said = job.state if not job.detail else f"{job.state}: {job.detail}"
    console.print(Text(f"Job {job.id} is {said}" + "." * (not said.endswith("."))), soft_wrap=True)
    if job.state == "done" and job.done:
        console.print(Text(fates(job)), soft_wrap=True)
    for reason, count in list(job.counts.failures.items())[:MOST_REASONS_SHOWN]:
        console.print(Text(f"  {count} failed: {reason}"), soft_wrap=True)


def fates(job: Job) -> str:
    """How many files became what, such as `3 refined (2 accepted, 1 softened), 4 copied`."""
    counts = job.counts
    verdicts = ", ".join(f"{count} {_words(name)}" for name, count in sorted(counts.verdicts.items()))
    refined = f"{sum(counts.verdicts.values())} refined" + (f" ({verdicts})" if verdicts else "")
    return f"{refined}, {counts.copied} copied, {counts.dropped} dropped, {counts.failed} failed"


def show_job(job: Job) -> None:
    """Everything that a person wants to know of a job, on standard output."""
    table = Table(box=None, show_header=False, pad_edge=False)
    result = job.result
    rows = {
        "job": job.id,
        "state": f"{job.state}, waits" if job.waiting else job.state,
        "because": job.detail,
        "set": job.set_name,
        "destination": job.destination,
        "model": f"{job.model.name} v{job.model.version}",
        "accepted": job.created_utc,
        "finished": job.finished_utc,
        "files": f"{job.done} of {job.files}, {job.images} images" if job.files else None,
        "became": fates(job) if job.done else None,
        "pace": _pace(job),
        "result": f"{result.archive}, {result.bytes} bytes, SHA-256 {result.sha256}" if result else None,
    }
    for name, value in rows.items():
        if value:
            table.add_row(Text(name), Text(value, overflow="fold"))
    Console().print(table)


def show_jobs(jobs: Iterable[Job]) -> None:
    """A table of jobs on standard output."""
    table = Table("job", "state", "files", "accepted", "set", box=None, pad_edge=False)
    for job in jobs:
        state = f"{job.state}, waits" if job.waiting else job.state
        files = f"{job.done}/{job.files}" if job.files else ""
        cells = (job.id, state, files, job.created_utc.partition(".")[0], job.set_name)
        table.add_row(*(Text(cell, overflow="fold") for cell in cells))
    Console().print(table if table.row_count else "There are no jobs.")


def _words(name: str) -> str:
    return name.replace("_", " ")
