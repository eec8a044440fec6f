"""Owns how much say the wide discriminator has: the less, the more it can only tell by what must stay.

Large patches show shapes, and where these lie. Where they differ between the sets, such a discriminator
tells nearly all patches right whatever the refiner does, and all that its gradient could teach is damage.
Where they do not, it sees what small patches cannot: texture inside of objects, halos, haze. The share of the
patches that it tells right says which of the two it is. Not part of the paper.
"""

from dataclasses import dataclass
from typing import Final

from torch import Tensor

from trainer.distributed import World
from trainer.told import FollowingState, Told

FAIR: Final = 0.70
"""Share of the patches told right up to which its say is full."""
HOPELESS: Final = 0.85
"""Share from which it has none."""
FOLLOWS: Final = 0.2
"""Part of the way to where the share says that the factor goes at each look."""


@dataclass
class Say:
    """The factor on the weight of the wide discriminator, from step to step: 0 to 1, and 0 at the start."""

    told: Told
    factor: float = 0.0

    def add(self, told_right: Tensor) -> None:
        """Count one update of that discriminator, its balanced accuracy; the host does not wait for it."""
        self.told.add(told_right)

    def step(self, step: int, world: World, *, losing: bool) -> None:
        """After a step of Algorithm 1: follow the accuracy, all processes alike.

        `losing`: content is being lost; the factor then goes towards 0.
        """
        accuracy = self.told.look(step, world)
        if accuracy is None:
            return
        wanted = 0.0 if losing else (HOPELESS - accuracy) / (HOPELESS - FAIR)
        self.factor += FOLLOWS * (min(max(wanted, 0.0), 1.0) - self.factor)

    def state_dict(self) -> FollowingState:
        """What the next step depends on."""
        return self.told.state_dict(self.factor)

    def load_state_dict(self, state: FollowingState) -> None:
        """Go on from a saved state."""
        self.factor = state["factor"]
        self.told.load_state_dict(state)
