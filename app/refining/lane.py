"""The waiting line of one model, and how the next batch is taken from it."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Condition, Lock

from app.refining.refinement import Refinement
from app.refining.served import ServedModel
from app.refining.session import Pixels
from app.refining.tiles import Tile


@dataclass(frozen=True)
class Piece:
    """One window of one image: what a batch is made of."""

    refinement: Refinement
    tile: Tile


class Lane:
    """What waits for one model; every method is called under the engine's lock.

    The image at the head decides the shape of the batch. All images of that shape add one tile each, in turn,
    until the batch is full; those with tiles left then go to the end of the line. So nothing starves: not a
    rare shape, since it moves to the head; not a small image behind a giant one, since that steps back after
    each batch.
    """

    def __init__(self, model: ServedModel, lock: Lock) -> None:
        self.model = model
        self.wake = Condition(lock)
        self.waiting: deque[Refinement] = deque()

    def discard(self, future: Future[Pixels]) -> None:
        """Drop the image whose future this is; nothing happens when it does not wait any more."""
        if any(refinement.future is future for refinement in self.waiting):
            self.waiting = deque(refinement for refinement in self.waiting if refinement.future is not future)

    def take_expired(self, now_s: float) -> list[Refinement]:
        """Remove the images whose deadline has passed and hand them over."""
        expired = [refinement for refinement in self.waiting if refinement.expired(now_s)]
        for refinement in expired:
            self.waiting.remove(refinement)
        return expired

    def take_batch(self, max_images: int, max_pixels: int) -> list[Piece]:
        """Take what runs together next: all of one shape, within both limits, but one at least.

        Empty only when nothing waits.
        """
        if not self.waiting:
            return []
        height, width = self.waiting[0].tile_shape
        room = max(1, min(max_images, max_pixels // (height * width)))
        batch: list[Piece] = []
        sharing = deque(refinement for refinement in self.waiting if refinement.tile_shape == (height, width))
        while sharing and len(batch) < room:
            refinement = sharing.popleft()
            batch.append(Piece(refinement, refinement.take_tile()))
            if refinement.waiting:
                sharing.append(refinement)
        self._step_back({piece.refinement for piece in batch})
        return batch

    def _step_back(self, taken: set[Refinement]) -> None:
        stay = [refinement for refinement in self.waiting if refinement not in taken]
        back = [refinement for refinement in self.waiting if refinement in taken and refinement.waiting]
        self.waiting = deque([*stay, *back])
