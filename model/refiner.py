"""The refiner R: a fully convolutional residual network that works pixel by pixel (paper, section 3.1)."""

from typing import Annotated, Any, Literal

import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, NonNegativeInt, PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from model.card import NO_NOISE, NoiseSpec


def _odd(size: int) -> int:
    if size % 2 == 0:
        raise ValueError(f"a kernel of {size} px has no centre pixel; use an odd size")
    return size


KernelSize = Annotated[PositiveInt, AfterValidator(_odd)]


class RefinerConfig(BaseModel):
    """The shape of a refiner. The defaults are the paper's for gaze; for hands it has 10 blocks of 7 px."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    channels: PositiveInt = 1
    """Image channels, in and out."""
    width: PositiveInt = 64
    """Channels of every hidden layer."""
    blocks: PositiveInt = 4
    """Residual blocks of two convolutions each."""
    kernel_size: KernelSize = 3
    """Kernel inside the blocks, px."""
    first_kernel_size: KernelSize = 3
    """Kernel of the first convolution, px."""
    grid: PositiveInt = 1
    """Side of the squares of pixels, px, that become one place with grid² times as many channels before the
    convolutions and squares again after them: grid² times fewer places for the same hidden layers. 1: the
    paper's. Kernels then count squares, not pixels."""
    head_width: NonNegativeInt = 0
    """Hidden channels of one 3×3 layer on single pixels, which sees image, pixel noise and what comes back
    from the squares: it draws grain and smooths the borders between squares. 0: none, as in the paper."""
    padding: Literal["zeros", "replicate"] = "zeros"
    """What convolutions see outside the image: zeros, as in the paper, or its edge pixels again, which keeps
    them from drawing a frame along its borders."""
    output: Literal["tanh", "residual"] = "tanh"
    """`tanh`: the paper's. `residual`: the image plus what the network adds, clamped to the image range."""
    noise: NoiseSpec = NO_NOISE
    """Noise channels beside the image; none in the paper."""

    @property
    def receptive_field(self) -> int:
        """Side of the square of input pixels that one output pixel depends on, px."""
        return 2 * self.receptive_field_radius + 1

    @property
    def receptive_field_radius(self) -> int:
        """How far an output pixel sees in each direction, px; the halo that makes tiling exact.

        With a grid of its own, only tiles that begin at a multiple of `grid` see what the image saw.
        """
        squares = self.first_kernel_size // 2 + 2 * self.blocks * (self.kernel_size // 2)
        return squares * self.grid + self.grid - 1 + (self.head_width > 0)

    @property
    def inner_channels(self) -> int:
        """Of the first convolution: image and pixel noise of a whole square, one value of all else."""
        slow = self.noise.smooth_channels + self.noise.image_channels
        return (self.channels + self.noise.pixel_channels) * self.grid**2 + slow


class Refiner(nn.Module):
    """R_θ of the paper: conv, ReLU, residual blocks, conv 1×1. No stride, no pooling, no normalisation.

    Convolutions pad, so height and width stay. A refiner of your own may subclass this one, if its
    `config` tells the truth about channels, noise and receptive field; export checks that with
    `model.locality.require_local`. Weights start as PyTorch draws them: its small variance keeps a deep
    stack of unnormalised residual blocks near the identity; He's doubles the variance in every block.
    """

    folding: Tensor

    def __init__(self, config: RefinerConfig) -> None:
        super().__init__()
        self.config = config
        self.first = nn.Conv2d(
            config.inner_channels,
            config.width,
            config.first_kernel_size,
            padding=config.first_kernel_size // 2,
            padding_mode=config.padding,
        )
        self.register_buffer("folding", _folding(config), persistent=False)
        self.blocks = nn.Sequential(
            *(_Block(config.width, config.kernel_size, config.padding) for _ in range(config.blocks))
        )
        self.head = _Head(config) if config.head_width else None
        behind, times = (config.head_width, 1) if config.head_width else (config.width, config.grid**2)
        self.last = nn.Conv2d(behind, config.channels * times, kernel_size=1)
        if config.output == "residual":
            nn.init.zeros_(self.last.weight)
            nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]  # this convolution has a bias

    def forward(self, image: Tensor, noise: Tensor | None = None) -> Tensor:
        """Refine a batch.

        image: float [N, C, H, W] in [-1, 1]. noise: float [N, K, H, W] ~ N(0, 1), exactly when the config
        asks for K > 0 channels. Returns refined, float [N, C, H, W] in [-1, 1], the same in train and eval
        mode.
        """
        pixels = self._with_noise(image, noise)
        features = self.blocks(torch.relu(self.first(self._squares(pixels))))
        if self.head is None:
            change = unfold(self.last(features), self.config.grid, *image.shape[2:])
        else:
            change = self.last(self.head(pixels, features))
        if self.config.output == "tanh":
            return torch.tanh(change)
        return clamp_to_range(image + change)

    def _with_noise(self, image: Tensor, noise: Tensor | None) -> Tensor:
        expected = self.config.noise.channels
        if (noise is None) != (expected == 0):
            given = "none" if noise is None else f"{noise.shape[1]}"
            raise ValueError(f"the refiner takes {expected} noise channels, but was given {given}")
        return image if noise is None else torch.cat([image, noise], dim=1)

    def _squares(self, pixels: Tensor) -> Tensor:
        """From [N, C + K, H, W] to `inner_channels` of every square; edges fill up the last ones."""
        grid = self.config.grid
        if grid == 1:
            return pixels
        pixels = F.pad(pixels, (0, grid - 1, 0, grid - 1), mode="replicate")
        return F.conv2d(pixels, self.folding, stride=grid)  # whole squares only; what is left was padding


class _Head(nn.Module):
    """ReLU(conv 3×3) over single pixels: the fine inputs, and half as many channels as it has, unfolded."""

    def __init__(self, config: RefinerConfig) -> None:
        super().__init__()
        self.grid = config.grid
        self.fine = config.channels + config.noise.pixel_channels
        unfolded = -(-config.head_width // 2)
        self.lift = nn.Conv2d(config.width, unfolded * config.grid**2, kernel_size=1)
        self.inner = nn.Conv2d(
            self.fine + unfolded, config.head_width, 3, padding=1, padding_mode=config.padding
        )

    def forward(self, pixels: Tensor, features: Tensor) -> Tensor:
        coarse = unfold(self.lift(features), self.grid, *pixels.shape[2:])
        return torch.relu(self.inner(torch.cat([pixels[:, : self.fine], coarse], dim=1)))


def unfold(squares: Tensor, grid: int, height: int, width: int) -> Tensor:
    """From [N, C grid², h, w] to [N, C, H, W]; what the last squares have beyond the image is cut off."""
    return squares if grid == 1 else F.pixel_shuffle(squares, grid)[:, :, :height, :width]


def _folding(config: RefinerConfig) -> Tensor:
    """Weights [inner_channels, C + K, grid, grid], one 1 in each filter, that gather a square's values.

    A convolution, because a reshape needs sides that are multiples of the grid, and a graph for images of all
    sizes cannot promise that.
    """
    grid = config.grid
    fine = (config.channels + config.noise.pixel_channels) * grid**2
    weights = torch.zeros(config.inner_channels, config.channels + config.noise.channels, grid, grid)
    for index in range(config.inner_channels):
        channel, place = divmod(index, grid**2) if index < fine else (index - fine + fine // grid**2, 0)
        weights[index, channel, place // grid, place % grid] = 1.0
    return weights


class _Block(nn.Module):
    """ReLU(x + conv(ReLU(conv(x))))."""

    def __init__(self, width: int, kernel_size: int, padding: Literal["zeros", "replicate"]) -> None:
        super().__init__()
        around = kernel_size // 2
        self.inner = nn.Conv2d(width, width, kernel_size, padding=around, padding_mode=padding)
        self.outer = nn.Conv2d(width, width, kernel_size, padding=around, padding_mode=padding)

    def forward(self, features: Tensor) -> Tensor:
        return torch.relu(features + self.outer(torch.relu(self.inner(features))))


def clamp_to_range(value: Tensor) -> Tensor:
    """Clamp to [-1, 1]; outside, only a gradient that leads back inside passes.

    A plain clamp gives a saturated pixel no gradient at all, so it could never come back; a straight-through
    one lets it drift away without bound, because no loss sees the drift.
    """
    if not (torch.is_grad_enabled() and value.requires_grad):
        return value.clamp(-1.0, 1.0)
    clamped: Tensor = _InwardClamp.apply(value)  # type: ignore[no-untyped-call]
    return clamped


class _InwardClamp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        ctx.save_for_backward(value)
        return value.clamp(-1.0, 1.0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (value,) = ctx.saved_tensors
        outward = ((value > 1.0) & (gradient < 0.0)) | ((value < -1.0) & (gradient > 0.0))
        return gradient.masked_fill(outward, 0.0)
