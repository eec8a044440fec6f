"""Owns the running average of the refiner's weights, which is what previews, judgements and export use."""

import copy
from collections.abc import Iterable

import torch
from torch import Tensor

from model.refiner import Refiner


class Ema:
    """An exponential moving average of a refiner, in float32 on its device."""

    def __init__(self, refiner: Refiner, decay: float) -> None:
        self.refiner = copy.deepcopy(refiner).eval().requires_grad_(False)
        self._decay = decay

    @torch.no_grad()
    def update(self, refiner: Refiner, updates: int) -> None:
        """Move towards `refiner` after its update number `updates` (1, 2, …).

        The decay grows as (1 + n) / (10 + n) up to its final value, so that first weights are soon forgotten.
        """
        decay = min(self._decay, (1 + updates) / (10 + updates))
        torch._foreach_lerp_(_values(self.refiner.parameters()), _values(refiner.parameters()), 1 - decay)


def _values(parameters: Iterable[Tensor]) -> list[Tensor]:
    return [parameter.detach() for parameter in parameters]
