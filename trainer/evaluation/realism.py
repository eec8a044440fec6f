"""Owns how far a set of images is from the real ones: five measures, in their frame."""

from dataclasses import dataclass, field

from trainer.evaluation.judge import Judging, cross_judge
from trainer.evaluation.kernel_distance import kernel_distance
from trainer.evaluation.layout import layout_of
from trainer.evaluation.progress import Progress
from trainer.evaluation.results import Estimate, Realism, Realities
from trainer.evaluation.samples import draw, halves
from trainer.evaluation.sliced_wasserstein import sliced_wasserstein
from trainer.evaluation.spectrum import frequencies, radial_spectrum, spectrum_distance
from trainer.sources import Images

FEWEST_IMAGES = 8
"""Of each set, after the real ones were cut in halves."""


@dataclass(frozen=True)
class RealismSettings:
    """How much is compared."""

    images: int = 2000
    """At most so many of each set."""
    seeds: int = 1
    """Judges per fold."""
    judging: Judging = field(default_factory=Judging)


def compared(images: int, real: int, settings: RealismSettings) -> int:
    """Images of each set that are compared: as many for the floor, the start and every refiner."""
    return min(images, real // 2, settings.images)


def measure_realism(
    images: Images, real: Images, settings: RealismSettings, progress: Progress | None = None
) -> Realism:
    """Compare a set with half of the real images, always the same half; grey levels [N, H, W, C] of one size.

    Sides of 16 px or more; at least FEWEST_IMAGES images and twice as many real ones.
    """
    count = compared(len(images), len(real), settings)
    reference, _ = halves(real, count)
    return _measure(draw(images, count), reference, settings, progress)


def realities(
    synthetic: Images, real: Images, settings: RealismSettings, progress: Progress | None = None
) -> Realities:
    """What real images score against real ones, and the synthetic ones before refinement."""
    count = compared(len(synthetic), len(real), settings)
    reference, others = halves(real, count)
    progress = progress or Progress()
    progress.turn_to("floor (real images)")
    floor = _measure(others, reference, settings, progress)
    progress.turn_to("start (synthetic images)")
    start = _measure(draw(synthetic, count), reference, settings, progress)
    return Realities(
        images=count,
        frequencies=tuple(frequencies(*reference.shape[1:3]).tolist()),
        real_spectrum=tuple(radial_spectrum(reference).tolist()),
        floor=floor,
        start=start,
    )


def _measure(images: Images, real: Images, settings: RealismSettings, progress: Progress | None) -> Realism:
    assert len(images) >= FEWEST_IMAGES, len(images)
    spectrum = radial_spectrum(images)
    return Realism(
        judge=cross_judge(images, real, range(settings.seeds), settings.judging, progress),
        kernel_distance=kernel_distance(images, real),
        sliced_wasserstein=sliced_wasserstein(images, real),
        spectrum=tuple(spectrum.tolist()),
        spectrum_distance=spectrum_distance(spectrum, radial_spectrum(real)),
        layout=_layout(images, real, settings),
    )


def _layout(images: Images, real: Images, settings: RealismSettings) -> Estimate | None:
    one, other = layout_of(images), layout_of(real)
    if one is None or other is None:
        return None
    return cross_judge(one, other, range(settings.seeds), settings.judging)
