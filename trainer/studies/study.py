"""Owns the course of a study: every variant with every seed, going on wherever it was interrupted."""

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from trainer.config import TrainConfig
from trainer.console import Console
from trainer.data import load_data
from trainer.errors import CheckpointError, ConfigError, DivergedError
from trainer.evaluation.candidate import load_candidate
from trainer.run_folder import RunFolder
from trainer.running import fit, resume
from trainer.studies.curves import minutes
from trainer.studies.definitions import Study, resolve_variants
from trainer.studies.measuring import Effort, Measuring, read_task
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
from trainer.trained import load_trained

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
    effort: Effort


def run_study(request: Request) -> Results:
    """Train and measure whatever is missing, seed by seed; the files tell what there is after every run.

    A run that diverges is an outcome. Any other TrainerError ends the study: asked again, it goes on there.
    """
    configs = _check(request)
    console = Console()
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory() as cache:
        bench = _Bench(request, Path(cache), console)
        for seed in request.seeds:
            for variant, config in configs.items():
                outcomes.append(_outcome(bench, variant, _of_run(request, variant, seed, config)))
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


class _Bench:
    """What is needed to measure, opened when the first run must be measured."""

    def __init__(self, request: Request, cache: Path, console: Console) -> None:
        self.request, self._cache, self.console = request, cache, console
        self.measured_with = request.effort.said(request.task)

    @cached_property
    def measuring(self) -> Measuring:
        """The images and labels of the study."""
        config = self.request.base
        data = load_data(config, self._cache, self.console.decoding)
        task = read_task(self.request.task, config, data)
        return Measuring(data, task, self.request.effort, self.console.say)


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


def _outcome(bench: _Bench, variant: str, config: TrainConfig) -> Outcome:
    run = _find(config)
    known = None if run is None else read_outcome(run)
    if known is not None and (known.diverged is not None or known.measured_with == bench.measured_with):
        return known
    bench.console.say(f"study {bench.request.study.name}: {variant}, seed {config.seed}")
    diverged = None
    try:
        run = _train(run, config, bench.console.say)
    except DivergedError as error:
        run, diverged = _find(config), str(error)
        bench.console.say(f"{variant}, seed {config.seed} diverged, which is its result: {diverged}")
    assert run is not None
    outcome = (
        _diverged(run, variant, config, diverged) if diverged else _measured(bench, run, variant, config)
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
        if load_trained(run.path, tell).step >= config.steps:
            return run
    except CheckpointError:
        pass  # it never came to save anything
    return resume(run.path)


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


def _measured(bench: _Bench, run: RunFolder, variant: str, config: TrainConfig) -> Outcome:
    measuring = bench.measuring
    result = measuring.measure(load_candidate(run.path, bench.console.say))
    frame = measuring.frame
    return Outcome(
        variant=variant,
        seed=config.seed,
        run=run.path.name,
        diverged=None,
        measured_with=bench.measured_with,
        measures={**measures_of(result, measuring.peak), "minutes": minutes(run, config)},
        start={**realism_measures(frame.start), **arm_measures(result.usefulness, "synthetic")},
        floor={**realism_measures(frame.floor), **arm_measures(result.usefulness, "real")},
        alarms=result.alarms,
    )
