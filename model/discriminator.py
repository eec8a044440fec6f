"""The discriminator D: one answer for every patch of the image (paper, section 2.2), or one for all of it."""

from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from model.refiner import KernelSize

REAL, REFINED = 0, 1
"""The two classes of a logit map's second axis; D is the probability of REFINED (paper, Eq. 2)."""
DETAIL_GAIN = 8.0
"""Makes grain of four grey levels as large as a step of thirty."""


class ConvLayer(BaseModel):
    """A convolution with zero padding of half its kernel, then the non-linearity."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["conv"] = "conv"
    channels: PositiveInt
    kernel_size: KernelSize
    stride: PositiveInt = 1


class PoolLayer(BaseModel):
    """A maximum over a window, padded by half of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["pool"] = "pool"
    kernel_size: KernelSize
    stride: PositiveInt = 1


class MeanLayer(BaseModel):
    """The mean of every feature over the whole image: what follows judges the image, not its patches."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["mean"] = "mean"


AnyLayer = ConvLayer | PoolLayer | MeanLayer
Layer = Annotated[AnyLayer, Field(discriminator="kind")]

GAZE_LAYERS: tuple[ConvLayer | PoolLayer, ...] = (
    ConvLayer(channels=96, kernel_size=3, stride=2),
    ConvLayer(channels=64, kernel_size=3, stride=2),
    PoolLayer(kernel_size=3, stride=1),
    ConvLayer(channels=32, kernel_size=3),
    ConvLayer(channels=32, kernel_size=1),
)
"""The paper's gaze discriminator without its answer; receptive field 23 px."""

HAND_LAYERS: tuple[ConvLayer | PoolLayer, ...] = (
    ConvLayer(channels=96, kernel_size=7, stride=4),
    ConvLayer(channels=64, kernel_size=5, stride=2),
    PoolLayer(kernel_size=3, stride=2),
    ConvLayer(channels=32, kernel_size=3, stride=2),
    ConvLayer(channels=32, kernel_size=1),
)
"""The paper's hand discriminator without its answer; receptive field 71 px."""

DEFAULT_LAYERS: tuple[ConvLayer | PoolLayer, ...] = (
    ConvLayer(channels=32, kernel_size=3),
    ConvLayer(channels=64, kernel_size=3, stride=2),
    ConvLayer(channels=64, kernel_size=3),
    ConvLayer(channels=64, kernel_size=3),
    ConvLayer(channels=32, kernel_size=1),
)
"""Ours: 13 px, too little to see which objects an image shows, so that D judges how they look. The first
layer keeps the full resolution: grain shows there, and a stride in it would print its grid on the images."""

WIDE_LAYERS: tuple[ConvLayer | PoolLayer, ...] = (
    ConvLayer(channels=32, kernel_size=3),
    ConvLayer(channels=64, kernel_size=3, stride=2),
    ConvLayer(channels=64, kernel_size=3),
    ConvLayer(channels=96, kernel_size=3, stride=2),
    ConvLayer(channels=96, kernel_size=3),
    ConvLayer(channels=32, kernel_size=1),
)
"""Of a wide discriminator beside ours: 21 px, enough to see shapes, texture inside them, halos and haze."""

GLOBAL_LAYERS: tuple[AnyLayer, ...] = (*DEFAULT_LAYERS[:-1], MeanLayer(), DEFAULT_LAYERS[-1])
"""Ours with the mean over the image before the last layer: the very weights of DEFAULT_LAYERS, but one answer
per image, for the paper's ablation (section 3.3). There a fully connected layer judges the image; a mean
takes images of any size. The hidden layer behind it combines features of the whole image; without one, the
answer would be no more than the mean of the patches' answers."""


class DiscriminatorConfig(BaseModel):
    """The shape of a discriminator. Its answer, a convolution 1×1 to two logits, needs no layer here."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    channels: PositiveInt = 1
    """Image channels."""
    layers: Annotated[tuple[Layer, ...], Field(min_length=1)] = DEFAULT_LAYERS
    negative_slope: NonNegativeFloat = 0.0
    """Slope of the non-linearity below zero; 0 is the paper's ReLU."""
    high_pass: bool = False
    """Show it the fine detail of the image a second time, enlarged: see `fine_detail`."""
    spectral_norm: bool = False
    """Divide every convolution by its largest singular value (Miyato et al. 2018)."""

    @property
    def receptive_field(self) -> int | None:
        """Side of the square of input pixels that one logit depends on, px; None: it sees the whole image."""
        side, jump = 3 if self.high_pass else 1, 1
        for layer in self.layers:
            if isinstance(layer, MeanLayer):
                return None
            side += (layer.kernel_size - 1) * jump
            jump *= layer.stride
        return side

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the logit map, in patches, for an image of this height and width in px."""
        for layer in self.layers:
            if isinstance(layer, MeanLayer):
                height, width = 1, 1
                continue
            height = (height - 1) // layer.stride + 1
            width = (width - 1) // layer.stride + 1
        return height, width


class LocalDiscriminator(nn.Module):
    """D_φ of the paper, before its softmax."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        stages: list[nn.Module] = []
        channels = config.channels * (2 if config.high_pass else 1)
        for layer in config.layers:
            stages.append(_stage(layer, channels, config))
            channels = layer.channels if isinstance(layer, ConvLayer) else channels
        self.stages = nn.Sequential(*stages)
        self.answer = _convolution(channels, ConvLayer(channels=2, kernel_size=1), config)

    def forward(self, image: Tensor) -> Tensor:
        """Judge every patch.

        image: float [N, C, H, W] in [-1, 1]. Returns logits, float [N, 2, h, w]: axis 1 is (REAL, REFINED),
        h × w is `config.output_size(H, W)`. No non-linearity follows the last convolution.
        """
        if self.config.high_pass:
            image = torch.cat([image, fine_detail(image)], dim=1)
        logits: Tensor = self.answer(self.stages(image))
        return logits


def fine_detail(image: Tensor) -> Tensor:
    """What a binomial blur of 3x3 px takes away, times DETAIL_GAIN: [N, C, H, W]; edge pixels repeat outside.

    Grain of a few grey levels is a hundredth of the image's range: a network that must also see exposure
    learns it last, if at all, and then its refiner never learns to draw it. In float32 even under autocast,
    whose rounding is half a grey level.
    """
    with torch.autocast(image.device.type, enabled=False):
        exact = image.float() if image.dtype in (torch.bfloat16, torch.float16) else image
        padded = functional.pad(exact, [1] * 4, mode="replicate")
        across = padded[..., :-2] + 2 * padded[..., 1:-1] + padded[..., 2:]
        smooth = (across[..., :-2, :] + 2 * across[..., 1:-1, :] + across[..., 2:, :]) / 16
        return DETAIL_GAIN * (exact - smooth)


def evidence_of_refined(logits: Tensor) -> Tensor:
    """The logit of D, [N, h, w]: positive where a patch looks refined, from logits [N, 2, h, w]."""
    if logits.ndim != 4 or logits.shape[1] != 2:
        raise ValueError(f"logits must be [N, 2, h, w] with the classes on axis 1, not {list(logits.shape)}")
    return logits[:, REFINED] - logits[:, REAL]


def _stage(layer: AnyLayer, channels: int, config: DiscriminatorConfig) -> nn.Module:
    if isinstance(layer, MeanLayer):
        return nn.AdaptiveAvgPool2d(1)
    if isinstance(layer, PoolLayer):
        return nn.MaxPool2d(layer.kernel_size, layer.stride, padding=layer.kernel_size // 2)
    return nn.Sequential(_convolution(channels, layer, config), nn.LeakyReLU(config.negative_slope))


def _convolution(channels: int, layer: ConvLayer, config: DiscriminatorConfig) -> nn.Module:
    convolution = nn.Conv2d(
        channels, layer.channels, layer.kernel_size, layer.stride, padding=layer.kernel_size // 2
    )
    return spectral_norm(convolution) if config.spectral_norm else convolution
