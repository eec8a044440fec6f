"""Owns the choice of the refiner that a run hands over: the last sound one, if possible within the budget.

At regular steps the averaged refiner is measured on images drawn once per run, without any label: what became
of the structure (the drift that the service reports) and of the colours, and how far its patches are from the
real ones (sliced Wasserstein distance). The distance is a guard, not the goal: a fresh judge tells good
refiners apart more finely than it does, and prefers later ones (EXPERIMENTS.md); but where a run goes wrong,
it sees it.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
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
SLACK = 1.5
"""A refiner this many times further from real than the nearest of its run is not sound."""
SMALLEST_PX = 16
"""Smaller images have no patches to compare; the last refiner is handed over."""
NEAR_FLOOR = 1.5
"""Below so many times the floor, a distance says nothing."""
_CIRCUMSTANCES = ("colours_count", "unrefined", "floor")
"""Of a validation: the same for every refiner of a run."""


@dataclass(frozen=True)
class Validation:
    """The numbers of one refiner."""

    sliced_wasserstein: float
    """Distance of its patches to the real ones, grey levels of 255, mean over scales."""
    lost_fraction: float
    """Regions that moved or lost more than the service accepts by default."""
    shift_px_p95: float
    structure_kept_median: float
    colours_lost_fraction: float = 0.0
    """Coloured regions whose colours cannot be told from those of others any more."""
    colours_count: bool = True
    """Whether those are lost content; not where labels tell what matters."""
    unrefined: float = math.inf
    """Distance of the synthetic patches to the real ones, in the same units."""
    floor: float = 0.0
    """That of real patches to those of other real images, as many."""

    @property
    def share_left(self) -> float:
        """Its distance to real as a share of that of the synthetic images, both above the floor; 0 to 1.

        0 where synthetic images are hardly further from real ones than these from each other.
        """
        if self.unrefined < NEAR_FLOOR * self.floor:
            return 0.0
        above = self.sliced_wasserstein - self.floor
        return min(max(above / (self.unrefined - self.floor), 0.0), 1.0) if self.unrefined > 0 else 0.0

    @property
    def lost(self) -> float:
        """Share of the regions that lost structure, or colours that count, whichever is more."""
        return max(self.lost_fraction, self.colours_lost_fraction if self.colours_count else 0.0)

    @property
    def numbers(self) -> dict[str, float]:
        """What was measured, by its name."""
        return {name: value for name, value in asdict(self).items() if name not in _CIRCUMSTANCES}

    @property
    def beyond(self) -> dict[str, bool]:
        """Of each kind of loss, by the name of its alarm, whether it is more than may be."""
        return {
            "erased_content": self.lost_fraction > MOST_LOST,
            "lost_colours": self.colours_count and self.colours_lost_fraction > MOST_LOST,
        }

    @property
    def preserves(self) -> bool:
        """Whether hardly any content was lost."""
        return self.lost <= MOST_LOST


@dataclass(frozen=True)
class Chosen:
    """The refiner to hand over, as things stand."""

    step: int
    validation: Validation
    refiner: dict[str, Tensor]
    """Its averaged weights, on the CPU."""


@dataclass
class Validator:
    """Measures the refiners of a run on the same images, with the same noise, and remembers the choice."""

    synthetic: Images
    """What becomes of their content is measured, and how far the first of them, as many as real ones, are."""
    real: Images
    seed: int
    budget: float = MOST_LOST
    """Share of regions that may be lost where there is a choice."""
    colours_count: bool = True
    """Whether lost colours are lost content, although they may be those of the ground."""
    floor: float = 0.0
    """Distance of real patches to those of other real images."""
    chosen: Chosen | None = field(default=None)
    nearest: float = field(default=math.inf)
    """The smallest distance to real of a refiner that preserves."""

    @cached_property
    def unrefined(self) -> float:
        """Distance of the synthetic patches to the real ones: what the others are to be compared with."""
        return self._distance(self.synthetic)

    def observe(self, refiner: Refiner, step: int) -> Validation:
        """Measure the refiner of `step`; it is chosen if it is sound, or if none was and it loses less.

        One beyond the budget does not take the place of a sound one within it.
        """
        refined = refine_levels(refiner, self.synthetic, self.seed)
        kept = measure_preservation(self.synthetic, refined, cells(*self.synthetic.shape[:3]))
        found = Validation(
            self._distance(refined),
            kept.lost_fraction,
            kept.shift_px["p95"],
            kept.structure_kept["median"],
            kept.colours_lost_fraction or 0.0,
            self.colours_count,
            self.unrefined,
            self.floor,
        )
        if found.preserves:
            self.nearest = min(self.nearest, found.sliced_wasserstein)
        if self._choose(found):
            weights = {name: value.detach().cpu().clone() for name, value in refiner.state_dict().items()}
            self.chosen = Chosen(step, found, weights)
        return found

    def _distance(self, images: Images) -> float:
        return sliced_wasserstein(images[: len(self.real)], self.real[: len(images)]).mean

    def _choose(self, found: Validation) -> bool:
        if self.chosen is None:
            return True
        before = self.chosen.validation
        if not found.preserves:
            return found.lost < before.lost
        if not before.preserves:
            return True
        if found.sliced_wasserstein > SLACK * self.nearest:
            return False
        # The last one may have begun to lose content with no step left for lambda to answer.
        return found.lost <= self.budget or not self._within(before)

    def _within(self, one: Validation) -> bool:
        """Whether a refiner is sound and loses no more than the budget."""
        return one.lost <= self.budget and one.sliced_wasserstein <= SLACK * self.nearest

    def state_dict(self) -> dict[str, Any] | None:
        """The choice so far, as tensors and plain values; None before the first."""
        if self.chosen is None:
            return None
        validation = asdict(self.chosen.validation)
        return {**vars(self.chosen), "validation": validation, "nearest": self.nearest}

    def load_state_dict(self, state: Mapping[str, Any] | None) -> None:
        """Go on from a saved state."""
        self.chosen, self.nearest = None, math.inf
        if state is not None:
            self.nearest = state["nearest"]
            self.chosen = Chosen(state["step"], Validation(**state["validation"]), dict(state["refiner"]))


def make_validator(
    data: TrainingData, seed: int, budget: float, *, colours_count: bool = True
) -> Validator | None:
    """For the images of a run and the budget of what may be lost; None where they are too small."""
    if min(data.window) < SMALLEST_PX:
        return None
    # Larger than the windows of training, which often show no more than the corner of a thing.
    size = data.common_part(CELL_PX)
    synthetic = draw_images(data.synthetic, size, seed, "validation/synthetic", IMAGES)
    real = draw_images(data.real, size, seed, "validation/real", min(len(data.synthetic), IMAGES))
    return Validator(synthetic, real, seed, budget, colours_count, _floor(data.real, len(real), size, seed))


def _floor(images: Images, count: int, size: tuple[int, int], seed: int) -> float:
    """What `count` real images would be away from as many others, if there were so many; 0 of fewer than 4.

    Two halves are compared. Where they are smaller they lie further apart, by the root of the count.
    """
    half = min(len(images) // 2, count)
    if half < 2:
        return 0.0
    one, other = (draw_images(images[first::2], size, seed, "validation/floor", half) for first in (0, 1))
    return sliced_wasserstein(one, other).mean * math.sqrt(half / count)


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
