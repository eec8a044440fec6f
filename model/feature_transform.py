"""The feature transform ψ: the space in which a refined image must stay close to its synthetic one."""

import importlib
import math

import torch
from torch import Tensor, nn

from model.errors import FeatureTransformError

_STD_FLOOR = 1e-2
"""About one grey level of an 8-bit image in [-1, 1]: below it an image counts as flat."""


def make_feature_transform(spec: str, channels: int) -> nn.Module:
    """Build ψ from its description, for images of `channels` channels.

    spec: one name, or several joined by `+`, each with an optional weight: `0.5*identity+derivatives`. Names
    are `identity`, `derivatives`, `channel_mean`, `normalised`, `normalised_derivatives` and
    `module:path.to.module:factory`, where `factory(channels)` returns an nn.Module [N, C, H, W] → tensor.

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
    match name:
        case "identity":
            return nn.Identity()
        case "derivatives":
            return _Derivatives()
        case "channel_mean":
            return _ChannelMean()
        case "normalised":
            return _Normalised()
        case "normalised_derivatives":
            return nn.Sequential(_Normalised(), _Derivatives())
    if name.startswith("module:"):
        return _loaded(name.removeprefix("module:"), channels)
    raise FeatureTransformError(
        f"there is no feature transform {name!r}; use identity, derivatives, channel_mean, normalised, "
        "normalised_derivatives or module:path.to.module:factory"
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
