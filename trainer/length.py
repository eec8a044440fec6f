"""Owns the length of a run: longer than asked where its refiners are still far from real.

What a pair of sets needs differs more than a fixed number of steps can know: refined digits are as near to
real ones after 1500 steps as they get, nuclei and road signs come nearer for thousands more (EXPERIMENTS.md).
Which it is shows when the learning rate should begin to fall. Not part of the paper, which fixes the length.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

FAR = 0.125
"""Of the distance that synthetic patches have to real ones above that of real ones to each other: with less
left there is little to gain.
"""
EARLIEST = 1000
"""Step before which every refiner is far: runs that are asked to be short are."""


@dataclass
class Length:
    """How many steps of Algorithm 1 a run makes, as things stand."""

    steps: int
    """As many, or `limit`."""
    limit: int
    """No more than `steps`: there is no choice."""
    decay_share: float
    """Last share of the steps, in which the learning rate falls."""
    every: int
    """Steps from one validation to the next."""
    last: int
    nearest: float = 1.0
    """The smallest distance to real so far: that of synthetic images is 1, the floor 0."""

    @staticmethod
    def of(steps: int, limit: int, decay_share: float, every: int) -> "Length":
        """At the start of a run."""
        return Length(steps, limit, decay_share, every, steps)

    def rate(self, step: int) -> float:
        """The share of the learning rate that `step` has; 0 is the first one."""
        if not self.decay_share:
            return 1.0
        return min(1.0, (self.last - step) / (self.decay_share * self.last))

    def observe(self, step: int, distance: float) -> bool:
        """Follow a validation; tells whether the run has become longer.

        Only the last one before the rate should fall decides: what it lost could not be given back.
        """
        self.nearest = min(self.nearest, distance)
        falls = self.steps - round(self.decay_share * self.steps)
        decides = step <= falls < step + self.every and self.last < self.limit
        if not decides or step < EARLIEST or self.nearest <= FAR:
            return False
        self.last = self.limit
        return True

    def state_dict(self) -> dict[str, Any]:
        """What the next step depends on."""
        return {"steps": self.steps, "last": self.last, "nearest": self.nearest}

    def load_state_dict(self, state: Mapping[str, Any] | None) -> None:
        """Go on from a saved state; with no choice, or another number of steps, a run makes as many."""
        if state is not None:
            self.nearest = state["nearest"]
            longer = state["steps"] == self.steps and self.limit > self.steps
            self.last = state["last"] if longer else self.steps
