"""Owns the sample rows of grids and previews: the same synthetic images before and after, and real ones."""

import numpy as np
import torch

from model.noise import noise_fields
from model.refiner import Refiner
from trainer.batches import to_grey_levels, to_unit_range
from trainer.data import TrainingData
from trainer.grid import Row
from trainer.sampling import Stream, draw_windows, stream_seed
from trainer.sources import Images

REFINED_AT_ONCE = 64
MOST_PIXELS_AT_ONCE = REFINED_AT_ONCE * 128 * 128
"""Of large images, fewer are refined at once: a layer has dozens of numbers for every pixel."""


SHOWN_PX = 128
"""Side of what a grid shows of larger images."""


def sample_rows(refiner: Refiner, data: TrainingData, seed: int, columns: int) -> list[Row]:
    """Rows synthetic, refined and real; always the same images for the same seed.

    Whole images, or a good part of them: in the small windows of training nobody knows what is seen.
    """
    size = data.common_part(SHOWN_PX)
    synthetic = draw_images(data.synthetic, size, seed, "grid/synthetic", columns)
    real = draw_images(data.real, size, seed, "grid/real", columns)
    refined = refine_levels(refiner, synthetic, seed)
    return [Row("synthetic", synthetic), Row("refined", refined), Row("real", real)]


def draw_images(images: Images, window: tuple[int, int], seed: int, stream: Stream, count: int) -> Images:
    """`count` different images of a set (fewer if it is smaller), a window each: [n, H, W, C].

    Windows lie anywhere, as in training: what an image shows may lie off its middle.
    """
    rng = np.random.default_rng(stream_seed(seed, stream))
    chosen = np.sort(rng.permutation(len(images))[:count])
    height, width = window
    room = (images.shape[1] - height, images.shape[2] - width)
    places = zip(chosen, draw_windows(seed, stream, 0, len(chosen), room), strict=True)
    return np.stack([images[index, top : top + height, left : left + width] for index, (top, left) in places])


@torch.no_grad()
def refine_levels(refiner: Refiner, images: Images, seed: int) -> Images:
    """Refine grey levels [N, H, W, C] as the exported model does; image i gets the noise of seed + i."""
    peak = int(np.iinfo(images.dtype).max)
    device = next(refiner.parameters()).device
    refined = np.empty_like(images)
    at_once = fitting_at_once(images, REFINED_AT_ONCE, MOST_PIXELS_AT_ONCE)
    for start in range(0, len(images), at_once):
        part = slice(start, start + at_once)
        batch = to_unit_range(images[part], peak, device)
        refined[part] = to_grey_levels(refiner(batch, _noise(refiner, batch, seed + start)), peak)
    return refined


def fitting_at_once(images: Images, most: int, most_pixels: int) -> int:
    """How many images [N, H, W, C] hold at most so many pixels, at least 1 and at most `most`."""
    height, width = map(int, images.shape[1:3])
    return max(1, min(most, most_pixels // (height * width)))


def _noise(refiner: Refiner, batch: torch.Tensor, first_seed: int) -> torch.Tensor | None:
    spec = refiner.config.noise
    if spec.channels == 0:
        return None
    count, _, height, width = batch.shape
    fields = noise_fields(range(first_seed, first_seed + count), height, width, spec)
    return torch.from_numpy(fields).permute(0, 3, 1, 2).to(batch.device)
