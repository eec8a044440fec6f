"""Owns strong augmentation, the opponent that a refiner has to beat: other light, lens, sensor and pose.

Every random number comes from the generator passed in, so an update's augmentation does not depend on
the ones before.
"""

from dataclasses import dataclass, replace
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
MOST_TINT = 0.5
MOST_SHADE = 1.0
MOST_CLUTTER = 0.5
MOST_NOISE = 0.4
MOST_OCCLUDER_LEVEL = 2.5
"""From the tint on in standard deviations of the image, so that a faint one is not drowned."""
RANGE = (1.0, 3.0)
"""Where the sensor saturates, standard deviations from the mean."""
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

    def __getitem__(self, images: slice) -> "Moves":
        """Those of some of the images."""
        return replace(self, matrix=self.matrix[images], offset=self.offset[images])

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

    `largest_occluder` is the side of the largest one as a part of the image's. The result may leave [0, 1];
    brightness and contrast themselves are left alone, because the networks standardise them away.
    """
    images = _expose(images, source)
    images = _occlude(images + _shade(images, source) + _clutter(images, source), largest_occluder, source)
    images = images + _each(images, source, -0.7, 1.0) * (blur(images) - images)
    return _saturate(images + _noise(images, source), source)


def _between(source: torch.Generator, shape: tuple[int, ...], low: float, high: float) -> Tensor:
    return torch.rand(shape, generator=source) * (high - low) + low


def _each(images: Tensor, source: torch.Generator, low: float, high: float, channels: int = 1) -> Tensor:
    return _between(source, (len(images), channels, 1, 1), low, high).to(images.device)


def _expose(images: Tensor, source: torch.Generator) -> Tensor:
    """Gamma; in colour, also a tint."""
    gamma = torch.exp(_each(images, source, -log(MOST_GAMMA), log(MOST_GAMMA)))
    images = images.clamp(1e-4, 1.0).pow(gamma)
    channels = images.shape[1]
    if channels == 1:
        return images
    return images + _contrast(images) * _each(images, source, -MOST_TINT, MOST_TINT, channels)


def _contrast(images: Tensor) -> Tensor:
    """Standard deviation of each image: [N, 1, 1, 1]."""
    return images.std(dim=(1, 2, 3), keepdim=True)


def _shade(images: Tensor, source: torch.Generator) -> Tensor:
    """Light that falls off to one side: [N, 1, H, W] to be added."""
    height, width = images.shape[2:]
    rows = torch.linspace(-1, 1, height, device=images.device)[:, None]
    columns = torch.linspace(-1, 1, width, device=images.device)
    down, across = (_each(images, source, -MOST_SHADE, MOST_SHADE) for _ in range(2))
    return _contrast(images) * (down * rows + across * columns)


def _clutter(images: Tensor, source: torch.Generator) -> Tensor:
    """Soft stains [N, 1, H, W]."""
    coarse = torch.randn((len(images), 1, 4, 4), generator=source).to(images.device)
    soft = nn.functional.interpolate(coarse, images.shape[2:], mode="bilinear", align_corners=False)
    return soft * _contrast(images) * _each(images, source, 0.0, MOST_CLUTTER)


def _occlude(images: Tensor, largest: float, source: torch.Generator) -> Tensor:
    """Flat rectangles, from thin lines to blocks, in half of the images each."""
    _, channels, height, width = images.shape
    middle_level, spread = images.mean(dim=(1, 2, 3), keepdim=True), MOST_OCCLUDER_LEVEL * _contrast(images)
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
        level = middle_level + spread * _each(images, source, -1.0, 1.0, channels)
        images = torch.where(inside & there, level, images)
    return images


def _noise(images: Tensor, source: torch.Generator) -> Tensor:
    """Sensor noise, as fine as the pixels or coarser, of a strength that differs by image."""
    fine = torch.randn(images.shape, generator=source).to(images.device)
    coarse = 2.5 * blur(fine)
    mix = _each(images, source, 0.0, 1.0)
    strength = _contrast(images) * _each(images, source, 0.0, MOST_NOISE)
    return strength * (mix * fine + (1.0 - mix) * coarse)


def _saturate(images: Tensor, source: torch.Generator) -> Tensor:
    mean, contrast = images.mean(dim=(1, 2, 3), keepdim=True), _contrast(images)
    dark, bright = (_each(images, source, *RANGE) * contrast for _ in range(2))
    return torch.minimum(torch.maximum(images, mean - dark), mean + bright)


def blur(images: Tensor, sigma_px: float = BLUR_SIGMA_PX) -> Tensor:
    """Images [N, C, H, W] under a Gaussian of 5x5 px, borders repeated."""
    places = torch.arange(-2, 3, device=images.device, dtype=images.dtype)
    weights = torch.exp(-0.5 * (places / sigma_px) ** 2)
    weights = weights / weights.sum()
    padded = nn.functional.pad(images, (2, 2, 2, 2), mode="replicate")
    height, width = images.shape[2:]
    rows = torch.stack([weights[i] * padded[:, :, i : i + height] for i in range(5)]).sum(0)
    return torch.stack([weights[i] * rows[:, :, :, i : i + width] for i in range(5)]).sum(0)
