"""Owns how many patches a discriminator tells right, looked at every few steps: the mean since the last look.

What follows a discriminator (`trainer.pace`, `trainer.say`) goes by this. The first steps say nothing: every
discriminator is ahead in them, whatever the images. Not part of the paper.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

import torch
from torch import Tensor

from trainer.distributed import World

WAITS = 300
"""Steps of Algorithm 1 that say nothing."""
EVERY = 25
"""Steps of Algorithm 1 from one look to the next."""


class FollowingState(TypedDict):
    """Where a factor that follows a discriminator stands."""

    factor: float
    told: Tensor
    updates: int


@dataclass
class Told:
    """Balanced accuracy over the discriminator's updates since the last look."""

    total: Tensor
    """Its sum, on the device."""
    updates: int = 0

    @staticmethod
    def of(device: torch.device) -> Told:
        """Before the first update."""
        return Told(torch.zeros((), device=device))

    def add(self, accuracy: Tensor) -> None:
        """Count one update, its balanced accuracy, 0 to 1; the host does not wait for it."""
        self.total += accuracy
        self.updates += 1

    def look(self, step: int, world: World) -> float | None:
        """After a step of Algorithm 1: the mean, 0 to 1, the same in all processes; None between looks."""
        if self.updates == 0 or step % EVERY:
            return None
        accuracy = float(world.mean(self.total.clone()[None]).item()) / self.updates if step > WAITS else None
        self.total.zero_()
        self.updates = 0
        return accuracy

    def state_dict(self, factor: float) -> FollowingState:
        """What the next look depends on, beside the `factor` that follows."""
        return {"factor": factor, "told": self.total.cpu().clone(), "updates": self.updates}

    def load_state_dict(self, state: FollowingState) -> None:
        """Go on from a saved state."""
        self.updates = state["updates"]
        self.total.copy_(state["told"])
