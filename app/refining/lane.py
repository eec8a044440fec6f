"""What waits for one model, in two lines, which of them has the next turn, and what runs."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from math import ceil
from threading import Condition, Lock, Thread

from app.refining.devices import CPU
from app.refining.limits import BatchLimits
from app.refining.line import Line, Piece
from app.refining.served import ServedModel
from app.refining.session import Pixels
from app.refining.submission import Submission

_OVERTAKING = 9
_SMALL_WINDOW_PIXELS = 1 << 12
"""Two windows of so few px, or more of them, are refined faster by a thread each than by both together."""
_PORTION_PIXELS = 1 << 14
"""What one thread refines at once: of more, its caches hold less, and others wait longer."""
_SHARES_LEFT = 1
"""Of several threads none idles then while answers go out and the next requests come in."""
_TURN_S = 0.2e-3
"""What takes less processor time than this costs more when another thread is woken for it."""
_SHARED_S = 1e-3
"""A small window that takes one thread less than this gains nothing from others."""
_SHARED_BY = 4
"""More threads than these meet too often, after every layer, for a small window."""
_PACE_MEMORY = 0.5


@dataclass(frozen=True, eq=False)
class Batch:
    """Windows of one shape that run together."""

    pieces: Sequence[Piece]
    pixels: int
    """Height times width, summed over the windows."""
    one_thread: bool
    """Other threads have, or will have, batches of their own."""
    background: bool
    waits_s: tuple[float, ...]
    """For every image that is begun with this batch: seconds from its submission to here."""


class Lane:
    """The two waiting lines of one model and its threads; every method is called under the engine's lock.

    A model has as many threads as batches may run side by side (`RefinerSession.at_once`); each takes its
    share of what waits as soon as it is free, and leaves one to whichever is free first. Small windows, and
    large ones of which there is one for each thread, run on one thread of the processor each; one alone and a
    few large ones share all threads, interactive ones also with background work, which is soon over. What
    runs at any time has no more pixels than the limit of one batch.

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
        self.threads: set[Thread] = set()
        self.idle_threads = 0
        self._interactive = Line(interactive)
        self._background = Line(background)
        self._may_overtake_pixels = _OVERTAKING * background.pixels
        self.running = 0
        """How many batches run."""
        self._running_background = 0
        self._running_pixels = 0
        self._s_per_pixel: float | None = None

    @property
    def waiting(self) -> bool:
        """Whether there is anything to take."""
        return bool(self._interactive or self._background)

    @property
    def ready(self) -> bool:
        """Whether the next batch may begin now."""
        if not self.waiting or self.running >= self.model.session.at_once:
            return False
        line = self._next_line()
        return not self.running or self._room_pixels(line) >= line.window_pixels

    def is_trifling(self, pixels: int) -> bool:
        """Whether nothing else is here and so many pixels take less than to wake a thread for them."""
        alone = not self.running and not self.waiting and pixels <= _SMALL_WINDOW_PIXELS
        return alone and self._s_per_pixel is not None and pixels * self._s_per_pixel < _TURN_S

    def begin_alone(self, pixels: int) -> Batch:
        """Begin a batch of one image that never waited, which nothing else is beside (`is_trifling`)."""
        self.running += 1
        self._running_pixels += pixels
        return Batch((), pixels, one_thread=True, background=False, waits_s=(0.0,))

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

    def take_batch(self, now_s: float) -> Batch | None:
        """Begin the next batch: a thread's share of the images of one shape; None when none may begin."""
        if not self.ready:
            return None
        line = self._next_line()
        windows, one_thread = self._share(line)
        pieces = line.take(min(windows, line.limits.images))
        submissions = dict.fromkeys(piece.submission for piece in pieces)
        waits_s = tuple(now_s - one.submitted_s for one in submissions if not one.begun)
        for submission in submissions:
            submission.begun = True
        pixels = len(pieces) * pieces[0].tile.window.pixels
        batch = Batch(pieces, pixels, one_thread, line is self._background, waits_s)
        if batch.background:
            self._may_overtake_pixels = _OVERTAKING * batch.pixels
        elif self._background:
            self._may_overtake_pixels -= batch.pixels
        self.running += 1
        self._running_background += batch.background
        self._running_pixels += batch.pixels
        return batch

    def end(self, batch: Batch) -> None:
        """Say that a batch is over."""
        self.running -= 1
        self._running_background -= batch.background
        self._running_pixels -= batch.pixels

    def learn_pace(self, batch: Batch, pixels: int, processor_s: float) -> None:
        """Keep a running mean of what a pixel takes on one thread, from what the batch took of its own.

        Of a shared batch, every thread is taken to have done as much.
        """
        session = self.model.session
        if session.provider != CPU or processor_s <= 0:  # some clocks are coarse
            return
        new = processor_s / pixels * (1 if batch.one_thread else session.at_once)
        old = new if self._s_per_pixel is None else self._s_per_pixel
        self._s_per_pixel = _PACE_MEMORY * old + (1 - _PACE_MEMORY) * new

    def _share(self, line: Line) -> tuple[int, bool]:
        """How many windows the next batch has, and whether one thread is enough for it."""
        at_once, window_pixels = self.model.session.at_once, line.window_pixels
        fitting = max(1, self._room_pixels(line) // window_pixels)
        windows = line.count_windows(fitting)
        beside = self.running if line is self._background else self.running - self._running_background
        enough = windows + beside >= at_once
        small = window_pixels <= _SMALL_WINDOW_PIXELS and not self._is_worth_sharing(windows, window_pixels)
        if self.model.session.provider != CPU or not (small or enough):
            return windows, False
        shares = at_once - self.running + (_SHARES_LEFT if at_once > 1 else 0)
        if self._s_per_pixel is not None:
            worth_waking = int(windows * window_pixels * self._s_per_pixel / _TURN_S)
            shares = max(1, min(shares, worth_waking))
        portion = max(1, _PORTION_PIXELS // window_pixels)
        return min(ceil(windows / shares), portion), True

    def _is_worth_sharing(self, windows: int, window_pixels: int) -> bool:
        """Whether a small window is all there is, and long enough for a few threads to be faster."""
        if windows > 1 or self.running or self.model.session.at_once > _SHARED_BY:
            return False
        return self._s_per_pixel is not None and window_pixels * self._s_per_pixel > _SHARED_S

    def _room_pixels(self, line: Line) -> int:
        return line.limits.pixels - self._running_pixels

    def _next_line(self) -> Line:
        background_has_turn = not self._interactive or self._may_overtake_pixels <= 0
        return self._background if self._background and background_has_turn else self._interactive

    def _line(self, *, background: bool) -> Line:
        return self._background if background else self._interactive
