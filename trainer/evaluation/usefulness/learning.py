"""Owns how long and on how much an estimator learns."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Learning:
    """The same for every arm: all get as many updates, whatever they learn from.

    The number of updates does not depend on the number of images: counted in passes, an arm with more
    images would also be trained longer.
    """

    seeds: int = 3
    updates: int | None = None
    """None: as many as the kind of label needs (see each estimation)."""
    most_images: int = 10_000
    """Of the synthetic set; a larger one is sampled."""
    variants: int = 2
    """Refined images of one synthetic image, where the refiner takes noise."""
    most_side: int = 96
    """Larger images are averaged over whole squares of pixels until their longer side is below this, px."""
    device: str = "cpu"

    def __post_init__(self) -> None:
        assert self.seeds >= 1, self.seeds
        assert self.variants >= 1, self.variants


QUICK = Learning(seeds=2, updates=300, most_images=2000, variants=1)
"""For a first look while a refiner is still being trained; its scores are lower than those of the default."""
