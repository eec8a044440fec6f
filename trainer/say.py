"""Owns how much say the wide discriminator has: the less, the more it can only tell by what must stay.

Large patches show shapes, and where these lie. Where they differ between the sets, such a discriminator
tells nearly all patches right whatever the refiner does, and all that its gradient could teach is damage.
Where they do not, it sees what small patches cannot: texture inside of objects, halos, haze. The share of the
patches that it tells right says which of the two it is. Not part of the paper.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypedDict

import torch
from torch import Tensor

from trainer.distributed import World
from trainer.pace import EVERY, WAITS

FAIR: Final = 0.70
"""Share of the patches told right up to which its say is full."""
HOPELESS: Final = 0.85
"""Share from which it has none."""
FOLLOWS: Final = 0.2
"""Part of the way to where the share says that the factor goes at each look."""


class SayState(TypedDict):
    """Where a run's wide discriminator stands."""

    factor: float
    told: Tensor
    updates: int


@dataclass
class Say:
    """The factor on the weight of the wide discriminator, from step to step: 0 to 1, and 0 at the start."""

    told: Tensor
    """Sum of its balanced accuracy over its updates since the last look, on the device."""
    updates: int = 0
    factor: float = 0.0

    @staticmethod
    def of(device: torch.device) -> Say:
        """At its start."""
        return Say(torch.zeros((), device=device))

    def add(self, told_right: Tensor) -> None:
        """Count one update of that discriminator, its balanced accuracy; the host does not wait for it."""
        self.told += told_right
        self.updates += 1

    def step(self, step: int, world: World, *, losing: bool) -> None:
        """After a step of Algorithm 1: follow the accuracy, all processes alike; not in the first WAITS.

        `losing`: content is being lost; the factor then goes towards 0.
        """
        if self.updates == 0 or step % EVERY:
            return
        accuracy = float(world.mean(self.told.clone()[None]).item()) / self.updates
        self.told.zero_()
        self.updates = 0
        if step > WAITS:
            wanted = 0.0 if losing else (HOPELESS - accuracy) / (HOPELESS - FAIR)
            self.factor += FOLLOWS * (min(max(wanted, 0.0), 1.0) - self.factor)

    def state_dict(self) -> SayState:
        """What the next step depends on."""
        return {"factor": self.factor, "told": self.told.cpu().clone(), "updates": self.updates}

    def load_state_dict(self, state: SayState) -> None:
        """Go on from a saved state."""
        self.factor, self.updates = state["factor"], state["updates"]
        self.told.copy_(state["told"])
