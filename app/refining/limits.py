"""How much goes into one inference of a model, for requests and for background work."""

from __future__ import annotations

from dataclasses import dataclass

from app.refining.devices import CPU
from app.refining.served import ServedModel
from app.settings import Settings

# A window of 20 radii keeps four fifths of itself, and on a processor small windows run faster by as much.
_NARROWEST_WINDOW_RADII = 20


@dataclass(frozen=True)
class BatchLimits:
    """Most windows of one inference, most pixels of it, and the pixels above which an image is cut."""

    images: int
    pixels: int
    tile_pixels: int


def limits_of(settings: Settings, model: ServedModel, threads: int, *, background: bool) -> BatchLimits:
    """The limits for one model, whose session has so many processor threads.

    On the processor background work comes in small portions, large images in small tiles: a request that
    arrives meanwhile waits until the one that runs is over.
    """
    usual = BatchLimits(settings.max_batch_images, settings.max_batch_pixels, settings.tile_pixels)
    if not background or model.session.provider != CPU:
        return usual
    pixels = min(usual.pixels, threads * settings.background_batch_pixels)
    narrowest_pixels = (_NARROWEST_WINDOW_RADII * model.card.receptive_field_radius) ** 2
    return BatchLimits(usual.images, pixels, min(usual.tile_pixels, max(pixels, narrowest_pixels)))
