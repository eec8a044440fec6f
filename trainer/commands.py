"""Owns what each command of `simtrue-train` does, beyond reading its flags."""

import tempfile
from pathlib import Path

from model.card import ModelCard
from model.export import FloatPrecision
from trainer.console import Console
from trainer.data import load_data
from trainer.errors import ConfigError
from trainer.int8 import Int8
from trainer.preview import write_preview
from trainer.publish import Label, publish
from trainer.running import fit, resume
from trainer.trained import load_trained

__all__ = ["export", "export_int8", "fit", "preview", "resume"]


def export(
    run: Path, models: Path, label: Label, version: int | None, precision: FloatPrecision = "fp32"
) -> None:
    """Publish a run's refiner and say what was measured."""
    console = Console()
    published = publish(load_trained(run, console.say), models, label, version, precision)
    _say_published(console, "torch in fp32", *published)


def export_int8(run: Path, models: Path, label: Label, version: int | None, tolerance_levels: int) -> None:
    """Publish the int8 profile of a run's refiner, calibrated on the run's own synthetic images."""
    if not 0 <= tolerance_levels <= 255:
        raise ConfigError(f"--int8-tolerance {tolerance_levels} is not between 0 and 255 grey levels")
    console = Console()
    trained = load_trained(run, console.say)
    with tempfile.TemporaryDirectory() as cache:
        data = load_data(trained.config, Path(cache), console.decoding)
        int8 = Int8(data, trained.config.seed, tolerance_levels)
        published = publish(trained, models, label, version, int8)
    _say_published(console, "fp32", *published)


def _say_published(console: Console, reference: str, path: Path, card: ModelCard) -> None:
    console.say(
        f"published {path}: step {card.steps}, {card.parameters} parameters; {reference} and "
        f"{card.parity.runtime} differ by at most {card.parity.max_difference} grey levels, in "
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
