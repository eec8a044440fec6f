"""Owns the pace of the refiner: how many times its base learning rate it takes, to neither lag nor run ahead.

A refiner that lags is told from real by a discriminator that learns faster than it does: many real images,
a large gap. One that runs ahead pays with content and with few real images in hatching. The share of patches
that the discriminator tells right says which of the two it is, but for the first steps, in which every
discriminator is ahead. Not part of the paper, which fixes the rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

import torch
from torch import Tensor

from trainer.distributed import World
from trainer.step import Terms

WAITS = 300
"""Steps of Algorithm 1 in which every discriminator is ahead, whatever the images: they say nothing."""
EVERY = 25
"""Steps of Algorithm 1 from one look at the discriminator to the next."""
LAGS = 0.70
"""Share of the patches told right above which the refiner lags."""
KEEPS_UP = 0.66
"""Share below which it goes back towards its base rate."""
FASTER = 1.1
"""Factor of one change, up or down."""


class PaceState(TypedDict):
    """Where a run's pace stands."""

    factor: float
    told: Tensor
    updates: int


@dataclass
class Pace:
    """The factor on the refiner's learning rate, from step to step; 1 to `limit`."""

    limit: float
    told: Tensor
    """Sum of the discriminator's balanced accuracy over its updates since the last look, on the device."""
    updates: int = 0
    factor: float = 1.0

    @staticmethod
    def of(limit: float, device: torch.device) -> Pace:
        """At its start."""
        return Pace(limit, torch.zeros((), device=device))

    def add(self, terms: Terms) -> None:
        """Count one update of the discriminator; the host does not wait for it."""
        if self.limit > 1:
            self.told += (terms["accuracy_on_refined"] + terms["accuracy_on_real"]) / 2
            self.updates += 1

    def step(self, step: int, world: World, *, losing: bool) -> None:
        """After a step of Algorithm 1: follow the discriminator, all processes alike; not in the first WAITS.

        `losing`: content is being lost, and a faster refiner would lose more; the factor then goes down.
        """
        if self.updates == 0 or step % EVERY:
            return
        if step <= WAITS:
            self._forget()
            return
        accuracy = float(world.mean(self.told.clone()[None]).item()) / self.updates
        self._forget()
        if losing or accuracy < KEEPS_UP:
            self.factor = max(self.factor / FASTER, 1.0)
        elif accuracy > LAGS:
            self.factor = min(self.factor * FASTER, self.limit)

    def _forget(self) -> None:
        self.told.zero_()
        self.updates = 0

    def state_dict(self) -> PaceState:
        """What the next step depends on."""
        return {"factor": self.factor, "told": self.told.cpu().clone(), "updates": self.updates}

    def load_state_dict(self, state: PaceState | None) -> None:
        """Go on from a saved state; runs from before there was a pace had a factor of 1."""
        if state is not None:
            self.factor, self.updates = state["factor"], state["updates"]
            self.told.copy_(state["told"])
