"""Very small trainings through the command line, and what they leave behind."""

import json
from pathlib import Path

import numpy as np
import pytest

from trainer.cli import main
from trainer.run_folder import RunFolder

FAST = {
    "refiner_width": 8,
    "refiner_blocks": 1,
    "discriminator_layers": "gaze",
    "batch_size": 8,
    "history_capacity": 12,
    "steps": 12,
    "warmup_refiner_steps": 3,
    "warmup_discriminator_steps": 3,
    "log_every": 4,
    "grid_every": 6,
    "checkpoint_every": 6,
    "precision": "fp32",
    "threads": 1,
}


def write_images(folder: Path, *, count: int = 32) -> dict[str, str]:
    """Synthetic squares, and the same squares dimmer and noisy as the real ones."""
    rng = np.random.default_rng(0)
    synthetic = np.full((count, 16, 16), 200, np.uint8)
    for image in synthetic:
        top, left = rng.integers(1, 9, 2)
        image[top : top + 6, left : left + 6] = 30
    real = np.clip(synthetic[::-1] * 0.6 + 20 + rng.normal(0, 8, synthetic.shape), 0, 255).astype(np.uint8)
    np.savez(folder / "images.npz", synthetic=synthetic, real=real)
    return {"synthetic": f"{folder}/images.npz:synthetic", "real": f"{folder}/images.npz:real"}


def flags(values: dict[str, object]) -> list[str]:
    return [text for name, value in values.items() for text in (f"--{name.replace('_', '-')}", str(value))]


def fit(folder: Path, **changes: object) -> RunFolder:
    sources = write_images(folder)
    main(["fit", *flags({**sources, **FAST, "runs_root": folder / "runs", **changes})])
    return RunFolder(max((folder / "runs").iterdir()))


def lines(run: RunFolder) -> list[dict[str, object]]:
    return [json.loads(line) for line in run.metrics.read_text().splitlines()]


def refusal(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> str:
    """The one sentence of a command that fails."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    said = capsys.readouterr().err
    assert stopped.value.code == 1
    assert "Traceback" not in said
    return said.splitlines()[-1]
