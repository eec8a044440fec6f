"""Owns what no label minds: the same images under other light, slightly out of focus, with grain.

An estimator changes its answers a little even then. How much says what of a change after refinement is the
estimator's own unsteadiness and not the content's.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trainer.evaluation.usefulness.augmentation import blur
from trainer.samples import fitting_at_once
from trainer.sampling import stream_seed
from trainer.sources import Images

GAMMA = (0.75, 1.33)
CONTRAST = (0.6, 1.0)
FALL_OFF = 0.1
"""Of the range, from the middle of the image to its side."""
BLUR_SIGMA_PX = 0.7
GRAIN = 4 / 255
"""Standard deviation, of the range."""
AT_ONCE = 256
MOST_PIXELS_AT_ONCE = AT_ONCE * 128 * 128


def seen_otherwise(images: Images, seed: int) -> Images:
    """Grey levels [N, H, W, C] → the same content in another exposure and contrast, with light that falls off
    to a side, a blur of 0.7 px and grain of 4 levels of 255; another for every image, the same for a seed.
    """
    rng = np.random.default_rng(stream_seed(seed, "usefulness/harmless"))
    peak = int(np.iinfo(images.dtype).max)
    seen = np.empty_like(images)
    at_once = fitting_at_once(images, AT_ONCE, MOST_PIXELS_AT_ONCE)
    for start in range(0, len(images), at_once):
        part = slice(start, start + at_once)
        levels = np.round(_seen(images[part].astype(np.float32) / peak, rng) * peak)
        seen[part] = np.clip(levels, 0, peak).astype(images.dtype)
    return seen


def _seen(images: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """float32 [N, H, W, C] in [0, 1], likewise."""
    count, height, width, _ = images.shape

    def each(low: float, high: float) -> NDArray[Any]:
        return rng.uniform(low, high, (count, 1, 1, 1)).astype(np.float32)

    images = images ** np.exp(each(*np.log(GAMMA)))
    contrast = each(*CONTRAST)
    images = images * contrast + each(0.0, 1.0) * (1.0 - contrast)
    down = np.linspace(-1, 1, height, dtype=np.float32)[:, None, None]
    across = np.linspace(-1, 1, width, dtype=np.float32)[:, None]
    images = images + each(-FALL_OFF, FALL_OFF) * down + each(-FALL_OFF, FALL_OFF) * across
    planes = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    soft: NDArray[Any] = blur(planes, BLUR_SIGMA_PX).numpy().transpose(0, 2, 3, 1)
    grain: NDArray[np.float32] = rng.standard_normal(images.shape, np.float32)
    return np.asarray(soft + GRAIN * grain, np.float32)
