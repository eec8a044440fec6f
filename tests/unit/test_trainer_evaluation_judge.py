"""The automatic judge: what it tells apart, what it must not, and how sure it is."""

from math import sqrt
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")

from trainer.evaluation.judge import Judging, cross_judge  # noqa: E402

pytestmark = pytest.mark.train
Pixels = NDArray[Any]
SHORT = Judging(folds=2, updates=50, batch_size=32)


def stored(images: Pixels) -> Pixels:
    return np.clip(np.round(images), 0, 255).astype(np.uint8)


def scenes(seed: int, count: int = 128, grain: float = 2.0, brightness: float = 0.0) -> Pixels:
    """Soft blobs of any size and place under grain: uint8 [count, 20, 20, 1]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:20, 0:20]
    images = np.full((count, 20, 20), 150.0)
    for _ in range(3):
        cy, cx, width, height = rng.uniform((0, 0, 1, -80), (20, 20, 5, 80), (count, 4)).T[..., None, None]
        images += height * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * width**2))
    return stored(images + brightness + rng.normal(0, grain, images.shape))[..., None]


def films(seed: int, count: int = 16, frames: int = 8) -> Pixels:
    """Consecutive frames that are nearly the same: uint8 [count * frames, 16, 16, 1]."""
    rng = np.random.default_rng(seed)
    first = np.kron(rng.uniform(40, 220, (count, 4, 4)), np.ones((4, 4)))
    return stored(np.repeat(first, frames, axis=0) + rng.normal(0, 1, (count * frames, 16, 16)))[..., None]


def test_a_wrong_exposure_is_told_nearly_always() -> None:
    assert cross_judge(scenes(0, brightness=60), scenes(1), judging=SHORT).mean > 0.95


def test_grain_of_two_levels_more_is_found() -> None:
    # Levels deviate by 2 in one set and by 2.8 in the other, around blobs of up to 80 levels.
    patient = Judging(folds=2, updates=80, batch_size=32)
    subtle = cross_judge(scenes(0, grain=sqrt(8)), scenes(1), judging=patient)
    assert subtle.mean > 0.8


def test_sets_of_the_same_kind_are_not_told_apart() -> None:
    same = cross_judge(scenes(0), scenes(1), judging=SHORT)
    assert same.mean == pytest.approx(0.5, abs=0.12)
    assert same.low < 0.5 < same.high


def test_neighbours_in_a_film_do_not_help_the_judge() -> None:
    """Films of one kind in both sets: only who has seen another frame knows which set one belongs to."""
    one, other = films(0), films(1)
    leaking = Judging(folds=2, updates=100, batch_size=32, blocks=64)
    honest = Judging(folds=2, updates=100, batch_size=32, blocks=8)
    assert cross_judge(one, other, judging=leaking).mean > 0.75
    assert cross_judge(one, other, judging=honest).mean == pytest.approx(0.5, abs=0.2)


def test_a_small_set_does_not_leave_its_judges_untrained() -> None:
    assert cross_judge(scenes(0, 24, grain=6), scenes(1, 24), judging=SHORT).mean > 0.8


def test_there_is_a_value_for_every_fold_and_seed_and_the_same_seeds_give_the_same() -> None:
    sets = scenes(0, 16), scenes(1, 16, brightness=10)
    short = Judging(updates=3)
    verdict = cross_judge(*sets, range(2), short)
    assert len(verdict.values) == short.folds * 2
    assert verdict == cross_judge(*sets, range(2), short)
    assert verdict.mean == pytest.approx(np.mean(verdict.values))
    assert 0 <= verdict.low <= verdict.mean <= verdict.high <= 1


def test_the_interval_is_never_narrower_than_the_images_allow() -> None:
    # Judges that learned nothing agree exactly on equal sets: 0.5 in every fold, and yet not for sure.
    images = scenes(0, 32)
    verdict = cross_judge(images, images, judging=Judging(updates=1))
    assert verdict.values == (0.5,) * 4
    assert verdict.high - 0.5 == pytest.approx(1.96 * sqrt(0.25 / 64))


def test_windows_of_large_images_are_learned_from_and_whole_images_are_judged() -> None:
    rng = np.random.default_rng(0)
    one, other = (stored(rng.normal(128, sigma, (8, 60, 50, 1))) for sigma in (4, 12))
    assert cross_judge(one, other, judging=Judging(folds=2, updates=50, batch_size=4)).mean > 0.9
