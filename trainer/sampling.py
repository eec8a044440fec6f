"""Owns every random choice of a run: each is a pure function of (seed, stream, update), so none is saved."""

import hashlib
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.card import NoiseSpec
from model.noise import SMOOTH_PX, interpolation

Stream = Literal[
    "weights",
    "history",
    "refiner/synthetic",
    "refiner/noise",
    "discriminator/synthetic",
    "discriminator/noise",
    "discriminator/real",
    "validation/synthetic",
    "validation/real",
    "validation/floor",
    "balance/synthetic",
    "balance/real",
    "looks/real",
    "labels/rows",
    "labels/synthetic",
    "labels/noise",
    "labels/moves",
    "refiner/views",
    "views/refined",
    "views/real",
    "grid/synthetic",
    "grid/real",
    "int8/images",
    "judge",
    "judge/order",
    "judge/augmentation",
    "realism/images",
    "realism/subsets",
    "realism/directions",
    "realism/features",
    "usefulness/images",
    "usefulness/weights",
    "usefulness/order",
    "usefulness/augmentation",
    "usefulness/halves",
    "usefulness/harmless",
]


def stream_seed(seed: int, stream: Stream, index: int = 0) -> int:
    """A 63-bit seed for one draw: independent streams never share a random number."""
    digest = hashlib.blake2b(f"{seed}/{stream}/{index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(
    seed: int, stream: Stream, index: int = 0, device: torch.device | None = None
) -> torch.Generator:
    """A torch generator for one draw, on `device` (CPU unless told)."""
    return torch.Generator(device or torch.device("cpu")).manual_seed(stream_seed(seed, stream, index))


def draw_noise(spec: NoiseSpec, size: tuple[int, int, int], source: torch.Generator) -> Tensor | None:
    """N(0, 1) for a batch of `size` (N, H, W): float32 [N, K, H, W] where `source` lives; None when K is 0.

    First the pixel channels, then the smooth ones, then the image channels, each constant over its image: the
    order of model.noise.
    """
    if spec.channels == 0:
        return None
    count, height, width = size
    pixel, image = (count, spec.pixel_channels, height, width), (count, spec.image_channels, 1, 1)
    per_pixel = torch.randn(pixel, generator=source, device=source.device)
    per_image = torch.randn(image, generator=source, device=source.device)
    parts = [per_pixel, per_image.expand(-1, -1, height, width)]
    if spec.smooth_channels:
        parts.insert(1, _smooth_noise(spec.smooth_channels, size, source))
    return torch.cat(parts, dim=1)


def _smooth_noise(channels: int, size: tuple[int, int, int], source: torch.Generator) -> Tensor:
    """Smooth channels [N, channels, H, W] of a window anywhere in a larger image."""
    count, height, width = size
    top, left = torch.randint(SMOOTH_PX, (2,), generator=source, device=source.device).tolist()
    down, across = (
        torch.from_numpy(interpolation(*side)).to(source.device) for side in ((height, top), (width, left))
    )
    shape = (count, channels, down.shape[1], across.shape[1])
    return down @ torch.randn(shape, generator=source, device=source.device) @ across.T


@dataclass
class Sampler:
    """Draws minibatches of `count` images: epochs without replacement, each in an order of its own."""

    seed: int
    stream: Stream
    count: int
    _orders: dict[int, NDArray[np.int64]] = field(default_factory=dict)

    def indices(self, update: int, batch_size: int) -> NDArray[np.int64]:
        """Images of minibatch number `update` (0, 1, …) for `batch_size` ≤ count: int64 [batch_size].

        A minibatch that reaches over the end of an epoch goes on in the next one.
        """
        assert batch_size <= self.count
        first = update * batch_size
        epoch, start = divmod(first, self.count)
        head = self._order(epoch)[start : start + batch_size]
        missing = batch_size - len(head)
        return np.concatenate([head, self._order(epoch + 1)[:missing]]) if missing else head

    def _order(self, epoch: int) -> NDArray[np.int64]:
        if epoch not in self._orders:
            self._orders = {known: order for known, order in self._orders.items() if known == epoch - 1}
            rng = np.random.default_rng(stream_seed(self.seed, self.stream, epoch))
            self._orders[epoch] = rng.permutation(self.count)
        return self._orders[epoch]


def draw_windows(
    seed: int, stream: Stream, update: int, count: int, room: tuple[int, int]
) -> NDArray[np.int64]:
    """Top-left corners of `count` random windows, int64 [count, 2], uniform in [0, room] both ways."""
    rng = np.random.default_rng(stream_seed(seed, stream, update) ^ 0x5DEECE66D)
    return rng.integers(0, np.array(room) + 1, size=(count, 2))
