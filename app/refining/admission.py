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
    """What is in the engine, waiting and running, of one priority."""

    images: int
    pixels: int

    def plus(self, images: int, pixels: int) -> EngineLoad:
        """The load once so many more are inside."""
        return EngineLoad(self.images + images, self.pixels + pixels)


class Admission:
    """Counts images and pixels, those of requests against their limits; called under the engine's lock.

    Background images are counted apart and have no limit here: whoever sends them bounds how many there are,
    so they neither take the room of a request nor are refused because of requests.
    """

    def __init__(self, settings: Settings) -> None:
        self._max = EngineLoad(settings.max_queue_images, settings.max_queue_pixels)
        self._pixels_per_s = 0.0
        self.load = EngineLoad(0, 0)
        self.background_load = EngineLoad(0, 0)
        self.stopping = False

    @property
    def empty(self) -> bool:
        """Whether nothing is in the engine."""
        return self.load.images == 0 and self.background_load.images == 0

    def admit(self, images: int, pixels: int, *, background: bool) -> None:
        """Take images in, all or none.

        Raises ShuttingDown, and TooManyPixels or EngineBusy for what is not background work.
        """
        if self.stopping:
            raise ShuttingDown("The service is stopping and takes no new images.")
        if background:
            self.background_load = self.background_load.plus(images, pixels)
            return
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
        self.load = self.load.plus(images, pixels)

    def give_back(self, pixels: int, *, background: bool) -> None:
        """One image has left."""
        if background:
            self.background_load = self.background_load.plus(-1, -pixels)
        else:
            self.load = self.load.plus(-1, -pixels)

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
