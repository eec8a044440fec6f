"""The choice of the refiner that a run hands over: real and preserving, judged without labels."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from model.refiner import Refiner, RefinerConfig  # noqa: E402
from trainer.validation import Validation, Validator, cells  # noqa: E402

pytestmark = pytest.mark.train


def numbers(distance: float, lost: float) -> Validation:
    return Validation(distance, lost, shift_px_p95=0.1, structure_kept_median=0.9)


def test_of_two_that_preserve_the_more_real_one_is_better() -> None:
    assert numbers(3.0, 0.01).better_than(numbers(4.0, 0.0))
    assert not numbers(4.0, 0.0).better_than(numbers(3.0, 0.01))


def test_one_that_erases_loses_however_real_it_looks() -> None:
    assert numbers(9.0, 0.02).better_than(numbers(1.0, 0.05))
    assert numbers(9.0, 0.04).better_than(numbers(1.0, 0.05))


def squares(level: int, ink: int) -> np.ndarray:
    images = np.full((24, 32, 32, 1), level, np.uint8)
    for index, image in enumerate(images):
        image[6 + index % 8 : 18 + index % 8, 8:20] = ink
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


def test_a_run_hands_over_the_most_real_refiner_that_keeps_the_content() -> None:
    validator = Validator(squares(60, 120), squares(160, 220), seed=0)
    halfway = validator.observe(refiner(brighter=0.4), 1)
    there = validator.observe(refiner(brighter=0.78), 2)
    erased = validator.observe(refiner(brighter=0.3, erasing=0.999), 3)
    beyond = validator.observe(refiner(brighter=0.9), 4)
    assert there.sliced_wasserstein < min(halfway.sliced_wasserstein, beyond.sliced_wasserstein)
    assert (halfway.lost_fraction, there.lost_fraction, erased.lost_fraction) == (0.0, 0.0, 1.0)
    assert validator.chosen is not None
    assert validator.chosen.step == 2
    assert torch.equal(validator.chosen.refiner["last.bias"], torch.tensor([0.78]))


def test_the_choice_survives_a_restart() -> None:
    before = Validator(squares(60, 120), squares(160, 220), seed=0)
    assert before.state_dict() is None
    before.observe(refiner(brighter=0.4), 1)
    after = Validator(before.synthetic, before.real, seed=0)
    after.load_state_dict(before.state_dict())
    after.observe(refiner(brighter=0.1), 2)
    assert after.chosen is not None
    assert after.chosen.step == 1
    assert after.chosen.validation == before.chosen.validation  # type: ignore[union-attr]


def test_large_images_are_measured_in_cells() -> None:
    found = cells(2, 100, 64)
    assert found.boxes.tolist() == [[0, 0, 64, 50], [0, 50, 64, 100]] * 2
    assert found.images.tolist() == [0, 0, 1, 1]
