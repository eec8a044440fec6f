"""Owns the pace of the refiner: how many times its base learning rate it takes, to neither lag nor run ahead.

A refiner that lags is told from real by a discriminator that learns faster than it does: many real images,
a large gap. One that runs ahead pays with content and with few real images in hatching. The share of patches
that the discriminator tells right says which of the two it is. Not part of the paper, which fixes the rate.
"""

from dataclasses import dataclass

from trainer.distributed import World
from trainer.step import Terms
from trainer.told import FollowingState, Told

LAGS = 0.70
"""Share of the patches told right above which the refiner lags."""
KEEPS_UP = 0.66
"""Share below which it goes back towards its base rate."""
FASTER = 1.1
"""Factor of one change, up or down."""


@dataclass
class Pace:
    """The factor on the refiner's learning rate, from step to step; 1 to `limit`."""

    limit: float
    told: Told
    factor: float = 1.0

    def add(self, terms: Terms) -> None:
        """Count one update of the discriminator; the host does not wait for it."""
        if self.limit > 1:
            self.told.add((terms["accuracy_on_refined"] + terms["accuracy_on_real"]) / 2)

    def step(self, step: int, world: World, *, losing: bool) -> None:
        """After a step of Algorithm 1: follow the discriminator, all processes alike.

        `losing`: content is being lost, and a faster refiner would lose more; the factor then goes down.
        """
        accuracy = self.told.look(step, world)
        if accuracy is None:
            return
        if losing or accuracy < KEEPS_UP:
            self.factor = max(self.factor / FASTER, 1.0)
        elif accuracy > LAGS:
            self.factor = min(self.factor * FASTER, self.limit)

    def state_dict(self) -> FollowingState:
        """What the next step depends on."""
        return self.told.state_dict(self.factor)

    def load_state_dict(self, state: FollowingState | None) -> None:
        """Go on from a saved state; runs from before there was a pace had a factor of 1."""
        if state is not None:
            self.factor = state["factor"]
            self.told.load_state_dict(state)
