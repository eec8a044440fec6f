"""What waits for one model, in two lines, and which of them has the next turn."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from threading import Condition, Lock

from app.refining.limits import BatchLimits
from app.refining.line import Line, Piece
from app.refining.served import ServedModel
from app.refining.session import Pixels
from app.refining.submission import Submission

_OVERTAKING = 9


class Lane:
    """The two waiting lines of one model; every method is called under the engine's lock.

    Interactive images go first, in batches of their own; background images have the turns at which nothing
    interactive waits. So that these are not starved by interactive images that never stop coming, they have
    a tenth of the work then: after each of their batches, nine times its pixels may overtake the next one.
    Pixels are counted, not batches, or many small requests would let a large batch in ever so often.
    """

    def __init__(
        self, model: ServedModel, lock: Lock, interactive: BatchLimits, background: BatchLimits
    ) -> None:
        self.model = model
        self.wake = Condition(lock)
        self._interactive = Line(interactive)
        self._background = Line(background)
        self._may_overtake_pixels = _OVERTAKING * background.pixels

    @property
    def waiting(self) -> bool:
        """Whether there is anything to take."""
        return bool(self._interactive or self._background)

    def extend(self, submissions: Sequence[Submission], *, background: bool) -> None:
        """Put images at the end of their line."""
        self._line(background=background).extend(submissions)

    def discard(self, future: Future[Pixels], *, background: bool) -> None:
        """Drop the image whose future this is; nothing happens when it does not wait any more."""
        self._line(background=background).discard(future)

    def take_all(self) -> list[Submission]:
        """Remove everything and hand it over."""
        return self._interactive.take_all() + self._background.take_all()

    def take_expired(self, now_s: float) -> list[Submission]:
        """Remove the images whose deadline has passed and hand them over."""
        return self._interactive.take_expired(now_s) + self._background.take_expired(now_s)

    def take_batch(self) -> list[Piece]:
        """Take what runs together next: interactive or background images, of one shape, within their limits.

        Empty only when nothing waits.
        """
        if self._background and (not self._interactive or self._may_overtake_pixels <= 0):
            batch = self._background.take_batch()
            self._may_overtake_pixels = _OVERTAKING * _pixels(batch)
            return batch
        batch = self._interactive.take_batch()
        if self._background:
            self._may_overtake_pixels -= _pixels(batch)
        return batch

    def _line(self, *, background: bool) -> Line:
        return self._background if background else self._interactive


def _pixels(batch: Sequence[Piece]) -> int:
    return sum(piece.tile.window.pixels for piece in batch)
