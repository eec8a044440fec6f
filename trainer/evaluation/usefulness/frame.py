"""Owns the frame in which estimators look at images: as they are, or averaged down by a whole factor."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from trainer.samples import fitting_at_once
from trainer.sources import Images

AT_ONCE = 512
MOST_PIXELS_AT_ONCE = AT_ONCE * 128 * 128


@dataclass(frozen=True)
class Frame:
    """Size of the images that an estimator sees, and how many px of the original lie in one px of it."""

    channels: int
    height: int
    width: int
    factor: int

    @staticmethod
    def of(images: Images, most_side: int) -> "Frame":
        """The frame for images [N, H, W, C]."""
        height, width, channels = images.shape[1:]
        factor = -(-max(height, width) // most_side)
        return Frame(channels, -(-height // factor), -(-width // factor), factor)

    def take(self, images: Images) -> Tensor:
        """Grey levels [N, H, W, C] → [N, C, h, w]; uint8 as they are, else float32 in [0, 1]."""
        peak = float(np.iinfo(images.dtype).max)
        if self.factor == 1 and images.dtype == np.uint8:
            return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
        parts = []
        at_once = fitting_at_once(images, AT_ONCE, MOST_PIXELS_AT_ONCE)
        for start in range(0, len(images), at_once):
            part = images[start : start + at_once].astype(np.float32).transpose(0, 3, 1, 2)
            pixels = torch.from_numpy(np.ascontiguousarray(part)) / peak
            if self.factor > 1:
                pixels = nn.functional.avg_pool2d(
                    pixels, self.factor, ceil_mode=True, count_include_pad=False
                )
            parts.append((pixels * 255).round().to(torch.uint8) if images.dtype == np.uint8 else pixels)
        return torch.cat(parts)


def to_float(images: Tensor, device: torch.device) -> Tensor:
    """What `Frame.take` gave, as float32 in [0, 1] on the device."""
    images = images.to(device)
    scaled = images.float() / 255.0 if images.dtype == torch.uint8 else images
    return scaled.contiguous(memory_format=torch.channels_last)
