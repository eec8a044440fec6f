"""The commands `simtrue jobs …`: sets handed to a running service, followed, fetched and ended."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.errors import InvalidRequest
from app.one_sentence import one_sentence
from app.options import ArchiveKind, OutputFormat

if TYPE_CHECKING:  # the commands import what they run, so that --help is quick
    from app.client.answers import Job
    from app.client.service import Service
    from app.client.submission import Asked

INTERRUPTED = 130
HERE = "http://127.0.0.1:8000"

jobs_cli = typer.Typer(
    help="Hand data sets to a running service, follow them, and fetch what became of them.",
    no_args_is_help=True,
)

Url = Annotated[
    str, typer.Option(help="Address of the service. [SIMTRUE_URL]", envvar="SIMTRUE_URL", show_envvar=False)
]
Id = Annotated[str, typer.Argument(metavar="ID", help="Id of the job, as `submit` and `list` tell it.")]
Patterns = list[str] | None


class Below(StrEnum):
    """What becomes of an image that is below the thresholds."""

    soften = "soften"
    keep_original = "keep_original"
    report = "report"
    drop = "drop"


class JobState(StrEnum):
    """The states of a job."""

    queued = "queued"
    preparing = "preparing"
    running = "running"
    finishing = "finishing"
    done = "done"
    failed = "failed"
    cancelled = "cancelled"


Set = Annotated[
    str,
    typer.Argument(
        metavar="SET",
        help="A folder, a zip, tar, tar.gz or tar.zst, or an address that the service itself reads: s3://… "
        "or file:///….",
    ),
]
Model = Annotated[str | None, typer.Option(help="Model to refine with; none takes the default.")]
Strength = Annotated[float | None, typer.Option(help="Share of the change that is applied, 0 to 1.")]
Seed = Annotated[int | None, typer.Option(help="Seed of the noise, for models that take noise.")]
SharedLook = Annotated[
    bool, typer.Option("--shared-look", help="One look for all images, as for the frames of a film.")
]
Variants = Annotated[int | None, typer.Option(help="Refinements per image, a set each.")]
Include = Annotated[
    Patterns,
    typer.Option(
        help="Pattern of images to refine, such as 'left/*', also where they look like labels; the others "
        "are copied. May be repeated."
    ),
]
Exclude = Annotated[
    Patterns,
    typer.Option(help="Pattern of images to copy as they are; wins over --include. May be repeated."),
]
Lists = Annotated[
    Patterns,
    typer.Option(help="Pattern of text files that lose their lines of dropped images. May be repeated."),
]
WhenBelow = Annotated[
    Below | None, typer.Option(help="What becomes of images that are below the thresholds.")
]
MaxShift = Annotated[float | None, typer.Option(help="Farthest that structure may move, in px.")]
MinKept = Annotated[float | None, typer.Option(help="Least share of structure to be left, 0 to 1.")]
MinLeast = Annotated[
    float | None, typer.Option(help="Least share to be left where most was lost; 0 does not look there.")
]
Format = Annotated[
    OutputFormat | None, typer.Option("--format", help="Format to write; none keeps that of each image.")
]
Archive = Annotated[ArchiveKind | None, typer.Option(help="Kind of archive for the result.")]
LockClass = Annotated[
    Patterns, typer.Option(help="Label whose annotated pixels stay bit-identical. May be repeated.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only plan; `simtrue jobs plan` shows it.")]
Destination = Annotated[
    str | None, typer.Option(help="Address where the service puts the result, instead of an archive.")
]
Key = Annotated[str | None, typer.Option(help="Your name for this request: sent twice, it makes one job.")]
Wait = Annotated[bool, typer.Option("--wait", help="Follow the job to its end.")]
OutputFile = Annotated[Path | None, typer.Option(help="Follow the job, and fetch the result into this file.")]


@jobs_cli.command()
def submit(  # noqa: PLR0917 (typer makes each parameter a flag)
    chosen: Set,
    model: Model = None,
    strength: Strength = None,
    seed: Seed = None,
    shared_look: SharedLook = False,
    variants: Variants = None,
    include: Include = None,
    exclude: Exclude = None,
    lists: Lists = None,
    below: WhenBelow = None,
    max_shift_px: MaxShift = None,
    min_structure_kept: MinKept = None,
    min_least_kept: MinLeast = None,
    output_format: Format = None,
    archive: Archive = None,
    lock_class: LockClass = None,
    dry_run: DryRun = False,
    destination: Destination = None,
    idempotency_key: Key = None,
    wait: Wait = False,
    output: OutputFile = None,
    url: Url = HERE,
) -> None:
    """Hand in a data set, and print the id of the job.

    A folder is packed while it is sent: nothing is stored on the way. What is not chosen is as the service
    has it.
    """
    from app.client.submission import Asked

    options = _chosen(
        strength=strength,
        seed=seed,
        shared_look=shared_look or None,
        variants=variants,
        include=include,
        exclude=exclude,
        lists=lists,
        archive=archive,
        dry_run=dry_run or None,
        thresholds=_chosen(
            below=below and below.value,
            max_shift_px=max_shift_px,
            min_structure_kept=min_structure_kept,
            min_least_kept=min_least_kept,
        ),
        output=_chosen(format=output_format),
        lock=[{"annotations": lock_class}] if lock_class else None,
    )
    with _service(url) as service:
        if output is not None:
            _refuse_existing(output, overwrite=False)
        job = _hand_in(service, chosen, Asked(model, destination, options or {}), idempotency_key)
        typer.echo(job.id)
        if wait or output is not None:
            _follow_and_fetch(service, job.id, output)
        else:
            typer.echo(f"`simtrue jobs watch {job.id}` shows how it goes.", err=True)


@jobs_cli.command(name="list")
def list_jobs(
    state: Annotated[list[JobState] | None, typer.Option(help="Only these. May be repeated.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most jobs to show.")] = 50,
    url: Url = HERE,
) -> None:
    """List jobs, newest first."""
    from app.client.terminal import show_jobs

    with _service(url) as service:
        show_jobs(service.jobs([one.value for one in state or ()], limit))


@jobs_cli.command()
def show(job_id: Id, url: Url = HERE) -> None:
    """Show one job: its state, what became of its files so far, and how long it will take."""
    from app.client.terminal import show_job

    with _service(url) as service:
        show_job(service.look(job_id))


@jobs_cli.command()
def plan(job_id: Id, url: Url = HERE) -> None:
    """Print what becomes of every file of a job, and why: a line of JSON each."""
    from app.client.service import path_of

    with _service(url) as service, service.open("GET", path_of(job_id, "/plan")) as answer:
        for piece in answer.iter_raw():
            typer.echo(piece, nl=False)


@jobs_cli.command()
def watch(job_id: Id, url: Url = HERE) -> None:
    """Follow a job to its end, also over broken connections and restarts of the service.

    The exit status is 0 when it is done and no file failed. Ctrl-C ends only the watching.
    """
    with _service(url) as service:
        _follow_and_fetch(service, job_id, None)


@jobs_cli.command()
def fetch(  # noqa: PLR0917 (typer makes each parameter a flag)
    job_id: Id,
    target: Annotated[
        Path | None, typer.Argument(help="File for the result, or the folder that it goes into.")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="The HTML report goes into this file.")] = None,
    manifest: Annotated[
        Path | None, typer.Option(help="The manifest, a JSON line per file, goes into this file.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")] = False,
    url: Url = HERE,
) -> None:
    """Download what a job made, and check it; a download that broke is gone on with."""
    from app.client.download import fetch_paper, target_of

    with _service(url) as service:
        if target is None and report is None and manifest is None:
            raise InvalidRequest("Name a file for the result, or one for --report or --manifest.")
        job = service.look(job_id)
        into = None if target is None else target_of(target, job)
        for file in (into, report, manifest):
            if file is not None:
                _refuse_existing(file, overwrite=overwrite)
        if report is not None:
            fetch_paper(service, job_id, "/report", "text/html", report)
        if manifest is not None:
            fetch_paper(service, job_id, "/manifest", "*/*", manifest)
        if into is not None:
            _fetch_result(service, job, into)


@jobs_cli.command()
def cancel(job_id: Id, url: Url = HERE) -> None:
    """End a job that is not finished; what it made so far is deleted."""
    with _service(url) as service:
        job = service.cancel(job_id)
        said = f"is {job.state}" if job.finished else "ends as soon as its driver sees it"
        typer.echo(f"Job {job.id} {said}.", err=True)


@jobs_cli.command()
def delete(job_id: Id, url: Url = HERE) -> None:
    """Delete a finished job with all that it made."""
    with _service(url) as service:
        job = service.look(job_id)
        if not job.finished:
            raise InvalidRequest(f"Job {job.id} is {job.state}; `simtrue jobs cancel {job.id}` ends it.")
        service.delete(job_id)


def _chosen(**options: object) -> dict[str, object] | None:
    """Those that were chosen; None when none was."""
    return {name: value for name, value in options.items() if value is not None} or None


@contextmanager
def _service(url: str) -> Iterator[Service]:
    from app.client.service import Service

    with one_sentence(), Service(url) as service:
        yield service


@contextmanager
def _interrupted(said: str) -> Iterator[None]:
    """Say how to go on after Ctrl-C."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"\nsimtrue: {said}", err=True)
        raise typer.Exit(INTERRUPTED) from None


def _hand_in(service: Service, chosen: str, asked: Asked, key: str | None) -> Job:
    from app.client.submission import submit as hand_in
    from app.client.submission import upload_of
    from app.client.terminal import transfer_bar

    with _interrupted("The upload was broken off; no job was made."):
        upload = upload_of(chosen)
        if upload is None:
            return hand_in(service, chosen, asked, upload=None, key=key, on_bytes=lambda _: None)
        with transfer_bar("sending", upload.size) as on_bytes:
            return hand_in(service, chosen, asked, upload=upload, key=key, on_bytes=on_bytes)


def _follow_and_fetch(service: Service, job_id: str, output: Path | None) -> None:
    """Raises typer.Exit when the job did not end well."""
    from app.client.following import follow
    from app.client.terminal import show_end, show_until_finished

    going_on = f"`simtrue jobs watch {job_id}` shows it again, `simtrue jobs cancel {job_id}` ends it."
    with _interrupted(f"Job {job_id} goes on; {going_on}"):
        service.look(job_id)  # whoever is not there at the beginning is not waited for
        job = show_until_finished(follow(service, job_id))
    show_end(job)
    if job.state == "done" and output is not None:
        _fetch_result(service, job, output)
    if job.state != "done" or job.counts.failed:
        raise typer.Exit(1)


def _fetch_result(service: Service, job: Job, target: Path) -> None:
    from app.client.download import Download
    from app.client.terminal import transfer_bar

    again = f"`simtrue jobs fetch {job.id} {target}` goes on with the download."
    with _interrupted(f"What came so far is kept; {again}"):
        size = 0 if job.result is None else job.result.bytes
        with transfer_bar("fetching", size) as on_bytes:
            Download(service, job, target, on_bytes).run()


def _refuse_existing(file: Path, *, overwrite: bool) -> None:
    if file.exists() and not (overwrite and file.is_file()):
        raise InvalidRequest(f"{file} exists already; --overwrite replaces it.")
