"""The automatic judge, and the first numbers on what refinement keeps."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")

from trainer.evaluation.judge import Judging, Verdict, halves, judge  # noqa: E402
from trainer.evaluation.preservation import measure_preservation  # noqa: E402

pytestmark = pytest.mark.train
Pixels = NDArray[Any]


def squares(seed: int, count: int = 120, brightness: int = 180) -> Pixels:
    rng = np.random.default_rng(seed)
    images = np.full((count, 12, 12, 1), brightness, np.uint8)
    for image in images:
        top, left = rng.integers(0, 6, 2)
        image[top : top + 5, left : left + 5] = 40
    return np.clip(images + rng.normal(0, 6, images.shape), 0, 255).astype(np.uint8)


def test_a_wrong_exposure_is_told_nearly_always() -> None:
    assert judge(squares(0), squares(1, brightness=120), range(2)).mean > 0.9


def test_sets_of_the_same_kind_are_not_told_apart() -> None:
    one, other = halves(squares(0, 400), 0)
    assert judge(one, other, range(2)).mean == pytest.approx(0.5, abs=0.12)


def test_a_small_set_does_not_leave_its_judge_untrained() -> None:
    # Sharp squares against the same ones slightly blurred, 24 of each to learn from.
    one, other = squares(0, 48), squares(1, 48).astype(float)
    blurred = (0.6 * other + 0.2 * np.roll(other, 1, axis=1) + 0.2 * np.roll(other, -1, axis=1)).round()
    assert judge(one, blurred.astype(np.uint8), range(2)).mean > 0.9


def test_the_same_seed_gives_the_same_verdict() -> None:
    sets = squares(0, 40), squares(1, 40, brightness=170)
    short = Judging(updates=5)
    assert judge(*sets, range(2), short) == judge(*sets, range(2), short)


def test_the_interval_is_students() -> None:
    verdict = Verdict((0.70, 0.74, 0.78))
    assert verdict.mean == pytest.approx(0.74)
    assert verdict.half_width == pytest.approx(4.303 * 0.04 / 3**0.5, rel=1e-3)
    assert Verdict((0.7,)).half_width == 0.0


def test_two_halves_share_no_image() -> None:
    images = np.arange(21).astype(np.uint8).reshape(21, 1, 1, 1)
    one, other = halves(images, 3)
    assert sorted([*one.ravel(), *other.ravel()]) == list(range(21))


def test_a_change_of_exposure_keeps_every_edge_and_a_shift_does_not() -> None:
    images = squares(0, 20).astype(np.uint8)
    brighter = measure_preservation(images, images + np.uint8(5))
    assert brighter.mean_absolute_change_levels == pytest.approx(5.0)
    assert brighter.gradient_correlation == pytest.approx(1.0, abs=1e-6)
    assert measure_preservation(images, np.roll(images, 4, axis=2)).gradient_correlation < 0.5


def test_flat_images_have_no_edges_to_count() -> None:
    images = squares(0, 3)
    images[1] = 80
    assert measure_preservation(images, images).gradient_correlation == pytest.approx(1.0)
