"""Views: how images are shown to the discriminator, so that it cannot learn few real ones by heart.

Real and refined images alike are now and then mirrored, turned, brightened, darkened, stretched in contrast,
at random, and the gradient goes back through that to the refiner (Zhao et al. 2020). Most are shown as they
are, so that nothing of it gets into the refined images (Karras et al. 2020). Not part of the paper.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

GAIN_SPREAD: Final = 0.2
"""Standard deviation of the logarithm of the gain around an image's mean."""
OFFSET_SPREAD: Final = 0.1
"""Of what is added to all values, in units of [-1, 1]: 13 grey levels."""
_TURNS: Final = 8


@dataclass(frozen=True, eq=False)
class Views:
    """One view for each image of a batch."""

    turns: Tensor
    """int64 [N] on the CPU: 0 to 7, quarter turns plus 4 where the image is mirrored as well; 0 is none."""
    gains: Tensor
    """float32 [N], 1 for none."""
    offsets: Tensor
    """float32 [N], 0 for none."""

    def __getitem__(self, share: slice) -> Views:
        """Those of a part of the batch."""
        return Views(self.turns[share], self.gains[share], self.offsets[share])

    def show(self, images: Tensor) -> Tensor:
        """Images [N, C, H, W] as they are seen, with gradient; turned by quarters only where H equals W."""
        seen = self._turned(images)
        gains, offsets = (
            values.to(images.device, non_blocking=True)[:, None, None, None]
            for values in (self.gains, self.offsets)
        )
        means = seen.mean(dim=(1, 2, 3), keepdim=True)
        return seen * gains + means * (1.0 - gains) + offsets

    def _turned(self, images: Tensor) -> Tensor:
        square = images.shape[2] == images.shape[3]
        turns = self.turns if square else self.turns & ~1
        order = turns.argsort(stable=True)
        parts = torch.split(images[order.to(images.device)], turns.bincount(minlength=_TURNS).tolist())
        turned = torch.cat([_turn(part, turn) for turn, part in enumerate(parts) if len(part)])
        return turned[order.argsort().to(images.device)]


def draw_views(count: int, probability: float, source: torch.Generator) -> Views:
    """Views for `count` images; each of the three changes happens with this probability."""
    changes = torch.rand(3, count, generator=source) < probability
    turns = torch.randint(1, _TURNS, (count,), generator=source)
    gains, offsets = torch.randn(2, count, generator=source)
    return Views(
        torch.where(changes[0], turns, 0),
        torch.where(changes[1], (GAIN_SPREAD * gains).exp(), 1.0),
        torch.where(changes[2], OFFSET_SPREAD * offsets, 0.0),
    )


def _turn(images: Tensor, turn: int) -> Tensor:
    quarters, mirrored = turn % 4, turn >= _TURNS // 2
    return torch.rot90(images.flip(3) if mirrored else images, quarters, (2, 3))
