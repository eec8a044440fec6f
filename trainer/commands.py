"""Owns what each command of `simtrue-train` does, beyond reading its flags."""

import tempfile
from pathlib import Path

from trainer.console import Console
from trainer.data import load_data
from trainer.errors import ConfigError
from trainer.preview import write_preview
from trainer.publish import Label, publish
from trainer.running import fit, resume
from trainer.trained import load_trained

__all__ = ["export", "fit", "preview", "resume"]


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
