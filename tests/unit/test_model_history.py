"""The history: the rule of the paper's section 2.3, slot by slot."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from model.errors import HistoryError  # noqa: E402
from model.history import HistoryBuffer  # noqa: E402

pytestmark = pytest.mark.train


def history(capacity: int, seed: int = 0) -> HistoryBuffer:
    return HistoryBuffer(capacity, torch.Generator().manual_seed(seed))


def batch(first: int, count: int) -> "torch.Tensor":
    """Images [count, 1, 1, 2] that hold their own number."""
    return torch.arange(first, first + count, dtype=torch.float32).reshape(-1, 1, 1, 1).expand(-1, 1, 1, 2)


def numbers(images: "torch.Tensor | None") -> list[int]:
    return [] if images is None else [int(value) for value in images[:, 0, 0, 0]]


def test_the_first_batch_is_all_current_and_half_of_it_is_stored() -> None:
    buffer = history(8)

    mixed = buffer.mix(batch(0, 4))

    assert numbers(mixed) == [0, 1, 2, 3]
    assert numbers(buffer.images) == [2, 3]


def test_then_half_of_the_batch_is_current_and_half_comes_from_the_history() -> None:
    buffer = history(8)
    buffer.mix(batch(0, 4))

    mixed = buffer.mix(batch(10, 4))

    assert numbers(mixed)[:2] == [10, 11]
    assert sorted(numbers(mixed)[2:]) == [2, 3]
    assert numbers(buffer.images) == [2, 3, 12, 13]


def test_what_was_refined_long_ago_comes_back() -> None:
    # The bug of five ports: the result of np.append is dropped, so the history stays empty for ever.
    buffer = history(6)
    returned: set[int] = set()

    for step in range(12):
        returned |= {number for number in numbers(buffer.mix(batch(100 * step, 4))) if number < 100 * step}

    assert {number // 100 for number in returned} >= set(range(8))


def test_the_capacity_is_never_exceeded_even_when_the_last_slots_are_fewer_than_half_a_batch() -> None:
    buffer = history(5)

    sizes = []
    for step in range(6):
        buffer.mix(batch(100 * step, 4))
        sizes.append(len(buffer))

    assert sizes == [2, 4, 5, 5, 5, 5]
    assert buffer.images.shape == (5, 1, 1, 2)


def test_a_full_history_has_exactly_half_a_batch_of_distinct_slots_overwritten() -> None:
    buffer = history(6)
    for step in range(3):
        buffer.mix(batch(100 * step, 4))

    for step in range(3, 40):
        before = numbers(buffer.images)
        buffer.mix(batch(100 * step, 4))
        changed = [new for old, new in zip(before, numbers(buffer.images), strict=True) if old != new]
        assert sorted(changed) == [100 * step + 2, 100 * step + 3]


def test_the_recalled_images_are_distinct() -> None:
    buffer = history(4)
    buffer.mix(batch(0, 8))

    for step in range(1, 20):
        recalled = numbers(buffer.mix(batch(100 * step, 8)))[4:]
        assert len(set(recalled)) == 4


def test_every_slot_is_recalled_and_overwritten_equally_often() -> None:
    buffer = history(10)
    for step in range(5):
        buffer.mix(batch(100 * step, 4))
    overwritten = torch.zeros(10)

    for step in range(5, 2005):
        before = numbers(buffer.images)
        buffer.mix(batch(100 * step, 4))
        overwritten += torch.tensor(
            [old != new for old, new in zip(before, numbers(buffer.images), strict=True)], dtype=torch.float32
        )

    # 2000 draws of 2 in 10: 400 each, five standard deviations of 18.
    assert overwritten.min() > 310
    assert overwritten.max() < 490


def test_an_odd_batch_keeps_its_size_and_recalls_the_smaller_half() -> None:
    buffer = history(8)
    buffer.mix(batch(0, 5))

    mixed = buffer.mix(batch(10, 5))

    assert numbers(mixed)[:3] == [10, 11, 12]
    assert sorted(numbers(mixed)[3:]) == [3, 4]


def test_a_small_history_gives_only_current_images_until_it_holds_half_a_batch() -> None:
    buffer = history(8)
    buffer.mix(batch(0, 4))

    assert numbers(buffer.mix(batch(10, 6))) == [10, 11, 12, 13, 14, 15]
    assert len(buffer) == 5


def test_nothing_that_leaves_or_stays_is_tied_to_the_refiner() -> None:
    buffer = history(4)
    refined = (batch(0, 4) * 1.0).requires_grad_()

    mixed = buffer.mix(refined * 1.0)

    assert not mixed.requires_grad
    assert not buffer.images.requires_grad


def test_the_history_keeps_its_images_when_the_callers_tensor_changes() -> None:
    buffer = history(4)
    refined = batch(0, 4).clone()
    buffer.mix(refined)

    refined.fill_(99.0)

    assert numbers(buffer.images) == [2, 3]


def test_a_restored_history_goes_on_bit_for_bit(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(5)
    never_stopped = history(7)
    for _ in range(6):
        never_stopped.mix(torch.randn(4, 1, 3, 3, generator=generator))
    torch.save(never_stopped.state_dict(), tmp_path / "history.pt")
    resumed = history(7, seed=99)
    resumed.load_state_dict(torch.load(tmp_path / "history.pt", weights_only=True))

    for _ in range(6):
        refined = torch.randn(4, 1, 3, 3, generator=generator)
        assert torch.equal(never_stopped.mix(refined), resumed.mix(refined))
    assert torch.equal(never_stopped.images, resumed.images)


def test_a_saved_state_does_not_change_with_the_history() -> None:
    buffer = history(4)
    buffer.mix(batch(0, 4))
    state = buffer.state_dict()

    for step in range(1, 9):
        buffer.mix(batch(100 * step, 4))

    assert numbers(state["images"]) == [2, 3]


def test_an_empty_history_can_be_saved_and_restored() -> None:
    buffer = history(4)
    buffer.mix(batch(0, 4))

    buffer.load_state_dict(history(4).state_dict())

    assert len(buffer) == 0
    assert numbers(buffer.mix(batch(10, 4))) == [10, 11, 12, 13]


def test_a_state_of_another_capacity_is_refused() -> None:
    with pytest.raises(HistoryError, match="capacity of 4 images, this one of 6"):
        history(6).load_state_dict(history(4).state_dict())


@pytest.mark.parametrize(("capacity", "count"), [(4, 1), (4, 10)])
def test_half_a_batch_must_be_an_image_and_fit(capacity: int, count: int) -> None:
    with pytest.raises(HistoryError, match=f"half of a batch of {count}"):
        history(capacity).mix(batch(0, count))


def test_images_of_another_size_are_refused() -> None:
    buffer = history(4)
    buffer.mix(batch(0, 4))

    with pytest.raises(HistoryError, match=r"\[C, H, W\] = \[1, 1, 2\], but was given \[1, 3, 3\]"):
        buffer.mix(torch.zeros(4, 1, 3, 3))


def test_a_history_without_room_is_refused() -> None:
    with pytest.raises(HistoryError, match="use at least 1"):
        history(0)
