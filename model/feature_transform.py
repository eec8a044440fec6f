"""The feature transform ψ: the space in which a refined image must stay close to its synthetic one."""

import importlib
import math
from collections.abc import Callable
from typing import Final, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.errors import FeatureTransformError

_STD_FLOOR = 1e-2
"""About one grey level of an 8-bit image in [-1, 1]: below it an image counts as flat."""
_GRAIN_SIGMA = 1.5
"""Blur that takes the grain away before local contrast is measured, px."""
_SURROUND_SIGMAS = (2.5, 6.0)
"""The surroundings of a pixel for local contrast, px: within 5, about a stroke of print, and within 12."""
_RGB: Final = 3
_OPPONENT_WEIGHTS: Final = (3.0, 1.0, 1.0)
"""Of lightness, red-green, blue-yellow: on average over three, lightness counts as much as in grey images."""
_LARGEST_PRODUCT_PX: Final = 256
"""In larger images most of a matrix that sums up a small neighbourhood is zeros."""
_CONTRAST_FLOOR = 0.05
"""ε of local contrast, in [-1, 1]: about 6 grey levels of an 8-bit image, above blurred grain."""


def make_feature_transform(spec: str, channels: int) -> nn.Module:
    """Build ψ from its description, for images of `channels` channels.

    spec: one name, or several joined by `+`, each with an optional weight: `0.5*identity+derivatives`. Names
    are `identity`, `derivatives`, `channel_mean`, `normalised`, `normalised_derivatives`, `local_contrast`
    and `module:path.to.module:factory`, where `factory(channels)` returns an nn.Module [N, C, H, W] → tensor.

    The module maps images [N, C, H, W] in [-1, 1] to a list of tensors, one for each name; it is frozen
    and in eval mode, yet gradients pass through it to the image. Raises FeatureTransformError.
    """
    terms = [_weighted(term.strip(), channels) for term in spec.split("+")]
    transform = _WeightedSum([module for _, module in terms], [weight for weight, _ in terms])
    return transform.eval().requires_grad_(False)


class _WeightedSum(nn.Module):
    """Applies every part and multiplies its features, so that their distances add up with these weights."""

    def __init__(self, parts: list[nn.Module], weights: list[float]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.weights = weights

    def forward(self, image: Tensor) -> list[Tensor]:
        return [weight * part(image) for part, weight in zip(self.parts, self.weights, strict=True)]

    def train(self, mode: bool = True) -> "_WeightedSum":  # noqa: ARG002  # a frozen transform does not learn
        return super().train(mode=False)


class _Derivatives(nn.Module):
    """Differences of horizontal and of vertical neighbours, flat: [N, C·(H·(W−1) + (H−1)·W)]."""

    def forward(self, image: Tensor) -> Tensor:
        horizontal = image[..., :, 1:] - image[..., :, :-1]
        vertical = image[..., 1:, :] - image[..., :-1, :]
        return torch.cat([horizontal.flatten(1), vertical.flatten(1)], dim=1)


class _ChannelMean(nn.Module):
    """Mean over the colour channels, [N, 1, H, W]: colours may change, their mean may not."""

    def forward(self, image: Tensor) -> Tensor:
        return image.mean(dim=1, keepdim=True)


class _Normalised(nn.Module):
    """Every image with mean 0 and standard deviation 1: brightness and contrast may change freely."""

    def forward(self, image: Tensor) -> Tensor:
        centred = image - image.mean(dim=(1, 2, 3), keepdim=True)
        variance = centred.square().mean(dim=(1, 2, 3), keepdim=True)
        return centred / (variance + _STD_FLOOR**2).sqrt()


class _LocalContrast(nn.Module):
    """Slightly blurred pixels relative to small and large surroundings: (b − μ) / √(σ² + ε²), [N, 2·C, H, W].

    b is the image without its grain, μ and σ² are Gaussian-weighted around the pixel. Exposure, shading,
    contrast, grain and a slight blur may change freely as long as structure stands out from ε; fading below
    it, erasing or moving structure may not. The small surroundings hold edges in place, the large ones keep
    what lies between them. Divisive normalisation (Heeger 1992); EXPERIMENTS.md has it in numbers.

    Three channels are red, green and blue and are seen as opponent colours (Hering): how light, how red
    rather than green, how blue rather than yellow. Another light or stain may then give a purple thing more
    blue than the paper around it, which red, green and blue apart forbid; purple may not become brown.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.in_colour = channels == _RGB
        self.without_grain = _Surroundings(_GRAIN_SIGMA)
        self.surroundings = nn.ModuleList(_Surroundings(sigma) for sigma in _SURROUND_SIGMAS)

    def forward(self, image: Tensor) -> Tensor:
        smooth: Tensor = self.without_grain(image)
        if self.in_colour:
            smooth = _opponent_colours(smooth)
        contrasts = [self._contrast(smooth, around) for around in self.surroundings]
        if self.in_colour:
            weights = smooth.new_tensor(_OPPONENT_WEIGHTS)[:, None, None]
            contrasts = [weights * contrast for contrast in contrasts]
        return torch.cat(contrasts, dim=1)

    def _contrast(self, smooth: Tensor, around: nn.Module) -> Tensor:
        centred: Tensor = smooth - around(smooth)
        variance: Tensor = around(centred.square())
        return centred / (variance + _CONTRAST_FLOOR**2).sqrt()


def _opponent_colours(image: Tensor) -> Tensor:
    """Red, green and blue [N, 3, H, W] as lightness, red-green, blue-yellow; greys have the first alone."""
    red, green, blue = image.unbind(dim=1)
    yellow = (red + green) / 2
    return torch.stack([(red + green + blue) / 3, (red - green) / 2, (blue - yellow) / 2], dim=1)


class _Surroundings(nn.Module):
    """The Gaussian-weighted mean around every pixel, [N, C, H, W]; past the border the edge pixels repeat.

    In float32 even under autocast: of a blurred image, small differences matter. Two products of matrices,
    in images that are not large, take a tenth of the time of convolutions that have one channel.
    """

    def __init__(self, sigma: float) -> None:
        super().__init__()
        self.radius = round(2 * sigma)
        reach = torch.arange(-self.radius, self.radius + 1, dtype=torch.float32)
        weights = torch.exp(-0.5 * (reach / sigma).square())
        self.register_buffer("kernel", weights / weights.sum(), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        with torch.autocast(image.device.type, enabled=False):
            exact = image.float() if image.dtype in (torch.bfloat16, torch.float16) else image
            height, width = image.shape[2:]
            if max(height, width) > _LARGEST_PRODUCT_PX:
                return self._convolved(exact)
            return self._bands(height, exact) @ exact @ self._bands(width, exact).T

    def _bands(self, size: int, image: Tensor) -> Tensor:
        """[size, size]: row i weighs the pixels of a line around pixel i; what lies outside, at its ends."""
        unit_lines = torch.eye(size, dtype=image.dtype, device=image.device)[:, None]
        padded = functional.pad(unit_lines, [self.radius] * 2, mode="replicate")
        return functional.conv1d(padded, self._kernel_like(image)[None, None])[:, 0].T

    def _convolved(self, image: Tensor) -> Tensor:
        kernel = self._kernel_like(image)
        padded = functional.pad(apart(image), [self.radius] * 4, mode="replicate")
        rows = functional.conv2d(padded, kernel[None, None, None])
        return functional.conv2d(rows, kernel[None, None, :, None]).reshape(image.shape)

    def _kernel_like(self, image: Tensor) -> Tensor:
        return cast(Tensor, self.kernel).to(image.dtype)


def apart(image: Tensor) -> Tensor:
    """The channels of images [N, C, H, W] as images of their own: [N * C, 1, H, W].

    For a convolution that treats all alike: torch 2.13 does not come back from a grouped one of three
    channels in bfloat16 and channels-last order on a CPU.
    """
    return image.reshape(-1, 1, *image.shape[2:])


_NAMED: Final[dict[str, Callable[[int], nn.Module]]] = {
    "identity": lambda _: nn.Identity(),
    "derivatives": lambda _: _Derivatives(),
    "channel_mean": lambda _: _ChannelMean(),
    "normalised": lambda _: _Normalised(),
    "normalised_derivatives": lambda _: nn.Sequential(_Normalised(), _Derivatives()),
    "local_contrast": _LocalContrast,
}


def _weighted(term: str, channels: int) -> tuple[float, nn.Module]:
    weight, star, name = term.rpartition("*")
    if not star:
        return 1.0, _named(name, channels)
    try:
        value = float(weight)
    except ValueError:
        raise FeatureTransformError(f"{weight!r} in the feature transform {term!r} is not a number") from None
    if not (math.isfinite(value) and value > 0):
        raise FeatureTransformError(f"the weight {weight} in the feature transform {term!r} is not above 0")
    return value, _named(name.strip(), channels)


def _named(name: str, channels: int) -> nn.Module:
    if name in _NAMED:
        return _NAMED[name](channels)
    if name.startswith("module:"):
        return _loaded(name.removeprefix("module:"), channels)
    raise FeatureTransformError(
        f"there is no feature transform {name!r}; use {', '.join(_NAMED)} or module:path.to.module:factory"
    )


def _loaded(place: str, channels: int) -> nn.Module:
    """A module of the user's: `path.to.module:factory`."""
    path, _, factory_name = place.partition(":")
    if not path or not factory_name:
        raise FeatureTransformError(f"module:{place} must read module:path.to.module:factory")
    try:
        factory = getattr(importlib.import_module(path), factory_name)
    except (ImportError, AttributeError) as error:
        raise FeatureTransformError(f"cannot load the feature transform module:{place}: {error}") from error
    transform = factory(channels)
    if not isinstance(transform, nn.Module):
        raise FeatureTransformError(f"module:{place} returned a {type(transform).__name__}, not an nn.Module")
    return transform
