"""Owns the estimators' networks: small, on input standardised per image, with group normalisation.

Group normalisation keeps no statistics of the images it was trained on, so a change of style between
training and test does not meet the wrong ones, as it would with batch normalisation.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

FLATTEST = 0.01
"""Standard deviation, of [0, 1], below which an image is not stretched any further."""
SMALL_PIXELS = 1600
WIDTHS = (8, 24, 48, 64)


class Standardise(nn.Module):
    """Mean 0 and standard deviation 1 per image, over all channels together: exposure and contrast go."""

    def forward(self, images: Tensor) -> Tensor:
        """float32 [N, C, H, W] → the same shape."""
        deviation, mean = torch.std_mean(images, dim=(1, 2, 3), keepdim=True)
        return (images - mean) / deviation.clamp(min=FLATTEST)


def block(channels_in: int, channels_out: int, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    """Convolution, group normalisation, ReLU."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, bias=False),
        nn.GroupNorm(max(1, channels_out // 8), channels_out),
        nn.ReLU(inplace=True),
    )


def whole_image_network(channels: int, height: int, width: int, outputs: int, dropout: float) -> nn.Module:
    """One answer [N, outputs] for an image: for classes and for regressions.

    Keeps a grid of 4x4 places, because an answer may depend on where something is.
    """
    small = height * width <= SMALL_PIXELS
    layers: list[nn.Module] = [Standardise()]
    if small:
        layers += [block(channels, 16)]
    else:
        layers += [block(channels, 24, 2, 5)]
        height, width = (height + 1) // 2, (width + 1) // 2
    known = 16 if small else 24
    while min(height, width) > 8:
        wider = min(96, 32 if known < 32 else 2 * known)
        layers += [block(known, wider, 2)]
        known, height, width = wider, (height + 1) // 2, (width + 1) // 2
    layers += [block(known, max(64, known)), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Dropout(dropout)]
    layers += [nn.Linear(16 * max(64, known), outputs)]
    return nn.Sequential(*layers)


class Pyramid(nn.Module):
    """A small U-Net [N, C, H, W] → [N, outputs, ceil(H / stride), ceil(W / stride)], skips added."""

    def __init__(self, channels: int, outputs: int, stride: int) -> None:
        super().__init__()
        assert stride in (1, 2, 4), stride
        self.first = {1: 0, 2: 1, 4: 2}[stride]
        self.standardise = Standardise()
        self.down = nn.ModuleList([block(channels, WIDTHS[0])])
        self.down.extend(block(low, high, 2) for low, high in pairwise(WIDTHS))
        self.deepest = block(WIDTHS[-1], WIDTHS[-1])
        levels = range(self.first, len(WIDTHS) - 1)
        self.narrow = nn.ModuleList([nn.Conv2d(WIDTHS[level + 1], WIDTHS[level], 1) for level in levels])
        self.join = nn.ModuleList([block(WIDTHS[level], WIDTHS[level]) for level in levels])
        self.answer = nn.Conv2d(WIDTHS[self.first], outputs, 1)

    def forward(self, images: Tensor) -> Tensor:
        """float32 in [0, 1]; any size: the borders are repeated up to a multiple of 8."""
        height, width = images.shape[2:]
        padding = (0, -width % 8, 0, -height % 8)
        maps = self.standardise(images)
        if any(padding):
            maps = nn.functional.pad(maps, padding, mode="replicate")
        skips = []
        for down in self.down:
            maps = down(maps)
            skips.append(maps)
        maps = self.deepest(maps)
        for place in reversed(range(len(self.join))):
            maps = nn.functional.interpolate(
                self.narrow[place](maps), scale_factor=2, mode="bilinear", align_corners=False
            )
            maps = self.join[place](maps + skips[self.first + place])
        stride = 1 << self.first
        answer: Tensor = self.answer(maps)
        return answer[:, :, : -(-height // stride), : -(-width // stride)]
