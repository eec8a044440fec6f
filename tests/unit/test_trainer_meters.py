"""Averages between log lines, and the watch for numbers that are not finite."""

import pytest

torch = pytest.importorskip("torch")

from trainer.distributed import World  # noqa: E402
from trainer.errors import DivergedError  # noqa: E402
from trainer.meters import Meters  # noqa: E402

pytestmark = pytest.mark.train
ALONE = World(rank=0, size=1, local_rank=0, local_size=1)


def terms(**values: float) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(value) for name, value in values.items()}


def make() -> Meters:
    return Meters(("a", "b", "c"), torch.device("cpu"))


def test_means_are_those_since_the_last_reading_and_only_of_what_was_added() -> None:
    meters = make()
    meters.add(terms(a=1.0, b=2.0), 1)
    meters.add(terms(a=3.0, b=2.0), 2)
    assert meters.read(ALONE) == {"a": 2.0, "b": 2.0}
    meters.add(terms(c=5.0), 3)
    assert meters.read(ALONE) == {"c": 5.0}


def test_a_number_that_is_not_finite_is_named_with_its_step_even_after_a_reading() -> None:
    meters = make()
    meters.add(terms(a=1.0, b=2.0), 1)
    meters.check(ALONE)
    meters.add(terms(a=1.0, b=float("inf")), 2)
    meters.add(terms(a=float("nan"), b=float("nan")), 3)
    meters.read(ALONE)
    with pytest.raises(DivergedError, match=r"b is inf in update 2"):
        meters.check(ALONE)


def test_a_saved_average_goes_on() -> None:
    meters, again = make(), make()
    meters.add(terms(a=1.0, b=2.0), 1)
    again.load_state_dict(meters.state_dict())
    for each in (meters, again):
        each.add(terms(a=4.0, b=2.5), 2)
    assert meters.read(ALONE) == again.read(ALONE)
