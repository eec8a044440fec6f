"""What waits for one model, in two lines, and which of them has the next turn."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Condition, Lock

from app.refining.line import Line, Piece
from app.refining.served import ServedModel
from app.refining.session import Pixels
from app.refining.submission import Submission

_BACKGROUND_SHARE = 0.1


@dataclass(frozen=True)
class BatchLimits:
    """How much goes into one inference: windows, pixels, and pixels when it is background work."""

    images: int
    pixels: int
    background_pixels: int


class Lane:
    """The two waiting lines of one model; every method is called under the engine's lock.

    Interactive images go first, in batches of their own; background images have the turns at which nothing
    interactive waits. So that these are not starved by interactive images that never stop coming, they get a
    tenth of the work then: one batch once nine times as many pixels have overtaken it. Counted are pixels,
    not batches: many small batches in a row are no reason to let a large one in between.
    """

    def __init__(self, model: ServedModel, lock: Lock, limits: BatchLimits) -> None:
        self.model = model
        self.wake = Condition(lock)
        self._limits = limits
        self._interactive = Line()
        self._background = Line()
        self._overtaken_pixels = 0

    @property
    def waiting(self) -> bool:
        """Whether there is anything to take."""
        return bool(self._interactive or self._background)

    def extend(self, submissions: Sequence[Submission], *, background: bool) -> None:
        """Put images at the end of their line."""
        (self._background if background else self._interactive).extend(submissions)

    def take_all(self) -> list[Submission]:
        """Remove everything and hand it over."""
        return self._interactive.take_all() + self._background.take_all()

    def discard(self, future: Future[Pixels], *, background: bool) -> None:
        """Drop the image whose future this is; nothing happens when it does not wait any more."""
        (self._background if background else self._interactive).discard(future)

    def take_expired(self, now_s: float) -> list[Submission]:
        """Remove the images whose deadline has passed and hand them over."""
        return self._interactive.take_expired(now_s) + self._background.take_expired(now_s)

    def take_batch(self) -> list[Piece]:
        """Take what runs together next: interactive or background images, of one shape, within the limits.

        Empty only when nothing waits.
        """
        limits = self._limits
        if self._background_is_next():
            self._overtaken_pixels = 0
            return self._background.take_batch(limits.images, limits.background_pixels)
        batch = self._interactive.take_batch(limits.images, limits.pixels)
        if self._background:
            self._overtaken_pixels += sum(piece.tile.window.pixels for piece in batch)
        return batch

    def _background_is_next(self) -> bool:
        if not self._background:
            return False
        patience_pixels = self._limits.background_pixels * (1 / _BACKGROUND_SHARE - 1)
        return not self._interactive or self._overtaken_pixels >= patience_pixels
