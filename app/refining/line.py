"""One waiting line of images of one model, and how the next batch is taken from it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass

from app.refining.limits import BatchLimits
from app.refining.session import Pixels
from app.refining.submission import Submission
from app.refining.tiles import Tile


@dataclass(frozen=True)
class Piece:
    """One window of one image: what a batch is made of."""

    submission: Submission
    tile: Tile


class Line:
    """Images in the order of their turns; every method is called under the engine's lock.

    The image at the head decides the shape of the batch. All images of that shape add one tile each, in turn,
    until the batch is full; those with tiles left then go to the end of the line. So nothing starves: not a
    rare shape, since it moves to the head; not a small image behind a giant one, since that steps back after
    each batch.
    """

    def __init__(self, limits: BatchLimits) -> None:
        self.limits = limits
        self._waiting: deque[Submission] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def extend(self, submissions: Iterable[Submission]) -> None:
        """Put images at the end."""
        self._waiting.extend(submissions)

    def take_all(self) -> list[Submission]:
        """Remove everything and hand it over."""
        waiting, self._waiting = self._waiting, deque()
        return list(waiting)

    def discard(self, future: Future[Pixels]) -> None:
        """Drop the image whose future this is; nothing happens when it does not wait any more."""
        if any(submission.future is future for submission in self._waiting):
            self._waiting = deque(one for one in self._waiting if one.future is not future)

    def take_expired(self, now_s: float) -> list[Submission]:
        """Remove the images whose deadline has passed and hand them over."""
        expired = [submission for submission in self._waiting if submission.expired(now_s)]
        for submission in expired:
            self._waiting.remove(submission)
        return expired

    @property
    def window_pixels(self) -> int:
        """Pixels of one window of the next batch; something must wait."""
        height, width = self._waiting[0].tile_shape
        return height * width

    def count_windows(self, most: int) -> int:
        """How many windows of the next batch's shape wait, but no more than `most`."""
        found = 0
        for submission in self._sharing():
            found += submission.waiting
            if found >= most:
                return most
        return found

    def take(self, most: int) -> list[Piece]:
        """Take so many windows of the next batch's shape, or as many as wait."""
        batch: list[Piece] = []
        sharing = deque(self._sharing())
        while sharing and len(batch) < most:
            submission = sharing.popleft()
            batch.append(Piece(submission, submission.take_tile()))
            if submission.waiting:
                sharing.append(submission)
        self._step_back({piece.submission for piece in batch})
        return batch

    def _sharing(self) -> Iterator[Submission]:
        shape = self._waiting[0].tile_shape
        return (submission for submission in self._waiting if submission.tile_shape == shape)

    def _step_back(self, taken: set[Submission]) -> None:
        stay = [submission for submission in self._waiting if submission not in taken]
        back = [submission for submission in self._waiting if submission in taken and submission.waiting]
        self._waiting = deque([*stay, *back])
