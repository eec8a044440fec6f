"""Owns the course of a study: every variant with every seed, going on wherever it was interrupted."""

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from trainer.checkpoint import load_newest
from trainer.config import TrainConfig
from trainer.console import Console
from trainer.errors import CheckpointError, ConfigError, DivergedError
from trainer.evaluation.evaluate import Plan
from trainer.run_folder import RunFolder
from trainer.running import fit, resume
from trainer.studies.curves import minutes
from trainer.studies.definitions import Study, resolve_variants
from trainer.studies.measuring import QUICK, Measuring
from trainer.studies.outcome import (
    Outcome,
    arm_measures,
    measures_of,
    read_outcome,
    realism_measures,
    write_outcome,
)
from trainer.studies.results import Results
from trainer.studies.writing import write_results

FREE = {
    "runs_root",
    "device",
    "precision",
    "compile",
    "threads",
    "max_resident_bytes",
    "tensorboard",
    "keep_checkpoints",
}
"""Settings in which a run that is there already may differ from what is asked now: they change no result."""
OURS = ("seed", "name", "runs_root")
"""Settings that a study gives to its runs itself."""


@dataclass(frozen=True)
class Request:
    """What `study` was asked."""

    study: Study
    base: TrainConfig
    seeds: tuple[int, ...]
    out: Path
    task: Path | None
    command: str
    plan: Plan = QUICK


def run_study(request: Request) -> Results:
    """Train and measure whatever is missing, seed by seed; the files tell what there is after every run.

    A run that diverges is an outcome. Any other TrainerError ends the study: asked again, it goes on there.
    """
    configs = _check(request)
    console = Console()
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory() as cache:
        measuring = Measuring(request.base, request.task, Path(cache), console, request.plan)
        for seed in request.seeds:
            for variant, config in configs.items():
                run_config = _of_run(request, variant, seed, config)
                console.say(f"study {request.study.name}: {variant}, seed {seed}")
                outcomes.append(_outcome(measuring, console.say, variant, run_config))
                results = Results(
                    request.study,
                    request.base,
                    configs,
                    request.seeds,
                    tuple(outcomes),
                    request.out,
                    request.command,
                )
                written = write_results(results)
    for path in written:
        console.say(f"wrote {path}")
    return results


def _check(request: Request) -> dict[str, TrainConfig]:
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError("a study trains its runs one after the other in one process, without torchrun")
    if not request.seeds or len(set(request.seeds)) < len(request.seeds):
        raise ConfigError(f"--seeds {','.join(map(str, request.seeds))!r}: give different whole numbers")
    return resolve_variants(request.study, request.base)


def _of_run(request: Request, variant: str, seed: int, config: TrainConfig) -> TrainConfig:
    name = f"{request.study.name}-{variant}-seed{seed}"
    ours = {"seed": seed, "name": name, "runs_root": str(request.out / "runs")}
    return TrainConfig.model_validate({**config.model_dump(), **ours})


def _outcome(measuring: Measuring, tell: Callable[[str], None], variant: str, config: TrainConfig) -> Outcome:
    run = _find(config)
    known = None if run is None else read_outcome(run)
    if known is not None and (known.diverged is not None or known.measured_with == measuring.said):
        return known
    diverged = None
    try:
        run = _train(run, config, tell)
    except DivergedError as error:
        run, diverged = _find(config), str(error)
        tell(f"{variant}, seed {config.seed} diverged, which is its result: {diverged}")
    assert run is not None
    outcome = (
        _diverged(run, variant, config, diverged) if diverged else _measured(measuring, run, variant, config)
    )
    write_outcome(run, outcome)
    return outcome


def _find(config: TrainConfig) -> RunFolder | None:
    """The run of these settings, however far it is; ConfigError when its settings are others."""
    root = Path(config.runs_root)
    for path in sorted(root.glob(f"*-{config.name}")):
        run = RunFolder(path)
        if run.config.is_file() and (kept := run.read_config()).name == config.name:
            here, there = config.model_dump(exclude=FREE), kept.model_dump(exclude=FREE)
            odd = [f"{name} = {there[name]}" for name in here if here[name] != there[name]]
            if odd:
                raise ConfigError(f"{path} was trained with {', '.join(odd)}: choose another --out")
            return run
    return None


def _train(run: RunFolder | None, config: TrainConfig, tell: Callable[[str], None]) -> RunFolder:
    if run is None:
        return fit(config)
    try:
        saved = load_newest(run.checkpoints, tell)
    except CheckpointError:
        saved = None  # resume tells which could not be read
    finished = saved is not None and saved.state["clock"]["step"] >= config.steps
    return run if finished else resume(run.path)


def _diverged(run: RunFolder, variant: str, config: TrainConfig, sentence: str) -> Outcome:
    return Outcome(
        variant=variant,
        seed=config.seed,
        run=run.path.name,
        diverged=sentence,
        measured_with="",
        measures={},
        start={},
        floor={},
        alarms=(),
    )


def _measured(measuring: Measuring, run: RunFolder, variant: str, config: TrainConfig) -> Outcome:
    result, frame = measuring.measure(run.path), measuring.frame
    return Outcome(
        variant=variant,
        seed=config.seed,
        run=run.path.name,
        diverged=None,
        measured_with=measuring.said,
        measures={**measures_of(result, measuring.peak), "minutes": minutes(run, config)},
        start={**realism_measures(frame.start), **arm_measures(result.usefulness, "synthetic")},
        floor={**realism_measures(frame.floor), **arm_measures(result.usefulness, "real")},
        alarms=result.alarms,
    )
