"""Verdict: whether an image's labels survived, and the highest strength at which they do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from model.preservation.drift import MAX_SHIFT_PX, MIN_LEAST_KEPT, MIN_STRUCTURE_KEPT, Drift

Verdict = Literal["accepted", "softened", "kept_original", "below_thresholds", "unchecked"]
"""accepted: everything measured is within the thresholds. softened: so at a lower strength. kept_original:
at no strength tried, so nothing was changed. below_thresholds: it is not, and the caller asked for a
report only. unchecked: there was nothing to measure.
"""

WhenBelow = Literal["soften", "keep_original", "report"]
Picture = TypeVar("Picture")

SOFTENING_STEPS = 3
"""Strengths tried on the way down: halves of the interval left, so the result is exact to 1/8 of the
strength.
"""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What counts as survived.

    max_shift_px: how far structure may move, >= 0. min_structure_kept: how much must be left, 0..1.
    min_least_kept: how much where most was lost, 0..1; 0 does not look there.
    """

    max_shift_px: float = MAX_SHIFT_PX
    min_structure_kept: float = MIN_STRUCTURE_KEPT
    min_least_kept: float = MIN_LEAST_KEPT

    def __post_init__(self) -> None:
        assert self.max_shift_px >= 0, self.max_shift_px
        assert 0 <= self.min_structure_kept <= 1, self.min_structure_kept
        assert 0 <= self.min_least_kept <= 1, self.min_least_kept

    def hold_for(self, drift: Drift) -> bool:
        """Whether one drift is acceptable; one without structure is."""
        if drift.structure_kept is None:
            return True
        moved = drift.shift_px is not None and drift.shift_px > self.max_shift_px
        erased = drift.least_kept is not None and drift.least_kept < self.min_least_kept
        return not moved and not erased and drift.structure_kept >= self.min_structure_kept


@dataclass(frozen=True, slots=True)
class Decision(Generic[Picture]):
    """What is sent back for one image. drifts: of `picture`, which was made at `strength`."""

    verdict: Verdict
    strength: float
    picture: Picture
    drifts: tuple[Drift, ...]


def decide(
    picture_at: Callable[[float], Picture],
    drifts_of: Callable[[Picture], Sequence[Drift]],
    strength: float,
    thresholds: Thresholds,
    when_below: WhenBelow = "soften",
) -> Decision[Picture]:
    """The picture at the wanted strength if its labels survived; else what `when_below` asks for.

    picture_at(strength): the blend (0 gives the original). drifts_of(picture): its drifts against the
    original. Softening takes at most 1 + SOFTENING_STEPS blends and measurements.
    """
    wanted = _tried(picture_at, drifts_of, strength)
    if not any(drift.measured for drift in wanted.drifts):
        return _as(wanted, "unchecked")
    if _holds(wanted, thresholds):
        return _as(wanted, "accepted")
    if when_below == "report":
        return _as(wanted, "below_thresholds")
    softened = _softened(picture_at, drifts_of, strength, thresholds) if when_below == "soften" else None
    return softened or _as(_tried(picture_at, drifts_of, 0.0), "kept_original")


def _softened(
    picture_at: Callable[[float], Picture],
    drifts_of: Callable[[Picture], Sequence[Drift]],
    strength: float,
    thresholds: Thresholds,
) -> Decision[Picture] | None:
    """Bisection between 0, which always holds, and the strength that does not; None if no strength tried
    holds.
    """
    low, high, best = 0.0, strength, None
    for _ in range(SOFTENING_STEPS):
        middle = (low + high) / 2
        tried = _tried(picture_at, drifts_of, middle)
        if _holds(tried, thresholds):
            low, best = middle, _as(tried, "softened")
        else:
            high = middle
    return best


def _tried(
    picture_at: Callable[[float], Picture], drifts_of: Callable[[Picture], Sequence[Drift]], strength: float
) -> Decision[Picture]:
    picture = picture_at(strength)
    return Decision("unchecked", strength, picture, tuple(drifts_of(picture)))


def _holds(tried: Decision[Picture], thresholds: Thresholds) -> bool:
    return all(thresholds.hold_for(drift) for drift in tried.drifts)


def _as(tried: Decision[Picture], verdict: Verdict) -> Decision[Picture]:
    return Decision(verdict, tried.strength, tried.picture, tried.drifts)
