"""The say of the wide discriminator."""

import pytest

torch = pytest.importorskip("torch")

from trainer.distributed import World  # noqa: E402
from trainer.say import FAIR, FOLLOWS, HOPELESS, Say  # noqa: E402
from trainer.told import EVERY, WAITS, Told  # noqa: E402

pytestmark = pytest.mark.train
ALONE = World(rank=0, size=1, local_rank=0, local_size=1)


def fresh() -> Say:
    return Say(Told.of(torch.device("cpu")))


def look(one: Say, accuracy: float, *, times: int = 1, losing: bool = False, after: int = WAITS) -> float:
    """The factor after so many more looks."""
    for step in range(after + 1, after + times * EVERY + 1):
        one.add(torch.tensor(accuracy))
        one.step(step, ALONE, losing=losing)
    return one.factor


def test_one_that_can_be_fooled_gets_its_full_say_little_by_little() -> None:
    one = fresh()
    assert look(one, FAIR) == pytest.approx(FOLLOWS)
    assert look(one, 0.5) == pytest.approx(FOLLOWS + FOLLOWS * (1 - FOLLOWS)), "never more than in full"
    assert look(one, 0.6, times=40) == pytest.approx(1, abs=1e-3)


def test_one_that_tells_nearly_all_has_none_and_loses_what_it_had() -> None:
    one = fresh()
    assert look(one, 0.95, times=4) == 0
    look(one, 0.6, times=20)
    assert look(one, HOPELESS, times=20) < 0.02


def test_between_the_two_its_say_is_in_between() -> None:
    assert look(fresh(), (FAIR + HOPELESS) / 2, times=40) == pytest.approx(0.5, abs=1e-3)


def test_while_content_is_lost_its_say_shrinks() -> None:
    one = fresh()
    before = look(one, 0.6, times=5)
    assert look(one, 0.6, losing=True) == pytest.approx(before * (1 - FOLLOWS))


def test_the_first_steps_say_nothing() -> None:
    one = fresh()
    for after in range(0, WAITS, EVERY):
        assert look(one, 0.6, after=after) == 0
    assert look(one, 0.9) == 0, "what was told before is forgotten"


def test_it_goes_on_from_a_saved_state() -> None:
    one, other = fresh(), fresh()
    look(one, 0.6, times=3)
    one.add(torch.tensor(0.6))
    other.load_state_dict(one.state_dict())
    after = WAITS + EVERY
    assert look(one, 0.8, after=after) == look(other, 0.8, after=after) > 0
