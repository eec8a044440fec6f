"""Owns what an evaluation says: every number of the report, as plain frozen data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

LabelKind = Literal["classification", "segmentation", "boxes", "keypoints", "regression"]


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval, and the single values it comes from."""

    mean: float
    low: float
    high: float
    values: tuple[float, ...]

    @property
    def deviation(self) -> float:
        """Standard deviation of the values; 0 for a single one."""
        count = len(self.values)
        if count < 2:
            return 0.0
        centre = sum(self.values) / count
        return float((sum((value - centre) ** 2 for value in self.values) / (count - 1)) ** 0.5)


@dataclass(frozen=True)
class Realism:
    """How far a set of images is from the real ones; judge 0.5 and 0 for the rest mean: not at all."""

    judge: Estimate
    """Balanced accuracy of fresh classifiers on images they never saw, one value per fold and seed."""
    kernel_distance: Estimate
    """KID: unbiased squared MMD of random fixed features, one value per subset."""
    sliced_wasserstein: Estimate
    """Sliced Wasserstein distance of patches at several scales, in grey levels of 255; a value per scale."""
    spectrum: tuple[float, ...]
    """Radial power spectrum, log10, one value per frequency of `Realities.frequencies`."""
    spectrum_distance: float
    """Root mean square difference of that from the real one, in decades (0.3: a factor of two)."""
    layout: Estimate | None = None
    """As `judge`, of classifiers that see only what is lighter or darker where; None in too small images."""


@dataclass(frozen=True)
class Realities:
    """The frame in which realism is read."""

    images: int
    """Images of each set that were compared."""
    frequencies: tuple[float, ...]
    """Cycles per pixel, 0 to 0.5."""
    real_spectrum: tuple[float, ...]
    floor: Realism
    """Real against real."""
    start: Realism
    """Synthetic against real."""


@dataclass(frozen=True)
class Region:
    """What became of the structure under one annotation."""

    image: int
    """Index into the synthetic set."""
    box: tuple[float, float, float, float]
    """x1, y1, x2, y2 in px, half-open."""
    shift_px: float | None
    structure_kept: float | None
    least_kept: float | None = None
    """The same where most was lost."""


@dataclass(frozen=True)
class Histogram:
    """How many values lie between neighbouring edges; those outside are counted in the outermost bins."""

    edges: tuple[float, ...]
    """Ascending, one more than counts."""
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Preservation:
    """What refinement did to the content."""

    regions_of: str
    """What was measured: `boxes`, `instances`, `keypoints` or `whole images`."""
    measured: int
    unmeasured: int
    """Regions without structure."""
    shift_px: Mapping[str, float]
    """Quantiles of the displacement by name: `median`, `p95`, `max`."""
    structure_kept: Mapping[str, float]
    """Quantiles of the structure left: `median`, `p05`, `min`."""
    lost_fraction: float
    """Regions beyond the service's thresholds (moved by more than 1 px, less than 0.6 left, or less than 0.4
    where most was lost)."""
    worst: tuple[Region, ...]
    """The regions that lost most, worst first; at most 12."""
    mean_absolute_change_levels: float
    gradient_correlation: float
    estimator: "EstimatorChange | None"
    """None without labels."""
    shift_histogram: Histogram | None = None
    """Of the displacements, px; the report draws it where there is one."""
    kept_histogram: Histogram | None = None
    """Of the structure left, 0 to 1."""
    colours_lost_fraction: float | None = None
    """Coloured regions whose colours cannot be told from those of others any more; None in grey images."""


@dataclass(frozen=True)
class EstimatorChange:
    """The change in what an estimator trained on synthetic labels says, before and after refinement."""

    measure: str
    """E.g. `same class`, `mask IoU`, `keypoint shift`, `change of yaw`."""
    unit: str
    """`` for fractions, else px, deg, …"""
    median: float
    mean: float
    p95_worst: float
    """The value that 95 % of the images do better than."""
    per_class: Mapping[str, float]
    """Classification: agreement per class; else empty."""
    score_before: float | None = None
    """The estimator's own score (accuracy, IoU, …) against the labels, before refinement."""
    score_after: float | None = None
    """The same after: what falls here and not before is either content or a style it does not know."""
    of_both: "EstimatorChange | None" = None
    """The same of an estimator that has also learned from refined images, and so knows their style."""
    of_harmless: "EstimatorChange | None" = None
    """What this estimator says of the synthetic images under other light, a slight blur and grain, instead of
    refined: its own unsteadiness."""
    metric: str = ""
    """Name of the estimator's own score, e.g. `accuracy`."""
    skill_before: float | None = None
    """How much better than without looking it reads synthetic images: 0 no better, 1 all right."""


Arm = Literal["synthetic", "refined", "both", "real"]
Augmentation = Literal["none", "moves", "strong"]
"""What estimators see of an image: itself; itself shifted, scaled, turned and sheared a little, with its
labels; that under other light, through other lenses and sensors, behind occluders."""
AUGMENTATIONS: dict[Augmentation, str] = {"none": "", "moves": "moved", "strong": "augmented"}
"""What names of scores and gaps have behind them."""
ENDS: tuple[Arm, Arm] = ("synthetic", "real")
"""Between these a refined arm lies."""


@dataclass(frozen=True)
class Score:
    """An estimator trained on one arm, tested on real labels: one value per seed."""

    arm: Arm
    augmentation: Augmentation
    primary: Estimate
    others: Mapping[str, Estimate]


@dataclass(frozen=True)
class Usefulness:
    """Whether a network trained on refined images does better on real ones."""

    kind: LabelKind
    metric: str
    """Name of the primary metric, e.g. `accuracy`; higher is better, always."""
    test_images: int
    scores: tuple[Score, ...]
    gap_closed: Estimate | None
    """(refined - synthetic) / (real - synthetic) without augmentation, a value per seed; None without
    an upper bound or where there is no gap to close."""
    gap_closed_moved: Estimate | None
    """The same with all three arms moved: without what the sets differ by in place and pose, which no refiner
    that keeps labels can change. None, too, where labels cannot follow a move."""
    gap_closed_augmented: Estimate | None
    """The same with all three arms strongly augmented."""

    @property
    def gaps(self) -> dict[Augmentation, Estimate | None]:
        """Every gap by what the estimators saw."""
        return {
            "none": self.gap_closed,
            "moves": self.gap_closed_moved,
            "strong": self.gap_closed_augmented,
        }

    def primary(self, arm: Arm, augmentation: Augmentation = "none") -> Estimate | None:
        """The primary score of an arm; None where it was not tried."""
        found = (one for one in self.scores if (one.arm, one.augmentation) == (arm, augmentation))
        return next((one.primary for one in found), None)


@dataclass(frozen=True)
class CandidateResult:
    """Everything about one refiner."""

    name: str
    realism: Realism
    preservation: Preservation
    usefulness: Usefulness | None
    alarms: tuple[str, ...]
    """Sentences: what the numbers say has gone wrong, and what the run itself raised."""


@dataclass(frozen=True)
class Report:
    """One evaluation: several refiners side by side on one pair of sets."""

    synthetic: str
    real: str
    created_utc: str
    command: str
    settings: Mapping[str, str]
    realities: Realities
    candidates: tuple[CandidateResult, ...]
    seconds: float
