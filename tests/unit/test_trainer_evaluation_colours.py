"""Whether refinement kept colours apart, found without labels."""

import numpy as np
import pytest

from trainer.evaluation.colours import MIN_KEPT, colours_kept, colours_lost
from trainer.evaluation.preservation import measure_preservation
from trainer.labels.regions import Regions

GREEN, BLUE, RED, YELLOW = (25, 140, 75), (32, 45, 155), (215, 40, 38), (235, 215, 40)
TABLE = (186, 183, 182)
REGIONS = Regions("cells", np.tile(np.array([[0, 0, 32, 32]], np.float32), (40, 1)), np.arange(40))


def discs(colours: dict[tuple[int, int, int], tuple[int, int, int]]) -> np.ndarray:
    """Forty images of a disc; each of four colours a fourth of them, in the colours given instead."""
    down, across = np.mgrid[0:32, 0:32] - 16
    images = np.empty((40, 32, 32, 3), np.uint8)
    images[:] = colours.get(TABLE, TABLE)
    for index, image in enumerate(images):
        colour = (GREEN, BLUE, RED, YELLOW)[index % 4]
        image[down**2 + across**2 < (8 + index % 5) ** 2] = colours.get(colour, colour)
    return images


def grain(sigma: float) -> np.ndarray:
    return np.random.default_rng(0).normal(0, sigma, (40, 32, 32, 3))


def clipped(levels: np.ndarray) -> np.ndarray:
    return levels.round().clip(0, 255).astype(np.uint8)


BEFORE = discs({})
HARMLESS = {
    "nothing": BEFORE,
    "darker": clipped(BEFORE * 0.6),
    "paler": clipped(BEFORE * 0.4 + 120),
    "warm light": clipped(BEFORE * (1.0, 0.9, 0.65)),
    "less colourful": clipped(0.4 * BEFORE + 0.6 * BEFORE.mean(axis=3, keepdims=True)),
    "colours of another camera": clipped(
        BEFORE @ np.array([(0.8, 0.15, 0.05), (0.1, 0.7, 0.1), (0.0, 0.25, 0.7)])
    ),
    "grain": clipped(BEFORE + grain(8)),
    "all looks": clipped(BEFORE * np.linspace(0.5, 1.1, 40)[:, None, None, None] + grain(5)),
}


@pytest.mark.parametrize("after", HARMLESS.values(), ids=HARMLESS)
def test_a_change_of_all_colours_in_one_way_loses_none(after: np.ndarray) -> None:
    assert colours_kept(BEFORE, after, REGIONS).min() > MIN_KEPT + 0.15


@pytest.mark.parametrize("repainted", [{BLUE: GREEN}, {BLUE: (60, 60, 60)}, {BLUE: (43, 125, 74)}])
def test_what_takes_the_colour_of_something_else_is_lost(repainted: dict) -> None:
    after = clipped(discs(repainted) + grain(3))
    kept = colours_kept(BEFORE, after, REGIONS)
    assert (kept[1::4] < MIN_KEPT).all()
    assert colours_lost(BEFORE, after, REGIONS) >= 0.25


def test_all_colours_gone_are_all_lost() -> None:
    grey = clipped(BEFORE.mean(axis=3, keepdims=True).repeat(3, axis=3) + grain(2))
    assert colours_lost(BEFORE, grey, REGIONS) == 1.0


def test_without_colours_there_are_none_to_lose() -> None:
    grey = clipped(BEFORE.mean(axis=3, keepdims=True).repeat(3, axis=3))
    assert colours_lost(grey, BEFORE, REGIONS) == 0.0
    assert colours_lost(grey[..., :1], BEFORE[..., :1], REGIONS) is None
    tiny = Regions("cells", np.array([[0, 0, 3, 3]], np.float32), np.zeros(1, np.int64))
    assert colours_lost(BEFORE, BEFORE, tiny) == 0.0


def test_the_report_of_what_was_preserved_has_it() -> None:
    after = discs({BLUE: GREEN})
    assert measure_preservation(BEFORE, after, REGIONS).colours_lost_fraction == 0.25
    assert measure_preservation(BEFORE[..., :1], after[..., :1], REGIONS).colours_lost_fraction is None


def test_deep_images_are_measured_on_the_same_scale() -> None:
    after = discs({BLUE: GREEN})
    deep = [images.astype(np.uint16) * 257 for images in (BEFORE, after)]
    np.testing.assert_allclose(colours_kept(*deep, REGIONS), colours_kept(BEFORE, after, REGIONS), rtol=1e-6)
