"""The noise reader: reads the image noise back out of a refined image, so that the refiner has to use it.

A refiner that is only asked to look real may ignore its noise, and then gives one look to all images of a
kind. Rewarding it for noise that can be read back (the latent regression of InfoGAN, Chen et al. 2016, and
BicycleGAN, Zhu et al. 2017) makes every number of the noise a visible part of the look: exposure, contrast,
sharpness, whatever real images vary in and the discriminator therefore lets pass. Not part of the paper.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

_WIDTHS = (16, 32)


class NoiseReader(nn.Module):
    """Two strided convolutions, the mean over the image, two linear layers: it sees looks, not places."""

    def __init__(self, channels: int, image_channels: int) -> None:
        """For images of `channels` channels refined with `image_channels` >= 1 numbers per image."""
        super().__init__()
        assert image_channels >= 1, image_channels
        first, second = _WIDTHS
        self.stages = nn.Sequential(
            nn.Conv2d(channels, first, 3, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(first, second, 3, stride=2, padding=1),
            nn.LeakyReLU(0.2),
        )
        self.answer = nn.Sequential(
            nn.Linear(second, second), nn.LeakyReLU(0.2), nn.Linear(second, image_channels)
        )

    def forward(self, refined: Tensor) -> Tensor:
        """The noise each image [N, C, H, W] in [-1, 1] was refined with, as read: [N, image_channels]."""
        answer: Tensor = self.answer(self.stages(refined).mean(dim=(2, 3)))
        return answer


def noise_recovery_loss(read: Tensor, noise: Tensor) -> Tensor:
    """Mean squared error of the noise as read, [N, K'], a float32 scalar; 1 for a reader that always says 0.

    noise: what the refiner got, [N, K, H, W] ~ N(0, 1), its last K' channels constant over each image.
    """
    truth = noise[:, -read.shape[1] :, 0, 0]
    return functional.mse_loss(read.float(), truth.float())


def make_noise_reader(channels: int, image_channels: int, weight: float) -> NoiseReader | None:
    """A reader where there is something to read and a reward for it, else None."""
    if weight == 0 or image_channels == 0:
        return None
    return NoiseReader(channels, image_channels).to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]
