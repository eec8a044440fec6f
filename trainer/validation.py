"""Owns the choice of the refiner that a run hands over: the most real of those that keep the content.

The last weights are not always the best ones. At regular steps the averaged refiner is measured on images
drawn once per run, without any label: how far its patches are from the real ones (sliced Wasserstein
distance) and what became of the structure (the drift that the service reports).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from torch import Tensor

from model.refiner import Refiner
from trainer.data import TrainingData
from trainer.evaluation.preservation import measure_preservation
from trainer.evaluation.sliced_wasserstein import sliced_wasserstein
from trainer.labels.regions import Regions
from trainer.samples import draw_images, refine_levels
from trainer.sources import Images

IMAGES = 256
MOST_LOST = 0.02
"""Share of regions that may be beyond the service's thresholds in a refiner that counts as preserving."""
CELL_PX = 64
"""Larger images are measured in cells of this side."""
SMALLEST_PX = 16
"""Smaller images have no patches to compare; the last refiner is handed over."""


@dataclass(frozen=True)
class Validation:
    """The numbers of one refiner."""

    sliced_wasserstein: float
    """Distance of its patches to the real ones, grey levels of 255, mean over scales."""
    lost_fraction: float
    """Regions that moved or lost more than the service accepts by default."""
    shift_px_p95: float
    structure_kept_median: float

    def better_than(self, other: "Validation") -> bool:
        """Preserving beats not preserving; among those that preserve the more real one is better."""
        return self._order() < other._order()

    def _order(self) -> tuple[float, float]:
        return max(self.lost_fraction, MOST_LOST), self.sliced_wasserstein


@dataclass(frozen=True)
class Chosen:
    """The best refiner so far."""

    step: int
    validation: Validation
    refiner: dict[str, Tensor]
    """Its averaged weights, on the CPU."""


@dataclass
class Validator:
    """Measures refiners on the same images, with the same noise, and remembers the best."""

    synthetic: Images
    real: Images
    seed: int
    chosen: Chosen | None = field(default=None)

    def observe(self, refiner: Refiner, step: int) -> Validation:
        """Measure the refiner of `step`; it is chosen unless an earlier one is at least as good."""
        refined = refine_levels(refiner, self.synthetic, self.seed)
        kept = measure_preservation(self.synthetic, refined, cells(*self.synthetic.shape[:3]))
        found = Validation(
            sliced_wasserstein(refined, self.real).mean,
            kept.lost_fraction,
            kept.shift_px["p95"],
            kept.structure_kept["median"],
        )
        if self.chosen is None or found.better_than(self.chosen.validation):
            weights = {name: value.detach().cpu().clone() for name, value in refiner.state_dict().items()}
            self.chosen = Chosen(step, found, weights)
        return found

    def state_dict(self) -> dict[str, Any] | None:
        """The best so far, as tensors and plain values; None before the first."""
        if self.chosen is None:
            return None
        return {**vars(self.chosen), "validation": asdict(self.chosen.validation)}

    def load_state_dict(self, state: Mapping[str, Any] | None) -> None:
        """Go on from a saved state."""
        self.chosen = None
        if state is not None:
            self.chosen = Chosen(state["step"], Validation(**state["validation"]), dict(state["refiner"]))


def make_validator(data: TrainingData, seed: int) -> Validator | None:
    """For the images of a run, or None where they are too small to be compared."""
    if min(data.window) < SMALLEST_PX:
        return None
    count = min(len(data.synthetic), len(data.real), IMAGES)
    return Validator(
        draw_images(data.synthetic, data.window, seed, "validation/synthetic", count),
        draw_images(data.real, data.window, seed, "validation/real", count),
        seed,
    )


def cells(count: int, height: int, width: int) -> Regions:
    """Every image [count, height, width] cut into equal cells of CELL_PX or less."""
    tops, lefts = _edges(height), _edges(width)
    boxes = np.array(
        [(left, top, right, bottom) for top, bottom in pairwise(tops) for left, right in pairwise(lefts)],
        np.float32,
    )
    images = np.repeat(np.arange(count, dtype=np.int64), len(boxes))
    return Regions("cells", np.tile(boxes, (count, 1)), images)


def _edges(size: int) -> list[float]:
    edges: list[float] = np.linspace(0, size, -(-size // CELL_PX) + 1).tolist()
    return edges
