"""Owns the command `evaluate`: from its flags to the table, the JSON file and the page."""

import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

import torch
from rich.console import Console as RichConsole
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from trainer.config import TrainConfig
from trainer.console import Console
from trainer.data import TrainingData, common_size, load_data
from trainer.disk import write_atomically
from trainer.errors import ConfigError, DataError
from trainer.evaluation.candidate import Candidate, load_candidate
from trainer.evaluation.evaluate import Plan
from trainer.evaluation.evaluate import evaluate as measure_all
from trainer.evaluation.html.page import render
from trainer.evaluation.progress import Piece, Watch
from trainer.evaluation.realism import FEWEST_IMAGES
from trainer.evaluation.report import of_one, print_report, to_json
from trainer.evaluation.results import Report
from trainer.labels.task import Task, load_task
from trainer.options import resolve, validate
from trainer.run_folder import RunFolder
from trainer.sources import Reading

MOST_VARIANTS = 64
MOST_UPDATES = 1_000_000


@dataclass(frozen=True)
class Request:
    """What `evaluate` was asked."""

    refiners: tuple[Path, ...]
    given: Mapping[str, str]
    """Settings that say which images, where not those of the run: synthetic, real, resize, crop, window; and
    threads."""
    task: Path | None
    plan: Plan
    html: Path | None
    json: Path | None
    command: str
    """How it was asked, for the report."""


def evaluate(request: Request) -> None:
    """Measure, show the table, keep numbers and page with every run and where the flags say.

    They are kept after every refiner: what was measured before a power cut is there.
    """
    _check(request)
    console, started, now = Console(), monotonic(), datetime.now(UTC)
    candidates = told_apart([load_candidate(path, console.say) for path in request.refiners])
    with tempfile.TemporaryDirectory() as cache:
        config = _config(request, candidates[0])
        if "threads" in request.given and config.threads:
            torch.set_num_threads(config.threads)
        data = read_images_of(config, Path(cache), console)
        task = read_task(request.task, config, data)
        notes = _notes(task, data)
        for note in notes.values():
            console.say(f"note: {note}")
        with _watching() as watch:
            for measured in measure_all(candidates, data, task, request.plan, watch):
                report = Report(
                    synthetic=config.synthetic,
                    real=config.real,
                    created_utc=now.isoformat(timespec="seconds"),
                    command=request.command,
                    settings={
                        **measured.settings,
                        **notes,
                        **_sources(request, candidates, len(measured.candidates)),
                    },
                    realities=measured.realities,
                    candidates=measured.candidates,
                    seconds=monotonic() - started,
                )
                # A later refiner may take another hour: what is known is kept.
                written = _write(request, report, render(report, measured.pictures).encode())
    print_report(report, RichConsole())
    for path in written:
        console.say(f"wrote {path}")


def told_apart(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The same, with those of one name numbered in their order, so that a table can be read."""
    names = Counter(candidate.name for candidate in candidates)
    seen: Counter[str] = Counter()
    named = []
    for candidate in candidates:
        seen[candidate.name] += 1
        number = f" ({seen[candidate.name]})" if names[candidate.name] > 1 else ""
        source = f"{candidate.name}{number}: {candidate.source}" if number else candidate.source
        named.append(replace(candidate, name=candidate.name + number, source=source))
    return named


def _check(request: Request) -> None:
    plan = request.plan
    if not 1 <= plan.variants <= MOST_VARIANTS:
        raise ConfigError(f"--variants {plan.variants} is not between 1 and {MOST_VARIANTS}")
    if plan.updates is not None and not 1 <= plan.updates <= MOST_UPDATES:
        raise ConfigError(f"--updates {plan.updates} is not between 1 and {MOST_UPDATES}")
    if plan.seeds < 1 or plan.images < FEWEST_IMAGES:
        raise ConfigError(
            f"--seeds {plan.seeds} and --images {plan.images}: an evaluation needs at least 1 seed and "
            f"{FEWEST_IMAGES} images"
        )
    if len({path.resolve() for path in request.refiners}) < len(request.refiners):
        raise ConfigError("the same refiner was named twice")
    for flag, file in (("--html", request.html), ("--json", request.json)):
        if file is not None and not file.parent.is_dir():
            raise ConfigError(f"{flag} {file}: there is no folder {file.parent}")
        if file is not None and file.is_dir():
            raise ConfigError(f"{flag} {file} is a folder; name a file")
    if request.html is not None and request.html == request.json:
        raise ConfigError(f"--html and --json both name {request.html}")


def _config(request: Request, candidate: Candidate) -> TrainConfig:
    """Which images, in the channels and bits that the refiners take: of the first run, unless given."""
    # Batches are a matter of training: two images are enough here.
    few = {"batch_size": 2, "history_capacity": 0}
    kind = {"channels": candidate.channels, "bit_depth": candidate.bit_depth}
    run = next((path for path in request.refiners if path.is_dir()), None)
    if run is None:
        return resolve({**kind, **request.given, **few})
    return validate({**RunFolder(run).read_config().model_dump(), **kind, **request.given, **few})


def read_images_of(config: TrainConfig, cache: Path, console: Console) -> TrainingData:
    """The images to measure on. With `window = "auto"` training sees small windows, but realism is judged on
    all that both sets show.
    """
    data = load_data(config, cache, console.decoding)
    if config.window != "auto":
        return data
    return replace(data, window=common_size(data.synthetic, data.real))


def read_task(file: Path | None, config: TrainConfig, data: TrainingData) -> Task | None:
    """The task of these images, its own read as they were; DataError when it labels others."""
    if file is None:
        return None
    reading = Reading(config.resize, config.crop, data.channels, data.bit_depth)
    task = load_task(file, config.synthetic, reading)
    if len(task.labels) != len(data.synthetic):
        raise DataError(f"{file} labels {len(task.labels)} synthetic images, there are {len(data.synthetic)}")
    return task


def _notes(task: Task | None, data: TrainingData) -> dict[str, str]:
    """What a reader must know of the task, by what it is about."""
    if task is None:
        return {}
    told = {"boxes": task.pooled(), "test images": task.seen(data.real)}
    return {name: sentence for name, sentence in told.items() if sentence is not None}


def _sources(request: Request, candidates: Sequence[Candidate], measured: int) -> dict[str, str]:
    done = candidates[:measured]
    sources = {"refiners" if len(done) > 1 else "refiner": "; ".join(one.source for one in done)}
    if measured < len(candidates):
        sources["so far"] = f"{measured} of {len(candidates)} refiners"
    return sources if request.task is None else {**sources, "task": str(request.task)}


@contextmanager
def _watching() -> Iterator[Watch]:
    """Says at the terminal what is being measured; plain lines where there is no terminal."""
    rich = RichConsole(stderr=True, soft_wrap=True, highlight=False)
    if not rich.is_terminal:
        yield lambda piece: rich.print(str(piece), markup=False)
        return
    columns = (
        SpinnerColumn(),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=rich, transient=True) as progress:
        bar = progress.add_task("", total=None)

        def watch(piece: Piece) -> None:
            if piece.found is not None:
                progress.console.print(f"{piece.what}: {piece.found}", markup=False)
                return
            described = f"{piece.what}{piece.left}"
            progress.update(bar, description=described, total=piece.total, completed=piece.number - 1)

        yield watch


def _write(request: Request, report: Report, page: bytes) -> Sequence[Path]:
    """Every run measured so far keeps its own numbers and the page; the flags name further places."""
    files: dict[Path, bytes] = {}
    for index, path in enumerate(request.refiners[: len(report.candidates)]):
        if path.is_dir():
            folder = RunFolder(path)
            files[folder.evaluation] = _bytes(to_json(of_one(report, index)))
            files[folder.report] = page
    if request.html is not None:
        files[request.html] = page
    if request.json is not None:
        files[request.json] = _bytes(to_json(report))
    for path, content in files.items():
        write_atomically(path, lambda file, content=content: file.write(content))  # type: ignore[misc]
    return list(files)


def _bytes(tree: Mapping[str, object]) -> bytes:
    return json.dumps(tree, indent=2, ensure_ascii=False, allow_nan=False).encode() + b"\n"
