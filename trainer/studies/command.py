"""Owns the command `study`: from its flags to a request."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trainer.config import TrainConfig
from trainer.errors import ConfigError
from trainer.options import resolve, validate
from trainer.studies.definitions import Study
from trainer.studies.study import OURS, Request, run_study


@dataclass(frozen=True)
class Asked:
    """The command's own flags, as they were given."""

    study: Study
    seeds: str
    """Whole numbers with commas between them."""
    out: Path | None
    task: Path | None
    command: str
    """The whole command, to stand beside the numbers."""


def run(asked: Asked, settings: Mapping[str, object], config_file: Path | None) -> None:
    """Run a study; `settings` are the flags of the common base, above those of `config_file`."""
    for name in OURS:
        if name in settings:
            raise ConfigError(
                f"--{name.replace('_', '-')} is given by the study to each of its runs: use --seeds and --out"
            )
    request = Request(
        study=asked.study,
        base=_of_one_length(resolve(settings, config_file)),
        seeds=_seeds(asked.seeds),
        out=asked.out or Path("studies") / asked.study.name,
        task=asked.task,
        command=asked.command,
    )
    run_study(request)


def _of_one_length(base: TrainConfig) -> TrainConfig:
    """Variants are compared after the same number of steps."""
    return validate({**base.model_dump(), "steps_limit": 0})


def _seeds(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise ConfigError(f"--seeds {text!r} is not whole numbers with commas between them, as in 0,1,2")
    return tuple(int(part) for part in parts)
