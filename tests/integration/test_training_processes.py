"""Two processes under torchrun train as one process with the same global batch does."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.train
ROOT = Path(__file__).resolve().parents[2]
# The same sums in another order: float32 rounds each addition by 6e-8 relative, and a few small SGD steps
# carry that on without amplifying it much. Adam would: it divides by gradients that are almost zero.
TOLERANCE = 1e-5

SETTINGS = {
    "preset": "gaze",
    "refiner_width": 8,
    "refiner_blocks": 1,
    "noise_pixel_channels": 1,
    "noise_image_channels": 1,
    "noise_recovery_weight": 0.3,
    "content_balance_limit": 4,
    "variety_weight": 0.5,
    "variety_group": 4,
    "wide_weight": 0.5,
    "looks_weight": 0.5,
    "discriminator_views": 0.5,
    "batch_size": 8,
    "history_capacity": 12,
    "labels_updates": 3,
    "r1_weight": 0.1,
    "r1_every": 2,
    "steps": 8,
    "warmup_refiner_steps": 4,
    "warmup_discriminator_steps": 4,
    "log_every": 4,
    "ema_decay": 0.9,
    "precision": "fp32",
    "threads": 1,
    "device": "cpu",
    "max_resident_bytes": 1 << 16,
}


def train(images: Path, root: Path, processes: int) -> Path:
    sources = {"synthetic": f"{images}:synthetic", "real": f"{images}:real"}
    values = {**SETTINGS, **sources, "labels": images.with_name("task.toml"), "runs_root": root}
    flags = [text for name, value in values.items() for text in (f"--{name.replace('_', '-')}", str(value))]
    flags.append("--reuse-refined")
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] * (
        processes > 1
    )
    done = subprocess.run(
        [sys.executable, *launcher, "-m", "trainer.cli", "fit", *flags],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (run,) = root.iterdir()
    return run


def last_state(run: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(max((run / "checkpoints").glob("*.pt")), weights_only=True)["state"]
    return state


def last_line(run: Path) -> dict[str, float]:
    line: dict[str, float] = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    return line


def test_two_processes_train_like_one_with_the_same_global_batch(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = tmp_path / "images.npz"
    # The synthetic set is above max_resident_bytes, so one process decodes it for both.
    np.savez(
        images,
        synthetic=rng.integers(0, 255, (300, 16, 16)).astype(np.uint8),
        real=rng.integers(60, 200, (50, 16, 16)).astype(np.uint8),
        one_of_three=rng.integers(0, 3, 300),
    )
    # Classes: a regression's absolute error has gradients that jump, which small steps do not damp.
    task = 'kind = "classification"\nlabels = "images.npz:one_of_three"\n'
    images.with_name("task.toml").write_text(task)
    one, two = train(images, tmp_path / "one", 1), train(images, tmp_path / "two", 2)
    alone, together = last_state(one), last_state(two)
    for network in ("refiner", "discriminator", "ema"):
        for name, weight in alone[network].items():
            difference = (together[network][name] - weight).abs().max().item()
            assert difference <= TOLERANCE, f"{network}/{name}"
    torch.testing.assert_close(
        together["history"]["images"], alone["history"]["images"], rtol=0, atol=TOLERANCE
    )
    for name in ("refiner_loss", "discriminator_loss", "accuracy_on_refined", "mean_absolute_change_levels"):
        assert last_line(two)[name] == pytest.approx(last_line(one)[name], rel=1e-3), name
    assert (two / "cache" / "synthetic.npy").exists()
