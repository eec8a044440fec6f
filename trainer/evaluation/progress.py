"""Owns how far an evaluation is: the piece of work that begins, which of how many, and what time is left."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from statistics import fmean
from time import monotonic
from typing import Literal

from trainer.time_left import in_words

Work = Literal["judge", "refining", "preservation", "variants", "estimator"]
"""Pieces of one kind take about as long as each other."""


@dataclass(frozen=True)
class Piece:
    """A piece of work that begins, or that has found something."""

    what: str
    """Which refiner, and what is measured of it."""
    number: int
    """From 1."""
    total: int
    left_s: float | None
    """For this piece and all after it; None as long as one of them is of a kind that was never timed."""
    found: str | None = None
    """What came out; None when it begins."""

    @property
    def left(self) -> str:
        """The time left in words, after a comma; empty where it is not known."""
        return "" if self.left_s is None else f", {in_words(self.left_s)} left"

    def __str__(self) -> str:
        if self.found is not None:
            return f"    {self.found}"
        return f"[{self.number}/{self.total}] {self.what}{self.left}"


Watch = Callable[[Piece], None]
"""Told of every piece when it begins, and again when there is something to tell of what came out."""


class Progress:
    """Counts and times the pieces; `works` are all that will come, by their kinds."""

    def __init__(
        self,
        works: Iterable[Work] = (),
        watch: Watch = lambda _piece: None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._watch, self._clock = watch, clock
        self._ahead: Counter[Work] = Counter(works)
        self._total = self._ahead.total()
        self._number = 0
        self._subject = ""
        self._seconds: dict[Work, list[float]] = {}
        self._current: tuple[Work, Piece, float] | None = None

    def turn_to(self, subject: str) -> None:
        """Say from now on whom or what is measured."""
        self._subject = subject

    def begin(self, work: Work, what: str, *, of_all: bool = False) -> None:
        """A piece begins, and the one before it has ended; `of_all`: it is not about one refiner."""
        now = self._clock()
        if self._current is not None:
            last, _, begun = self._current
            self._seconds.setdefault(last, []).append(now - begun)
        self._number += 1
        named = what if of_all or not self._subject else f"{self._subject}: {what}"
        piece = Piece(named, self._number, self._total, self._left_s())
        self._ahead[work] -= 1
        self._current = work, piece, now
        self._watch(piece)

    def found(self, said: str) -> None:
        """Tell what came out of the current piece, and how long it took."""
        assert self._current is not None
        _, piece, begun = self._current
        self._watch(replace(piece, found=f"{said} ({self._clock() - begun:.0f} s)"))

    def _left_s(self) -> float | None:
        ahead = +self._ahead
        if not ahead.keys() <= self._seconds.keys():
            return None
        return sum(count * fmean(self._seconds[work]) for work, count in ahead.items())
