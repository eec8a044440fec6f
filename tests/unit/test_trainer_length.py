"""How long a run is: as asked, or as its limit where refiners are far from real."""

import pytest

from trainer.length import Length


def run(distances: list[float], *, limit: int = 9000, decay_share: float = 0.5) -> tuple[int, list[int]]:
    """How many steps it makes with these validations (the last one again and again), and when it grew."""
    length, step, grew = Length.of(3000, limit, decay_share, 250), 0, []
    while step < length.last:
        step = min(step + 250, length.last)
        at = min(step // 250, len(distances)) - 1
        if length.observe(step, distances[at]):
            grew.append(step)
    return length.last, grew


def test_what_is_far_is_as_long_as_its_limit() -> None:
    assert run([1.0]) == (9000, [1500])
    assert run([0.9, 0.5, 0.4, 0.3, 0.3, 0.13]) == (9000, [1500])


def test_what_is_near_is_as_long_as_asked() -> None:
    assert run([0.9, 0.8, 0.7, 0.6, 0.5, 0.12]) == (3000, [])
    assert run([0.9, 0.8, 0.09, 0.6, 0.5, 0.4]) == (3000, [])  # it was near once


def test_once_the_rate_falls_nothing_is_decided_any_more() -> None:
    assert run([0.9, 0.09, 0.3, 0.9, 0.9, 0.05, 0.9, 0.9]) == (3000, [])
    assert run([0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.05]) == (9000, [1500])


@pytest.mark.parametrize("limit", [0, 2000, 3000])
def test_a_limit_that_is_no_more_than_asked_leaves_no_choice(limit: int) -> None:
    assert run([1.0], limit=limit) == (3000, [])


@pytest.mark.parametrize(
    ("steps", "every", "decides"),
    [(4100, 400, 2000), (3000, 700, 1400), (3000, 750, 1500), (1900, 250, None)],
)
def test_the_last_validation_before_the_rate_falls_decides(
    steps: int, every: int, decides: int | None
) -> None:
    length = Length.of(steps, 9000, 0.5, every)
    grew = [step for step in range(every, steps, every) if length.observe(step, 0.5)]
    assert grew == ([] if decides is None else [decides])


def test_the_rate_falls_at_the_end_of_whatever_length() -> None:
    length = Length.of(3000, 9000, 0.5, 250)
    assert [length.rate(step) for step in (0, 1500, 2250, 2999)] == pytest.approx([1, 1, 0.5, 1 / 1500])
    length.last = 9000
    assert [length.rate(step) for step in (0, 1500, 4500, 6750)] == pytest.approx([1, 1, 1, 0.5])
    assert Length.of(3000, 9000, 0.0, 250).rate(2999) == 1.0


def test_a_rate_that_never_falls_is_decided_on_at_the_end() -> None:
    assert run([0.9], decay_share=0) == (9000, [3000])


def test_it_goes_on_from_a_saved_state() -> None:
    length = Length.of(3000, 9000, 0.5, 250)
    for step in range(250, 1501, 250):
        length.observe(step, 1 - step / 3000)
    again = Length.of(3000, 9000, 0.5, 250)
    again.load_state_dict(length.state_dict())
    assert again == length
    assert again.last == 9000

    asked_for_more = Length.of(6000, 9000, 0.5, 250)
    asked_for_more.load_state_dict(length.state_dict())
    assert asked_for_more.last == 6000
    assert asked_for_more.nearest == length.nearest
    asked_for_more.load_state_dict(None)
    assert asked_for_more.last == 6000


def test_without_a_choice_a_run_that_grew_is_as_long_as_asked_again() -> None:
    grown = Length.of(3000, 9000, 0.5, 250)
    assert grown.observe(1500, 0.5)
    asked_again = Length.of(3000, 0, 0.5, 250)
    asked_again.load_state_dict(grown.state_dict())
    assert asked_again.last == 3000
    assert not asked_again.observe(1500, 0.5)
