"""What is lighter or darker where: changes of looks hardly touch it, changes of content do."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")

from trainer.evaluation.judge import Judging, cross_judge  # noqa: E402
from trainer.evaluation.layout import ALIKE, DARKER, LIGHTER, layout_of  # noqa: E402
from trainer.evaluation.realism import RealismSettings, measure_realism  # noqa: E402
from trainer.evaluation.usefulness.harmless import seen_otherwise  # noqa: E402

pytestmark = pytest.mark.train
Pixels = NDArray[Any]
QUICK = Judging(folds=2, updates=120)


def discs(seed: int, count: int = 96, radius: float = 5.0) -> Pixels:
    """A dark disc somewhere on light ground, with grain: uint8 [count, 40, 44, 1]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:40, 0:44]
    centres = rng.uniform((10, 10), (30, 34), (count, 2))
    away = np.hypot(y - centres[:, :1, None], x - centres[:, 1:, None])
    clean = 190 - 110 / (1 + np.exp(away - radius))
    return stored(clean + rng.normal(0, 4, clean.shape))[..., None]


def laid_out(images: Pixels) -> Pixels:
    layout = layout_of(images)
    assert layout is not None
    return layout


def stored(images: Pixels) -> Pixels:
    return np.clip(np.round(images), 0, 255).astype(np.uint8)


def other_looks(images: Pixels) -> Pixels:
    """As if taken by another camera, in another light."""
    return seen_otherwise(images, 9)


def test_cells_are_lighter_darker_or_as_what_is_around_them() -> None:
    image = np.full((1, 48, 64, 1), 120, np.uint8)
    image[0, 16:28, 8:20] = 40
    image[0, 16:28, 44:56] = 200
    layout = laid_out(image)
    assert (layout.shape, layout.dtype) == ((1, 12, 16, 1), np.uint8)
    assert (layout[0, 5, 2:5] == DARKER).all()
    assert (layout[0, 4:7, 12] == LIGHTER).all()
    assert (layout[0, :, 7:9] == ALIKE).all()


def test_looks_hardly_change_it_and_moving_or_erasing_does() -> None:
    images = discs(0)
    before, after = laid_out(images), laid_out(other_looks(images))
    moved, erased = laid_out(np.roll(images, 8, axis=2)), laid_out(np.full_like(images, 190))
    assert (before != after).mean() < 0.08
    dark = before == DARKER
    assert (after[dark] == DARKER).mean() > 0.9
    assert (moved[dark] == DARKER).mean() < 0.4
    assert (erased == ALIKE).all()


def test_sixteen_bits_and_colours_lay_out_as_eight_bits_and_greys_do() -> None:
    images = discs(0, 8)
    plain = laid_out(images)
    deep, coloured = laid_out(images.astype(np.uint16) * 257), laid_out(images.repeat(3, axis=3))
    np.testing.assert_array_equal(plain, deep)
    np.testing.assert_array_equal(plain, coloured)


def test_a_judge_of_layout_tells_content_and_not_looks() -> None:
    same, real, larger = discs(0), other_looks(discs(1)), other_looks(discs(0, radius=8.0))
    assert cross_judge(same, real, judging=QUICK).mean > 0.98
    assert cross_judge(laid_out(same), laid_out(real), judging=QUICK).mean < 0.85
    assert cross_judge(laid_out(larger), laid_out(real), judging=QUICK).mean > 0.98


@pytest.mark.parametrize(("side", "measured"), [(32, True), (31, False)])
def test_too_small_images_have_none(side: int, measured: bool) -> None:
    images = discs(0, 16)[:, :side, :side]
    assert (layout_of(images) is not None) == measured
    found = measure_realism(images, discs(1, 32)[:, :side, :side], RealismSettings(judging=QUICK))
    assert (found.layout is not None) == measured
