"""Owns the preview of a run: one PNG of synthetic, refined and real samples from its newest checkpoint."""

from pathlib import Path

import numpy as np

from trainer.data import TrainingData, common_size
from trainer.disk import write_atomically
from trainer.grid import Row, draw_grid, to_png
from trainer.samples import draw_images, refine_levels
from trainer.sources import Images
from trainer.trained import Trained

COLUMNS = 10
VARIANTS = 3
SEED_STRIDE = 1_000_003


def write_preview(trained: Trained, data: TrainingData, out: Path, strength: float) -> None:
    """Draw the samples; a refiner with noise gets a row for each of several variants of the same images.

    `strength` in [0, 1] mixes synthetic (0) with refined (1), as the service does.
    """
    config = trained.config
    # Whole images as far as both sets go, not the small windows of training.
    window = common_size(data.synthetic, data.real) if config.window == "auto" else data.window
    synthetic = draw_images(data.synthetic, window, config.seed, "grid/synthetic", COLUMNS)
    real = draw_images(data.real, window, config.seed, "grid/real", COLUMNS)
    rows = [Row("synthetic", synthetic)]
    variants = VARIANTS if trained.refiner.config.noise.channels else 1
    for variant in range(variants):
        refined = refine_levels(trained.refiner, synthetic, config.seed + variant * SEED_STRIDE)
        caption = "refined" if variant == 0 else f"variant {variant + 1}"
        rows.append(Row(caption, mix(synthetic, refined, strength)))
    rows.append(Row("real", real))
    png = to_png(draw_grid(rows))
    write_atomically(out, lambda file: file.write(png))


def mix(synthetic: Images, refined: Images, strength: float) -> Images:
    """Synthetic + strength · (refined - synthetic), rounded to grey levels."""
    change = refined.astype(np.float32) - synthetic.astype(np.float32)
    mixed: Images = np.round(synthetic + strength * change).astype(synthetic.dtype)
    return mixed
