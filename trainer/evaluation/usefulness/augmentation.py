"""Owns strong augmentation, the opponent that a refiner has to beat: other light, lens, sensor and pose.

Every random number comes from the generator passed in, so an update's augmentation does not depend on
the ones before.
"""

from dataclasses import dataclass
from math import log
from typing import Literal

import torch
from torch import Tensor, nn

Freedom = Literal["none", "axes", "all"]
"""Moves that the labels can follow: none, shift and scale along the axes, or also turn and shear."""

MOST_TURN = 0.21
"""Radians: 12 degrees."""
MOST_SHEAR = 0.1
MOST_SCALE = 1.18
MOST_SHIFT = 0.1
"""Of the side."""
MOST_GAMMA = 2.0
MOST_SHADE = 0.5
MOST_CLUTTER = 0.15
MOST_NOISE = 0.1
BLUR_SIGMA_PX = 1.2
OCCLUDERS = 2


@dataclass(frozen=True)
class Moves:
    """An affine map per image: point p of the moved one comes from centre + matrix (p - centre) + offset."""

    matrix: Tensor
    """float32 [N, 2, 2], in x and y."""
    offset: Tensor
    """float32 [N, 2], px."""
    height: int
    width: int

    @property
    def centre(self) -> Tensor:
        """x and y, px."""
        return torch.tensor((self.width / 2, self.height / 2), device=self.matrix.device)

    def points(self, points: Tensor) -> Tensor:
        """Where points [N, K, 2] (x, y, px) of the images lie after the move."""
        inverse = torch.linalg.inv(self.matrix)
        from_centre = points - self.centre - self.offset[:, None]
        moved: Tensor = from_centre @ inverse.transpose(1, 2) + self.centre
        return moved

    def images(self, images: Tensor, mode: str = "bilinear") -> Tensor:
        """Images [N, C, h, w] of the same view at any resolution, moved; borders are repeated."""
        half = torch.tensor((self.width / 2, self.height / 2), device=self.matrix.device)
        theta = torch.cat(
            [
                self.matrix * half[None, None] / half[None, :, None],
                (self.offset / half)[:, :, None],
            ],
            dim=2,
        )
        grid = nn.functional.affine_grid(theta, list(images.shape), align_corners=False)
        return nn.functional.grid_sample(images, grid, mode, "border", align_corners=False)


def draw_moves(images: Tensor, freedom: Freedom, source: torch.Generator) -> Moves | None:
    """Small random moves for images [N, C, H, W]; None where the labels cannot follow any."""
    if freedom == "none":
        return None
    count, _, height, width = images.shape
    limit = log(MOST_SCALE)
    scale = torch.exp(_between(source, (count, 2), -limit, limit))
    turn = _between(source, (count,), -MOST_TURN, MOST_TURN)
    shear = _between(source, (count,), -MOST_SHEAR, MOST_SHEAR)
    shift = _between(source, (count, 2), -MOST_SHIFT, MOST_SHIFT) * torch.tensor((width, height))
    if freedom == "axes":
        turn, shear = torch.zeros(count), torch.zeros(count)
    cosine, sine = torch.cos(turn), torch.sin(turn)
    rotation = torch.stack([torch.stack([cosine, -sine], 1), torch.stack([sine, cosine], 1)], 1)
    slant = torch.eye(2).repeat(count, 1, 1)
    slant[:, 0, 1] = shear
    matrix = rotation @ slant @ torch.diag_embed(scale)
    return Moves(matrix.to(images.device), shift.to(images.device), height, width)


def restyle(images: Tensor, largest_occluder: float, source: torch.Generator) -> Tensor:
    """Images [N, C, H, W] in [0, 1] under other light, behind occluders, through another lens and sensor.

    `largest_occluder` is the side of the largest one as a part of the image's.
    """
    images = _expose(images, source)
    images = _occlude(images * _shade(images, source) + _clutter(images, source), largest_occluder, source)
    images = images + _each(images, source, -0.7, 1.0) * (_blur(images) - images)
    return (images + _noise(images, source)).clamp(0.0, 1.0)


def _between(source: torch.Generator, shape: tuple[int, ...], low: float, high: float) -> Tensor:
    return torch.rand(shape, generator=source) * (high - low) + low


def _each(images: Tensor, source: torch.Generator, low: float, high: float, channels: int = 1) -> Tensor:
    return _between(source, (len(images), channels, 1, 1), low, high).to(images.device)


def _expose(images: Tensor, source: torch.Generator) -> Tensor:
    """Gamma, contrast about the mean, brightness; in colour, also each channel's gain."""
    gamma = torch.exp(_each(images, source, -log(MOST_GAMMA), log(MOST_GAMMA)))
    images = images.clamp(1e-4, 1.0).pow(gamma)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    contrast = torch.exp(_each(images, source, -0.7, 0.4))
    images = (images - mean) * contrast + mean + _each(images, source, -0.2, 0.2)
    channels = images.shape[1]
    return images * _each(images, source, 0.8, 1.2, channels) if channels > 1 else images


def _shade(images: Tensor, source: torch.Generator) -> Tensor:
    """Light that falls off to one side: factors [N, 1, H, W]."""
    height, width = images.shape[2:]
    rows = torch.linspace(-1, 1, height, device=images.device)[:, None]
    columns = torch.linspace(-1, 1, width, device=images.device)
    side = (_each(images, source, -MOST_SHADE, MOST_SHADE) for _ in range(2))
    return 1.0 + next(side) * rows + next(side) * columns


def _clutter(images: Tensor, source: torch.Generator) -> Tensor:
    """Soft stains [N, 1, H, W]."""
    coarse = torch.randn((len(images), 1, 4, 4), generator=source).to(images.device)
    soft = nn.functional.interpolate(coarse, images.shape[2:], mode="bilinear", align_corners=False)
    return soft * _each(images, source, 0.0, MOST_CLUTTER)


def _occlude(images: Tensor, largest: float, source: torch.Generator) -> Tensor:
    """Flat rectangles, from thin lines to blocks, in half of the images each."""
    _, channels, height, width = images.shape
    rows = (torch.arange(height, device=images.device) + 0.5)[None, None, :, None]
    columns = (torch.arange(width, device=images.device) + 0.5)[None, None, None, :]
    for _ in range(OCCLUDERS):
        sides = [
            side * 0.04 * torch.exp(_each(images, source, 0.0, log(largest / 0.04)))
            for side in (height, width)
        ]
        middle = [_each(images, source, 0.0, 1.0) * side for side in (height, width)]
        there = _each(images, source, 0.0, 1.0) < 0.5
        inside = ((rows - middle[0]).abs() < sides[0] / 2) & ((columns - middle[1]).abs() < sides[1] / 2)
        level = _each(images, source, 0.0, 1.0, channels)
        images = torch.where(inside & there, level, images)
    return images


def _noise(images: Tensor, source: torch.Generator) -> Tensor:
    """Sensor noise, as fine as the pixels or coarser, of a strength that differs by image."""
    fine = torch.randn(images.shape, generator=source).to(images.device)
    coarse = 2.5 * _blur(fine)
    mix = _each(images, source, 0.0, 1.0)
    return _each(images, source, 0.0, MOST_NOISE) * (mix * fine + (1.0 - mix) * coarse)


def _blur(images: Tensor) -> Tensor:
    """Gaussian, separable, borders repeated."""
    places = torch.arange(-2, 3, device=images.device, dtype=images.dtype)
    weights = torch.exp(-0.5 * (places / BLUR_SIGMA_PX) ** 2)
    weights = weights / weights.sum()
    padded = nn.functional.pad(images, (2, 2, 2, 2), mode="replicate")
    height, width = images.shape[2:]
    rows = torch.stack([weights[i] * padded[:, :, i : i + height] for i in range(5)]).sum(0)
    return torch.stack([weights[i] * rows[:, :, :, i : i + width] for i in range(5)]).sum(0)
