"""How much is in the engine, and whether more may come in."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from app.errors import EngineBusy, ShuttingDown, TooManyPixels
from app.settings import Settings

_LONGEST_RETRY_S = 60
_RATE_MEMORY = 0.8


@dataclass(frozen=True)
class EngineLoad:
    """What is in the engine, waiting and running."""

    images: int
    pixels: int


class Admission:
    """Counts images and pixels against their limits; every method is called under the engine's lock."""

    def __init__(self, settings: Settings) -> None:
        self._max = EngineLoad(settings.max_queue_images, settings.max_queue_pixels)
        self._pixels_per_s = 0.0
        self.load = EngineLoad(0, 0)
        self.stopping = False

    def admit(self, images: int, pixels: int) -> None:
        """Take images in, all or none; raises TooManyPixels, EngineBusy or ShuttingDown."""
        if self.stopping:
            raise ShuttingDown("The service is stopping and takes no new images.")
        if images > self._max.images or pixels > self._max.pixels:
            raise TooManyPixels(
                f"The request needs {images} refinements of {pixels} pixels in all, but at most "
                f"{self._max.images} of {self._max.pixels} pixels are ever taken; send fewer at once."
            )
        if self.load.images + images > self._max.images or self.load.pixels + pixels > self._max.pixels:
            raise EngineBusy(
                f"The queue is full with {self.load.images} images of {self.load.pixels} pixels in all; try "
                f"again later.",
                self._retry_after_s(),
            )
        self.load = EngineLoad(self.load.images + images, self.load.pixels + pixels)

    def give_back(self, pixels: int) -> None:
        """One image has left."""
        self.load = EngineLoad(self.load.images - 1, self.load.pixels - pixels)

    def learn_speed(self, pixels: int, inference_s: float) -> None:
        """Keep a running mean of the speed, for the estimate when it is worth to try again."""
        if inference_s <= 0:
            return
        speed = pixels / inference_s
        old = self._pixels_per_s or speed
        self._pixels_per_s = _RATE_MEMORY * old + (1 - _RATE_MEMORY) * speed

    def _retry_after_s(self) -> int:
        if not self._pixels_per_s:
            return 1
        return min(max(ceil(self.load.pixels / self._pixels_per_s), 1), _LONGEST_RETRY_S)
