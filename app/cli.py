"""The command line `simtrue`: serve models, refine a folder, list models, hand sets to a service."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from app.datasets.boxed import opened_set, packed_set
from app.datasets.set_plan import Choice
from app.folder_plan import plan, refuse_papers
from app.jobs_cli import jobs_cli
from app.logs import configure_logs
from app.one_sentence import one_sentence
from app.options import OutputFormat, read_options
from app.settings import Settings, load_settings

cli = typer.Typer(
    help="Make simulated images look real, and keep every label.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

cli.add_typer(jobs_cli, name="jobs")

Models = Annotated[Path | None, typer.Option(help="Model repository. [SIMTRUE_MODELS]", show_default=False)]
Device = Annotated[str | None, typer.Option(help="auto, cpu or cuda. [SIMTRUE_DEVICE]", show_default=False)]


def main() -> None:
    """Run the command line; the entry point of `simtrue`."""
    cli()


# The commands import what they run, so that --help does not wait for ONNX Runtime.


@cli.command()
def serve(  # noqa: PLR0917 (typer makes each parameter a flag)
    host: Annotated[str | None, typer.Option(help="Address to listen on. [SIMTRUE_HOST]")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one. [SIMTRUE_PORT]")] = None,
    models: Models = None,
    device: Device = None,
    default_model: Annotated[
        str | None, typer.Option(help="Model for requests that name none. [SIMTRUE_DEFAULT_MODEL]")
    ] = None,
    log_level: Annotated[
        str | None, typer.Option(help="debug, info, warning or error. [SIMTRUE_LOG_LEVEL]")
    ] = None,
) -> None:
    """Serve the models of a model repository over HTTP until Ctrl-C or SIGTERM."""
    from app.serving import serve_until_stopped

    with one_sentence():
        settings = _settings(
            host=host,
            port=port,
            models=models,
            device=device,
            default_model=default_model,
            log_level=log_level,
        )
        serve_until_stopped(settings)


Include = Annotated[
    list[str] | None,
    typer.Option(
        help="Pattern of images to refine, such as 'left/*', also where they look like labels; the others "
        "are copied. May be repeated."
    ),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(help="Pattern of images to copy as they are; wins over --include. May be repeated."),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Say what would become of every file, and write nothing; a terminal shows the first of each "
        "kind, a pipe gets all.",
    ),
]
ManifestFile = Annotated[
    Path | None,
    typer.Option(help="A JSON line per file goes here: its digests in and out, and all that was measured."),
]

ReportFile = Annotated[
    Path | None,
    typer.Option(help="An HTML page goes here: verdicts, drift, the worst regions before and after."),
]


@cli.command()
def refine(  # noqa: PLR0917 (typer makes each parameter a flag)
    source: Annotated[
        Path, typer.Argument(help="An image, or a data set: a folder, a zip, tar, tar.gz or tar.zst.")
    ],
    target: Annotated[
        Path, typer.Argument(help="Where the results go: a folder, or an archive by its name.")
    ],
    model: Annotated[str | None, typer.Option(help="Model to refine with; none takes the default.")] = None,
    models: Models = None,
    device: Device = None,
    strength: Annotated[float, typer.Option(help="Share of the change that is applied, 0 to 1.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of the noise, for models that take noise.")] = 0,
    shared_look: Annotated[
        bool, typer.Option("--shared-look", help="One look for all images, as for the frames of a film.")
    ] = False,
    output_format: Annotated[
        OutputFormat | None, typer.Option("--format", help="Format to write; none keeps that of each image.")
    ] = None,
    include: Include = None,
    exclude: Exclude = None,
    manifest: ManifestFile = None,
    report: ReportFile = None,
    dry_run: DryRun = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")] = False,
) -> None:
    """Refine an image, or every image of a data set, without a server.

    Images keep path, size, mode and format; every other file is copied byte for byte. Annotations are found
    and read, so that preservation is measured. Label images, such as masks, are told by their folders and
    names, and copied; --include and --exclude overrule that.
    """
    from app.console import Papers, refine_with_progress, show_plan

    with one_sentence(), ExitStack() as open_sets:
        settings = _settings(models=models, device=device)
        configure_logs("warning")
        asked = {
            "strength": strength,
            "seed": seed,
            "shared_look": shared_look,
            "output": {"format": output_format},
        }
        options = read_options(json.dumps(asked), max_variants=1)
        folder = open_sets.enter_context(opened_set(source, target.parent))
        into = open_sets.enter_context(packed_set(target, overwrite=overwrite, dry_run=dry_run))
        choice = Choice(include or (), exclude or (), output_format)
        planned = plan(folder, into, choice, overwrite=overwrite)
        if dry_run:
            show_plan(planned)
            return
        refuse_papers((manifest, report), planned, overwrite=overwrite)
        summary = refine_with_progress(settings, model, options, planned, Papers(manifest, report))
    if summary.failures:
        raise typer.Exit(1)


@cli.command(name="models")
def list_models(models: Models = None, device: Device = None) -> None:
    """List the models of a model repository: what is served, what is refused and why."""
    from app.console import show_models

    with one_sentence():
        settings = _settings(models=models, device=device)
        configure_logs("error")
        show_models(settings)


def _settings(**flags: object) -> Settings:
    """The settings; flags that were given win over the environment."""
    return load_settings(**{name: value for name, value in flags.items() if value is not None})


if __name__ == "__main__":
    main()
