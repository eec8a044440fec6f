"""One waiting line of images of one model, and how the next batch is taken from it."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import islice
from math import inf

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
        self._waiting: OrderedDict[Future[Pixels], Submission] = OrderedDict()
        self._no_deadline_before_s = inf

    def __len__(self) -> int:
        return len(self._waiting)

    def extend(self, submissions: Iterable[Submission]) -> None:
        """Put images at the end."""
        for submission in submissions:
            self._waiting[submission.future] = submission
            if submission.deadline_s is not None:
                self._no_deadline_before_s = min(self._no_deadline_before_s, submission.deadline_s)

    def take_all(self) -> list[Submission]:
        """Remove everything and hand it over."""
        waiting = list(self._waiting.values())
        self._waiting.clear()
        return waiting

    def discard(self, future: Future[Pixels]) -> None:
        """Drop the image whose future this is; nothing happens when it does not wait any more."""
        self._waiting.pop(future, None)

    def take_expired(self, now_s: float) -> list[Submission]:
        """Remove the images whose deadline has passed and hand them over."""
        if now_s < self._no_deadline_before_s:
            return []
        expired = [submission for submission in self._waiting.values() if submission.expired(now_s)]
        for submission in expired:
            del self._waiting[submission.future]
        deadlines = (one.deadline_s for one in self._waiting.values() if one.deadline_s is not None)
        self._no_deadline_before_s = min(deadlines, default=inf)
        return expired

    @property
    def window_pixels(self) -> int:
        """Pixels of one window of the next batch; something must wait."""
        height, width = self._shape
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
        sharing = deque(islice(self._sharing(), most))
        while sharing and len(batch) < most:
            submission = sharing.popleft()
            batch.append(Piece(submission, submission.take_tile()))
            if submission.waiting:
                sharing.append(submission)
        self._step_back(dict.fromkeys(piece.submission for piece in batch))
        return batch

    @property
    def _shape(self) -> tuple[int, int]:
        return next(iter(self._waiting.values())).tile_shape

    def _sharing(self) -> Iterator[Submission]:
        shape = self._shape
        return (submission for submission in self._waiting.values() if submission.tile_shape == shape)

    def _step_back(self, taken: Iterable[Submission]) -> None:
        for submission in taken:
            if submission.waiting:
                self._waiting.move_to_end(submission.future)
            else:
                del self._waiting[submission.future]
