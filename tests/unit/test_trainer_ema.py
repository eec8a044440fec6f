"""The running average of the refiner: what it forgets, and how soon."""

import pytest

torch = pytest.importorskip("torch")

from model.refiner import Refiner, RefinerConfig  # noqa: E402
from trainer.ema import Ema  # noqa: E402

pytestmark = pytest.mark.train


def average_after(updates: int, decay: float) -> float:
    """The average of a weight that was 0 at the start and is 1 ever after."""
    refiner = Refiner(RefinerConfig(width=2, blocks=1))
    with torch.no_grad():
        for weight in refiner.parameters():
            weight.zero_()
        ema = Ema(refiner, decay)
        for weight in refiner.parameters():
            weight.fill_(1.0)
    for update in range(1, updates + 1):
        ema.update(refiner, update)
    return next(ema.refiner.parameters()).flatten()[0].item()


def test_the_first_weights_are_soon_forgotten_whatever_the_decay() -> None:
    # Without a warm-up 0.999 ** 100, nine tenths, of the untrained weights would be left after 100 updates.
    assert average_after(100, 0.999) > 0.99


def test_the_decay_reaches_its_final_value() -> None:
    assert average_after(2, 0.5) == pytest.approx(1 - (2 / 11) * (3 / 12))
    later = average_after(40, 0.5)
    assert 1 - later < 1e-6


def test_no_decay_is_the_refiner_itself() -> None:
    assert average_after(1, 0.0) == 1.0
