"""A second discriminator: which looks there are, and how often. Not part of the paper.

The discriminator of patches asks what each patch looks like. A look that the refiner never draws, a haze over
one image in five, it cannot miss: it only ever sees what is drawn. This one sees images in small groups, and
how much they differ (the minibatch statistics of Karras et al. 2018, section 3; here each feature keeps its
own). It has a network and a loss of its own: where one network was asked both questions, the easier took all
of it, and grain became hatching (EXPERIMENTS.md).
"""

import torch
from torch import Tensor, nn

from model.discriminator import fine_detail

SPREAD_FLOOR = 1e-6
"""Added to variances before the root, whose slope at 0 has no bound."""
_WIDTHS = (16, 32)


class VarietyDiscriminator(nn.Module):
    """Three convolutions, means over the image, their spread over a group, two linear layers."""

    def __init__(self, channels: int, group: int, negative_slope: float) -> None:
        """For images of `channels` channels in groups of `group` >= 2; slope of the non-linearity below 0."""
        super().__init__()
        assert group >= 2, group
        self.group = group
        first, second = _WIDTHS
        self.stages = nn.Sequential(
            nn.Conv2d(2 * channels, first, 3, stride=2, padding=1),
            nn.LeakyReLU(negative_slope),
            nn.Conv2d(first, second, 3, stride=2, padding=1),
            nn.LeakyReLU(negative_slope),
            nn.Conv2d(second, second, 3, padding=1),
            nn.LeakyReLU(negative_slope),
        )
        self.answer = nn.Sequential(
            nn.Linear(2 * second, second), nn.LeakyReLU(negative_slope), nn.Linear(second, 2)
        )

    def forward(self, image: Tensor) -> Tensor:
        """Judge groups of consecutive images: float [N, C, H, W] in [-1, 1], N a multiple of the group.

        Returns logits [N, 2, 1, 1] as the other discriminator gives them, (REAL, REFINED) on axis 1.
        """
        means = self.stages(torch.cat([image, fine_detail(image)], dim=1)).mean(dim=(2, 3)).float()
        logits: Tensor = self.answer(torch.cat([means, variety(means, self.group)], dim=1))
        return logits[:, :, None, None]


def variety(features: Tensor, group: int) -> Tensor:
    """How much images differ: the standard deviation of each feature over `group` consecutive images.

    features: float [N, F], N a multiple of group. Returns [N, F], the same for all images of a group.
    """
    count, width = features.shape
    if count % group:
        raise ValueError(f"{count} images cannot be cut into groups of {group}")
    variance = features.reshape(count // group, group, width).var(dim=1, correction=0)
    return (variance + SPREAD_FLOOR).sqrt().repeat_interleave(group, dim=0)
