"""The choice of the refiner that a run hands over, without labels."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from model.refiner import Refiner, RefinerConfig  # noqa: E402
from trainer import validation  # noqa: E402
from trainer.data import TrainingData  # noqa: E402
from trainer.evaluation.results import Preservation  # noqa: E402
from trainer.length import FAR as FAR_FROM_REAL  # noqa: E402
from trainer.samples import sample_rows  # noqa: E402
from trainer.validation import CELL_PX, Validation, Validator, cells, make_validator  # noqa: E402

pytestmark = pytest.mark.train


def squares(level: int, ink: int) -> np.ndarray:
    images = np.full((24, 32, 32, 1), level, np.uint8)
    for index, image in enumerate(images):
        image[6 + index % 8 : 18 + index % 8, 8:20] = ink
    return images


def off_the_middle(level: int, ink: int) -> np.ndarray:
    """96x96 px, flat in the middle and along the borders, with a square in every corner."""
    images = np.full((24, 96, 96, 1), level, np.uint8)
    for top in (8, 64):
        for left in (8, 64):
            images[:, top : top + 24, left : left + 24] = ink
    return images


def refiner(brighter: float = 0.0, erasing: float = 0.0) -> Refiner:
    """The image · (1 - erasing) + brighter, by its own weights."""
    made = Refiner(RefinerConfig(width=2, blocks=1, output="residual"))
    with torch.no_grad():
        for weight in made.parameters():
            weight.zero_()
        # Two features, relu(x) and relu(-x): their difference is x.
        made.first.weight[0, 0, 1, 1], made.first.weight[1, 0, 1, 1] = 1.0, -1.0
        made.last.weight[0, 0], made.last.weight[0, 1] = -erasing, erasing
        nn.init.constant_(made.last.bias, brighter)
    return made.eval()


def observed(*refiners: Refiner) -> Validator:
    validator = Validator(squares(60, 120), squares(160, 220), seed=0)
    for step, one in enumerate(refiners, start=1):
        validator.observe(one, step)
    return validator


def chosen(*refiners: Refiner) -> int:
    found = observed(*refiners).chosen
    assert found is not None
    return found.step


BETTER, NEAR, FAR = refiner(brighter=0.7), refiner(brighter=0.68), refiner(brighter=0.3)
ERASING = refiner(brighter=0.4, erasing=0.999)


def test_the_measurement_sees_distance_and_erasing() -> None:
    validator = observed()
    near, far, erasing = (validator.observe(one, 1) for one in (NEAR, FAR, ERASING))
    assert near.sliced_wasserstein < far.sliced_wasserstein
    assert (near.lost_fraction, far.lost_fraction, erasing.lost_fraction) == (0.0, 0.0, 1.0)


def test_what_lies_off_the_middle_of_large_images_is_measured() -> None:
    synthetic, real = off_the_middle(60, 120), off_the_middle(160, 220)
    validator = make_validator(TrainingData(synthetic, real, (32, 32)), 0, 0.01)
    assert validator is not None
    assert validator.synthetic.shape == validator.real.shape == (24, CELL_PX, CELL_PX, 1)
    assert validator.observe(ERASING, 1).lost_fraction == 1.0


def test_a_grid_shows_images_and_not_the_small_windows_of_training() -> None:
    synthetic, real = off_the_middle(60, 120), squares(160, 220)
    rows = sample_rows(NEAR, TrainingData(synthetic, synthetic, (32, 32)), seed=0, columns=4)
    assert [row.images.shape for row in rows] == [(4, 96, 96, 1)] * 3
    rows = sample_rows(NEAR, TrainingData(synthetic, real, (32, 32)), seed=0, columns=4)
    assert [row.images.shape for row in rows] == [(4, 32, 32, 1)] * 3


def test_the_last_sound_refiner_is_handed_over() -> None:
    assert chosen(FAR, NEAR, BETTER) == 3
    assert chosen(FAR, BETTER, NEAR) == 3


def test_one_that_went_wrong_is_not() -> None:
    assert chosen(FAR, NEAR, FAR) == 2
    assert chosen(FAR, NEAR, ERASING) == 2
    assert chosen(ERASING, FAR, ERASING) == 2


def test_weights_of_the_chosen_one_are_kept() -> None:
    found = observed(FAR, NEAR, ERASING).chosen
    assert found is not None
    assert all(torch.equal(found.refiner[name], value) for name, value in NEAR.state_dict().items())


def test_the_choice_survives_a_restart() -> None:
    before = Validator(squares(60, 120), squares(160, 220), seed=0)
    assert before.state_dict() is None
    before.observe(NEAR, 1)
    after = Validator(before.synthetic, before.real, seed=0)
    after.load_state_dict(before.state_dict())
    after.observe(ERASING, 2)
    assert after.chosen is not None
    assert after.chosen.step == 1
    assert after.nearest == before.nearest
    assert after.chosen.validation == before.chosen.validation  # type: ignore[union-attr]


def test_large_images_are_measured_in_cells() -> None:
    found = cells(2, 100, 64)
    assert found.boxes.tolist() == [[0, 0, 64, 50], [0, 50, 64, 100]] * 2
    assert found.images.tolist() == [0, 0, 1, 1]


def test_a_refiner_that_takes_colours_away_does_not_preserve() -> None:
    def discs(one: tuple[int, int, int], other: tuple[int, int, int]) -> np.ndarray:
        images = np.full((24, 32, 32, 3), 180, np.uint8)
        images[::2, 8:24, 8:24], images[1::2, 8:24, 8:24] = one, other
        return images

    made = Refiner(RefinerConfig(channels=3, width=2, blocks=1, output="residual")).eval()
    grey = Refiner(RefinerConfig(channels=3, width=6, blocks=1, output="residual")).eval()
    with torch.no_grad():
        for weight in [*made.parameters(), *grey.parameters()]:
            weight.zero_()
        # relu(x) and relu(-x) of every channel; what is added makes each the mean of the three.
        for channel in range(3):
            grey.first.weight[2 * channel, channel, 1, 1] = 1.0
            grey.first.weight[2 * channel + 1, channel, 1, 1] = -1.0
            for target in range(3):
                change = 1 / 3 - (target == channel)
                grey.last.weight[target, 2 * channel], grey.last.weight[target, 2 * channel + 1] = (
                    change,
                    -change,
                )
    images = discs((60, 90, 200), (60, 170, 80))
    validator = Validator(images, images, seed=0)
    assert validator.observe(made, 1).colours_lost_fraction == 0.0
    found = validator.observe(grey, 2)
    assert (found.colours_lost_fraction, found.lost, found.preserves) == (1.0, 1.0, False)
    assert found.beyond["lost_colours"]
    assert validator.chosen is not None
    assert validator.chosen.step == 1
    uncounted = Validator(images, images, seed=0, colours_count=False).observe(grey, 2)
    assert (uncounted.colours_lost_fraction, uncounted.lost, uncounted.preserves) == (1.0, 0.0, True)
    assert not uncounted.beyond["lost_colours"]


@pytest.mark.parametrize(
    ("refiners", "lost", "wanted"),
    [
        ((NEAR, NEAR), (0.008, 0.016), 1),
        ((NEAR, NEAR), (0.016, 0.008), 2),
        ((NEAR, NEAR), (0.016, 0.016), 2),
        ((FAR, BETTER), (0.0, 0.016), 2),
        ((FAR, BETTER, NEAR), (0.0, 0.008, 0.016), 2),
        ((NEAR, NEAR), (0.03, 0.016), 2),
    ],
)
def test_one_beyond_the_budget_takes_the_place_of_none_that_is_within_it_and_sound(
    refiners: tuple[Refiner, ...], lost: tuple[float, ...], wanted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = validation.measure_preservation
    losses = iter(lost)

    def losing(*arguments: Any) -> Preservation:
        return replace(measured(*arguments), lost_fraction=next(losses))

    monkeypatch.setattr(validation, "measure_preservation", losing)
    validator = Validator(squares(60, 120), squares(160, 220), seed=0, budget=0.01)
    for step, one in enumerate(refiners, start=1):
        validator.observe(one, step)
    assert validator.chosen is not None
    assert validator.chosen.step == wanted


def test_what_is_as_near_as_real_images_are_to_each_other_has_nothing_left() -> None:
    """Few images of one kind lie far from each other; no refiner is nearer."""
    rng = np.random.default_rng(1)
    real, others = (
        np.clip(rng.normal(140, rng.uniform(5, 40, (48, 1, 1, 1)), (48, 32, 32, 1)), 0, 255).astype(np.uint8)
        for _ in range(2)
    )
    validator = make_validator(TrainingData(squares(120, 160), real, (32, 32)), 0, 0.01)
    assert validator is not None
    perfect = validation.sliced_wasserstein(others[:24], validator.real).mean
    at_start = Validation(
        validator.unrefined, 0.0, 0.0, 1.0, unrefined=validator.unrefined, floor=validator.floor
    )
    assert at_start.share_left == 1.0
    assert perfect > FAR_FROM_REAL * validator.unrefined
    assert replace(at_start, sliced_wasserstein=perfect).share_left < 0.1


def test_sets_that_are_near_from_the_start_leave_nothing() -> None:
    assert Validation(2.9, 0.0, 0.0, 1.0, unrefined=2.9, floor=2.0).share_left == 0.0
    assert Validation(2.9, 0.0, 0.0, 1.0, unrefined=3.9, floor=2.0).share_left == pytest.approx(0.9 / 1.9)


def test_the_content_of_many_images_is_measured_where_real_ones_are_few() -> None:
    few = TrainingData(np.tile(squares(60, 120), (5, 1, 1, 1)), squares(160, 220)[:6], (32, 32))
    validator = make_validator(few, 0, 0.01)
    assert validator is not None
    assert (len(validator.synthetic), len(validator.real)) == (120, 6)
    found = validator.observe(NEAR, 1)
    assert math.isfinite(found.sliced_wasserstein)
