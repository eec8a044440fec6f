"""Owns minibatches: which images, which windows of them, and their scale on the device."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.sampling import Sampler, draw_windows
from trainer.sources import Images


def to_unit_range(images: Images, peak: int, device: torch.device) -> Tensor:
    """Grey levels [N, H, W, C] to float32 [N, C, H, W] in [-1, 1], channels last in memory.

    The scale of export: levels / (peak / 2) - 1, `peak` being 255 or 65535.
    """
    batch = torch.from_numpy(np.require(images, requirements=["C", "W"]))
    if device.type == "cuda":
        batch = batch.pin_memory().to(device, non_blocking=True)
    return (batch.to(torch.float32) / (peak / 2.0) - 1.0).permute(0, 3, 1, 2)


def to_grey_levels(images: Tensor, peak: int) -> Images:
    """Float [N, C, H, W] in [-1, 1] to grey levels [N, H, W, C], rounded half to even as in export."""
    levels = ((images.float() + 1.0) * (peak / 2.0)).clamp(0, peak).round()
    rows = levels.permute(0, 2, 3, 1).cpu().numpy()
    return rows.astype(np.uint8 if peak == 255 else np.uint16)


@dataclass(frozen=True)
class Batches:
    """Cuts one set into minibatches; the global one does not depend on the number of processes."""

    images: Images
    sampler: Sampler
    window: tuple[int, int]
    batch_size: int
    peak: int
    shard: slice
    device: torch.device

    def rows(self, update: int) -> NDArray[np.int64]:
        """Which images this process's share of minibatch `update` holds."""
        return self.sampler.indices(update, self.batch_size)[self.shard]

    def draw(self, update: int) -> Tensor:
        """This process's share of minibatch `update`: float32 [n, C, H, W] in [-1, 1] on the device."""
        chosen = self.rows(update)
        room = (self.images.shape[1] - self.window[0], self.images.shape[2] - self.window[1])
        if room == (0, 0):
            return to_unit_range(self.images[chosen], self.peak, self.device)
        corners = draw_windows(self.sampler.seed, self.sampler.stream, update, self.batch_size, room)
        return to_unit_range(self._cut(chosen, corners[self.shard]), self.peak, self.device)

    def _cut(self, chosen: NDArray[np.int64], corners: NDArray[np.int64]) -> Images:
        height, width = self.window
        return np.stack(
            [
                self.images[index, top : top + height, left : left + width]
                for index, (top, left) in zip(chosen, corners, strict=True)
            ]
        )
