"""Colour images, in the precision that processors take by themselves."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

pytestmark = pytest.mark.train
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("size", "told"), [((32, 32), "32x32 px"), ((24, 40), "24x40 px, windows of 24x32 px")]
)
def test_the_default_learns_from_colour_images_in_bf16(
    tmp_path: Path, size: tuple[int, int], told: str
) -> None:
    """In a process of its own, for a grouped convolution of torch once never came back from this."""
    rng = np.random.default_rng(0)
    synthetic, real = rng.integers(0, 255, (2, 40, *size, 3), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", synthetic=synthetic, real=real // 2)
    given = [f"--{role}={tmp_path}/images.npz:{role}" for role in ("synthetic", "real")]
    quick = ["--steps=4", "--warmup-discriminator-steps=1", "--validate-every=2", "--batch-size=8"]
    command = [sys.executable, "-m", "trainer.cli", "fit", *given, *quick, "--precision=bf16", "--threads=1"]

    done = subprocess.run(
        [*command, f"--runs-root={tmp_path}/runs", "--device=cpu"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert f"40 synthetic and 40 real images, {told}, 3 x 8 bits" in done.stdout + done.stderr
