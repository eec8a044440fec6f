"""Owns the averages between two log lines, and the watch for numbers that are not finite."""

from collections.abc import Sequence
from typing import TypedDict

import torch
from torch import Tensor

from trainer.distributed import World
from trainer.errors import DivergedError
from trainer.step import Terms

NEVER = 2**62


class MetersState(TypedDict):
    """Sums and counts since the last log line."""

    sums: Tensor
    counts: list[int]


class Meters:
    """Adds up the terms of every update on the device; the host waits for it only in `read` and `check`."""

    def __init__(self, names: Sequence[str], device: torch.device) -> None:
        self._names = tuple(names)
        self._sums = torch.zeros(len(names), device=device)
        self._counts = [0] * len(names)
        self._bad_step = torch.full((len(names),), NEVER, dtype=torch.int64, device=device)
        self._bad_value = torch.zeros(len(names), device=device)

    def add(self, terms: Terms, iteration: int) -> None:
        """Count one update's scalars, in the order of the names given to the constructor."""
        first = self._names.index(next(iter(terms)))
        where = slice(first, first + len(terms))
        values = torch.stack(list(terms.values()))
        self._sums[where] += values
        self._counts[where] = [count + 1 for count in self._counts[where]]
        newly_bad = ~values.isfinite() & (self._bad_step[where] == NEVER)
        self._bad_step[where].masked_fill_(newly_bad, iteration)
        self._bad_value[where] = torch.where(newly_bad, values, self._bad_value[where])

    def read(self, world: World) -> dict[str, float]:
        """Means since the last reading over all processes, by name; starts anew."""
        means = world.mean(self._sums.clone()).tolist()
        counts = self._counts
        self._sums.zero_()
        self._counts = [0] * len(self._names)
        return {
            name: mean / count for name, mean, count in zip(self._names, means, counts, strict=True) if count
        }

    def check(self, world: World) -> None:
        """DivergedError if a number was not finite since the run began, in any process: step, term, value."""
        steps = world.minimum(self._bad_step.clone()).tolist()
        step = min(steps)
        if step == NEVER:
            return
        index = steps.index(step)
        value = self._bad_value[index].item()
        shown = f"is {value}" if self._bad_step[index].item() == step else "is not finite in another process"
        raise DivergedError(
            f"{self._names[index]} {shown} in update {step}: the run has diverged; resume keeps the last "
            "checkpoint before it; lower the learning rate or raise self_regularization_weight or r1_weight"
        )

    def state_dict(self) -> MetersState:
        """Sums and counts since the last reading."""
        return {"sums": self._sums.cpu().clone(), "counts": list(self._counts)}

    def load_state_dict(self, state: MetersState) -> None:
        """Go on from saved sums and counts."""
        self._sums.copy_(state["sums"])
        self._counts = list(state["counts"])
