"""Owns lambda under a preservation budget: as low as the content allows, raised where it is being lost.

A fixed lambda is right for one pair of sets at a time: too high and nothing changes, too low and content
fades. What became of the content can be measured without labels (trainer.validation), so lambda follows that.
Not part of the paper, which fixes lambda by hand.
"""

from collections.abc import Mapping
from dataclasses import dataclass

RAISE = 1.5
LOWER = 1.2
"""Back down more slowly than up: content that was lost once is soon lost again."""
WELL_WITHIN = 0.5
"""Share of the budget below which lambda comes down."""
MOST = 30.0
"""Times the lambda it started from."""
PATIENCE = 3
"""Raises in a row that do not lessen the loss; what is lost then is not lambda's to save."""


@dataclass
class Regularization:
    """The weight of self-regularization, from step to step."""

    base: float
    """Where it starts, and the lowest it gets."""
    budget: float
    """Share of the regions of an image that may be lost; 1 leaves the weight alone."""
    weight: float
    raises: int = 0
    """In a row, since the loss was last lessened."""
    lost_before: float = 0.0
    """What was lost before the first of them."""

    @staticmethod
    def of(base: float, budget: float) -> "Regularization":
        """At its start."""
        return Regularization(base, budget, base)

    def observe(self, lost_fraction: float) -> None:
        """Follow a measurement: regions that moved or lost more than the service accepts, 0 to 1."""
        if self.budget >= 1:
            return
        if lost_fraction > self.budget:
            self._raise(lost_fraction)
            return
        self.raises = 0
        if lost_fraction <= WELL_WITHIN * self.budget:
            self.weight = max(self.weight / LOWER, self.base)

    def _raise(self, lost_fraction: float) -> None:
        """Up, unless that was tried and did not help: the images would pay for it and save nothing."""
        if self.raises == 0 or lost_fraction < self.lost_before:
            self.raises, self.lost_before = 0, lost_fraction
        if self.raises < PATIENCE:
            self.weight = min(self.weight * RAISE, self.base * MOST)
            self.raises += 1

    def state_dict(self) -> dict[str, float]:
        """What the next step depends on."""
        return {"weight": self.weight, "raises": self.raises, "lost_before": self.lost_before}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Go on from a saved state; older ones have the weight alone."""
        self.weight = state["weight"]
        self.raises, self.lost_before = int(state.get("raises", 0)), state.get("lost_before", 0.0)
