"""Locality: the proof that a refiner sees no further than its receptive field, which makes tiling exact."""

import torch
from torch import Tensor, nn

from model.errors import LocalityError, NonFiniteError
from model.refiner import Refiner

TOLERANCE = 1e-4
"""Allowed difference in the range [-1, 1], 1/80 of an 8-bit grey level: rounding, but no dependence."""

_FORBIDDEN: tuple[tuple[tuple[type[nn.Module], ...], str], ...] = (
    ((nn.modules.instancenorm._InstanceNorm, nn.GroupNorm), "takes statistics over the whole image"),
    (
        (nn.modules.batchnorm._BatchNorm,),
        "takes statistics over the batch and differs between train and eval",
    ),
    (
        (nn.modules.pooling._AdaptiveAvgPoolNd, nn.modules.pooling._AdaptiveMaxPoolNd),
        "pools over the whole image",
    ),
    ((nn.MultiheadAttention,), "attends to the whole image"),
    ((nn.modules.dropout._DropoutNd,), "is random and differs between train and eval"),
)


@torch.no_grad()
def require_local(refiner: Refiner) -> None:
    """Refuse a refiner whose output pixel depends on more than its receptive field.

    Looks for layers that cannot be local, then measures: a pixel must come out the same from a large image
    and from the tile of `config.receptive_field_radius` px around it, at every place in a square of the grid;
    and from a batch of two and alone. The refiner must be in eval mode, float32, on the CPU. Raises
    LocalityError naming the layer or the difference, or NonFiniteError.
    """
    for name, layer in refiner.named_modules():
        for kinds, reason in _FORBIDDEN:
            if isinstance(layer, kinds):
                raise LocalityError(f"the refiner's layer {name!r} ({type(layer).__name__}) {reason}")
    _require_tile_equals_crop(refiner)
    _require_alone_equals_together(refiner)


def _require_tile_equals_crop(refiner: Refiner) -> None:
    radius = refiner.config.receptive_field_radius
    for place in range(refiner.config.grid):
        difference = _difference_of_tile_and_crop(refiner, place)
        if difference > TOLERANCE:
            raise LocalityError(
                f"the refiner declares a receptive field radius of {radius} px, but a pixel changes by "
                f"{difference:.2g} (range 2) when the image around that field is cut away: it looks further, "
                "or at its own position"
            )


def _difference_of_tile_and_crop(refiner: Refiner, place: int) -> float:
    """Of the pixel with the radius and `place` px before it and the radius behind it."""
    radius, grid = refiner.config.receptive_field_radius, refiner.config.grid
    pixel, top, left = radius + place, 3 * grid, 2 * grid
    side = pixel + radius + 1
    tile = _random(refiner, 1, side)
    whole = [torch.ones(1, part.shape[1], side + 5 * grid, side + 5 * grid) for part in tile]
    for large, small in zip(whole, tile, strict=True):
        large[..., top : top + side, left : left + side] = small
    from_whole = _refine(refiner, whole)[..., top + pixel, left + pixel]
    from_tile = _refine(refiner, tile)[..., pixel, pixel]
    return float((from_whole - from_tile).abs().max())


def _require_alone_equals_together(refiner: Refiner) -> None:
    pair = _random(refiner, 2, side=8)
    together = _refine(refiner, pair)[:1]
    alone = _refine(refiner, [part[:1] for part in pair])
    difference = float((together - alone).abs().max())
    if difference > TOLERANCE:
        raise LocalityError(
            f"the other image of a batch changes a refined pixel by {difference:.2g} (range 2)"
        )


def _random(refiner: Refiner, batch: int, side: int) -> list[Tensor]:
    """An image in [-1, 1] and its noise, if the refiner takes some; square, always the same."""
    generator = torch.Generator().manual_seed(0)
    config = refiner.config
    image = torch.rand(batch, config.channels, side, side, generator=generator) * 2.0 - 1.0
    noise = torch.randn(batch, config.noise.channels, side, side, generator=generator)
    return [image, noise] if config.noise.channels else [image]


def _refine(refiner: Refiner, inputs: list[Tensor]) -> Tensor:
    refined: Tensor = refiner(*inputs)
    if not torch.isfinite(refined).all():
        raise NonFiniteError("the refiner gives NaN or infinite values for a random image")
    return refined
