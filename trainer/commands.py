"""Owns what each command of `simtrue-train` does, beyond reading its flags."""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console as RichConsole

from trainer.config import TrainConfig
from trainer.console import Console
from trainer.data import TrainingData, load_data
from trainer.disk import write_atomically
from trainer.errors import ConfigError
from trainer.evaluation.candidate import Candidate, load_candidate
from trainer.evaluation.evaluate import evaluate as judge_candidate
from trainer.evaluation.judge import Judging
from trainer.evaluation.report import print_report, to_json
from trainer.options import resolve, validate
from trainer.preview import write_preview
from trainer.publish import Label, publish
from trainer.run_folder import RunFolder
from trainer.running import fit, resume
from trainer.trained import load_trained

__all__ = ["Comparison", "evaluate", "export", "fit", "preview", "resume"]


@dataclass(frozen=True)
class Comparison:
    """What an evaluation compares, and how many judges see how many images."""

    given: Mapping[str, str]
    """Settings that say which images, where not those of the run: synthetic, real, resize, crop, window."""
    seeds: int
    images: int


def export(run: Path, models: Path, label: Label, version: int | None) -> None:
    """Publish a run's refiner and say what was measured."""
    console = Console()
    path, card = publish(load_trained(run, console.say), models, label, version)
    console.say(
        f"published {path}: step {card.steps}, {card.parameters} parameters; torch and {card.parity.runtime} "
        f"differ by at most {card.parity.max_difference} grey levels, in "
        f"{card.parity.differing_fraction:.4%} of the values"
    )


def preview(run: Path, out: Path, strength: float) -> None:
    """Draw a run's samples into `out`."""
    if not 0.0 <= strength <= 1.0:
        raise ConfigError(f"--strength {strength} is not between 0 and 1")
    console = Console()
    trained = load_trained(run, console.say)
    with tempfile.TemporaryDirectory() as cache:
        data = load_data(trained.config, Path(cache), console.decoding)
        write_preview(trained, data, out, strength)
    console.say(f"wrote {out}")


def evaluate(refiner: Path, comparison: Comparison, json_file: Path | None) -> None:
    """Judge a refiner, show the table, keep the numbers with the run and in `json_file`."""
    if comparison.seeds < 1 or comparison.images < 8:
        raise ConfigError(
            f"--seeds {comparison.seeds} and --images {comparison.images}: an evaluation needs at least "
            "1 judge and 8 images"
        )
    if json_file is not None and not json_file.parent.is_dir():
        raise ConfigError(f"--json {json_file}: there is no folder {json_file.parent}")
    console = Console()
    candidate = load_candidate(refiner, console.say)
    with tempfile.TemporaryDirectory() as cache:
        data = _images(refiner, candidate, comparison, Path(cache), console)
        evaluation = judge_candidate(
            candidate, data, comparison.seeds, Judging(most_images=comparison.images)
        )
    print_report(evaluation, RichConsole())
    text = json.dumps(to_json(evaluation), indent=2).encode() + b"\n"
    kept = RunFolder(refiner).evaluation if refiner.is_dir() else None
    for path in (kept, json_file):
        if path is not None:
            write_atomically(path, lambda file: file.write(text))


def _images(
    refiner: Path, candidate: Candidate, comparison: Comparison, cache: Path, console: Console
) -> TrainingData:
    """The images to judge, in the channels and bits that the refiner takes."""
    # Batches are a matter of training: two images are enough here.
    few = {"batch_size": 2, "history_capacity": 0}
    kind = {"channels": candidate.channels, "bit_depth": candidate.bit_depth}
    config: TrainConfig
    if refiner.is_dir():
        run = RunFolder(refiner).read_config().model_dump()
        config = validate({**run, **kind, **comparison.given, **few})
    else:
        config = resolve({**kind, **comparison.given, **few})
    return load_data(config, cache, console.decoding)
