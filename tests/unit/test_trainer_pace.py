"""The pace of the refiner."""

import pytest

torch = pytest.importorskip("torch")

from trainer.distributed import World  # noqa: E402
from trainer.pace import FASTER, KEEPS_UP, LAGS, Pace  # noqa: E402
from trainer.told import EVERY, WAITS, Told  # noqa: E402

pytestmark = pytest.mark.train
ALONE = World(rank=0, size=1, local_rank=0, local_size=1)


def pace(limit: float = 3.0) -> Pace:
    return Pace(limit, Told.of(torch.device("cpu")))


def told(accuracy: float) -> dict[str, torch.Tensor]:
    """Terms of a discriminator that tells so many patches right, real ones more often than refined ones."""
    return {
        "accuracy_on_refined": torch.tensor(accuracy - 0.1),
        "accuracy_on_real": torch.tensor(accuracy + 0.1),
    }


def look(one: Pace, accuracy: float, *, losing: bool = False, after: int = WAITS) -> float:
    """The factor after the next look."""
    for step in range(after + 1, after + EVERY + 1):
        one.add(told(accuracy))
        one.add(told(accuracy))
        one.step(step, ALONE, losing=losing)
    return one.factor


def test_a_refiner_that_lags_gets_faster_up_to_the_limit() -> None:
    one = pace()
    assert look(one, LAGS + 0.01) == pytest.approx(FASTER)
    for _ in range(30):
        look(one, 0.9)
    assert one.factor == 3.0


def test_it_keeps_its_pace_between_the_two_marks_and_comes_back_below() -> None:
    one = pace()
    for _ in range(3):
        look(one, 0.9)
    assert look(one, (LAGS + KEEPS_UP) / 2) == pytest.approx(FASTER**3)
    assert look(one, KEEPS_UP - 0.01) == pytest.approx(FASTER**2)
    for _ in range(5):
        look(one, 0.5)
    assert one.factor == 1.0, "never slower than its base rate"


def test_while_content_is_lost_it_slows_down_whatever_the_discriminator_tells() -> None:
    one = pace()
    look(one, 0.9)
    look(one, 0.9)
    assert look(one, 0.9, losing=True) == pytest.approx(FASTER)


def test_it_looks_at_the_mean_since_the_last_look_only() -> None:
    one = pace()
    for step in range(WAITS + 1, WAITS + EVERY + 1):
        one.add(told(1.0 if step <= WAITS + 10 else 0.4))
        one.step(step, ALONE, losing=False)
    assert one.factor == 1.0, "0.64 in the mean"
    assert look(one, 0.71) == pytest.approx(FASTER)


def test_the_lead_of_the_first_steps_counts_for_nothing() -> None:
    one = pace()
    for after in range(0, WAITS, EVERY):
        assert look(one, 0.9, after=after) == 1.0
    assert look(one, LAGS - 0.01) == 1.0, "what was told before is forgotten"
    assert look(one, LAGS + 0.01) == pytest.approx(FASTER)


def test_without_a_limit_above_one_the_rate_is_fixed() -> None:
    assert look(pace(1.0), 1.0) == 1.0


def test_a_saved_pace_is_gone_on_with_in_the_middle_of_a_look() -> None:
    one, other = pace(), pace()
    look(one, 0.9)
    one.add(told(0.9))
    other.load_state_dict(one.state_dict())
    assert other == one
    other.load_state_dict(None)
    assert other == one, "a checkpoint from before there was a pace"
