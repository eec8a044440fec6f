"""Task-aware training: an estimator of the labels says the same before and after, or the refiner pays."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from trainer.config import TrainConfig  # noqa: E402
from trainer.consistency import Consistency, Kept, make_consistency  # noqa: E402
from trainer.data import TrainingData  # noqa: E402
from trainer.distributed import World  # noqa: E402
from trainer.errors import DataError  # noqa: E402
from trainer.evaluation.usefulness.frame import Frame  # noqa: E402
from trainer.evaluation.usefulness.kinds import estimation_for  # noqa: E402
from trainer.evaluation.usefulness.statistics import overlap_lost  # noqa: E402
from trainer.labels.labels import labels_of  # noqa: E402
from trainer.labels.task import Lesson  # noqa: E402
from trainer.options import resolve  # noqa: E402
from trainer.sampling import draw_noise  # noqa: E402

pytestmark = pytest.mark.train
CPU = torch.device("cpu")
ALONE = World(0, 1, 0, 1)
KINDS = ("classification", "segmentation", "boxes", "keypoints", "regression")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def squares(count: int = 96, height: int = 16, width: int = 16) -> tuple[Any, dict[str, Lesson]]:
    """Dark squares of 6 px on a bright ground, uint8 [N, H, W, 1], and all their labels."""
    rng = np.random.default_rng(0)
    images = np.full((count, height, width, 1), 200, np.uint8)
    corners = rng.integers(1, (width - 7, height - 7), (count, 2))
    masks = np.zeros((count, height, width), np.int64)
    for image, mask, (x, y) in zip(images, masks, corners, strict=True):
        image[y : y + 6, x : x + 6] = mask[y : y + 6, x : x + 6] = 1
    images[images == 1] = 40
    corners = corners.astype(np.float32)
    arrays: dict[Any, Any] = {
        "classification": (corners[:, 0] > (width - 6) / 2).astype(np.int64),
        "segmentation": masks,
        "boxes": np.concatenate([corners, corners + 6], axis=1),
        "keypoints": np.stack([corners, corners + 6], axis=1),
        "regression": corners,
    }
    return images, {kind: Lesson(labels_of(kind, array, kind), False) for kind, array in arrays.items()}


def settings(**changes: object) -> TrainConfig:
    return resolve({"synthetic": "a", "real": "b", "batch_size": 8, "labels_updates": 30, **changes})


def consistency(
    kind: str, world: World = ALONE, *, size: int = 16, window: int = 16, **changes: object
) -> Consistency:
    images, lessons = squares(height=size, width=size)
    data = TrainingData(images, images[::-1], (window, window))
    return make_consistency(lessons[kind], data, settings(**changes), world, CPU)


def batch(count: int = 8) -> torch.Tensor:
    """float32 [N, 1, 16, 16] in [-1, 1]."""
    images, _ = squares(count)
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1


@pytest.mark.parametrize("kind", KINDS)
def test_outputs_do_not_differ_from_themselves_and_a_difference_can_be_undone(kind: str) -> None:
    images, lessons = squares(8)
    labels = lessons[kind].labels
    estimation = estimation_for(labels, Frame.of(images, 96))
    with torch.no_grad():
        before = 3 * torch.randn(
            estimation.network()(batch()).shape, generator=torch.Generator().manual_seed(0)
        )
    assert estimation.divergence(before, before, labels).item() == pytest.approx(0, abs=1e-5)
    after = (before + 2 * torch.randn(before.shape, generator=torch.Generator().manual_seed(1))).clone()
    after.requires_grad_(True)
    optimiser = torch.optim.Adam([after], lr=0.05)
    first = estimation.divergence(before, after, labels)
    for _ in range(80):
        optimiser.zero_grad()
        torch.autograd.backward(estimation.divergence(before, after, labels))
        optimiser.step()
    last = estimation.divergence(before, after, labels).item()
    assert 0 <= last < 0.3 * first.item()


@pytest.mark.parametrize(
    ("sure", "expected"),
    # 0.95 ln(0.95 / sure) + 0.05 ln(0.05 / (1 - sure)) - 0.3, by hand
    [(0.95, 0.0), (0.7, 0.0), (0.6, 0.0326), (0.1, 1.6943)],
)
def test_a_class_may_be_less_sure_but_not_another_one(sure: float, expected: float) -> None:
    images, lessons = squares(8)
    labels = lessons["classification"].labels
    estimation = estimation_for(labels, Frame.of(images, 96))
    before, after = (torch.tensor([[one, 1 - one]]).log() for one in (0.95, sure))
    assert estimation.divergence(before, after, labels).item() == pytest.approx(expected, abs=1e-4)


def test_a_point_that_nobody_knows_asks_nothing_of_the_refiner() -> None:
    images, lessons = squares(8)
    hidden = lessons["keypoints"].labels.values.copy()
    hidden[::2, 1] = np.nan
    labels = labels_of("keypoints", hidden, "x")
    estimation = estimation_for(labels, Frame.of(images, 96))
    before = torch.randn((8, 2, 8, 8), generator=torch.Generator().manual_seed(0))
    after = before.clone()
    after[::2, 1] = after[::2, 1].flip(2)
    assert estimation.divergence(before, after, labels).item() == 0
    assert estimation.divergence(before, after, lessons["keypoints"].labels).item() > 0


def test_comparisons_know_the_labels_of_their_images() -> None:
    """An image of an update whose points are all unknown is not compared, whatever the refiner does to it."""
    one = consistency("keypoints", labels_updates=20)
    one.learn(ALONE)
    one.lesson.labels.values[[3, 5]] = np.nan

    def divergence(rows: list[int]) -> float:
        comparison = one.comparison(0, np.array(rows), lambda _size, _source: None)
        assert comparison is not None
        images = batch()[rows]
        return comparison.divergence(images, torch.full_like(images, 0.5)).item()

    assert divergence([3, 5] * 4) == 0
    assert divergence([3, 4] * 4) > 0


def test_the_overlap_lost_is_that_of_least_over_greatest() -> None:
    before = torch.tensor([[[1.0, 0.5], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    after = torch.tensor([[[0.5, 0.5], [0.5, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    # First image: least 0.5 + 0.5, greatest 1 + 0.5 + 0.5, each with one pixel more; the second says nothing.
    assert overlap_lost(before, after).item() == pytest.approx((1 - 2 / 3) / 2)
    assert overlap_lost(before, before).item() == 0


@pytest.mark.parametrize("kind", KINDS)
def test_erasing_costs_more_than_another_light(kind: str) -> None:
    one = consistency(kind, labels_updates=60)
    one.learn(ALONE)
    comparison = one.comparison(0, np.arange(8), lambda _size, _source: None)
    assert comparison is not None
    images = batch()
    assert comparison.divergence(images, images).item() == pytest.approx(0, abs=1e-5)
    dimmer = comparison.divergence(images, 0.6 * images - 0.2).item()
    erased = comparison.divergence(images, torch.full_like(images, 0.5)).item()
    assert erased > 0.1
    assert erased > 4 * dimmer


def test_only_the_refined_images_get_a_gradient_and_the_estimator_stays() -> None:
    one = consistency("regression")
    one.learn(ALONE)
    comparison = one.comparison(0, np.arange(8), lambda _size, _source: None)
    assert comparison is not None
    synthetic, refined = batch().requires_grad_(True), batch().mul(0.5).requires_grad_(True)
    torch.autograd.backward(comparison.divergence(synthetic, refined))
    assert synthetic.grad is None
    assert refined.grad is not None
    assert refined.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in one.network.parameters())
    assert not one.network.training


def test_held_out_images_are_not_learned_from_and_say_how_well_labels_are_read() -> None:
    one = consistency("classification", labels_updates=60)
    assert one.score is None
    assert one.state_dict() is None
    assert not set(one.learned) & set(one.asked)
    assert len(one.asked) == 12, "one in eight"
    assert len(one.learned) == 84
    one.learn(ALONE)
    assert one.score is not None
    assert one.score > 0.8
    assert one.skill is not None
    assert one.skill > 0.6
    other = consistency("classification")
    other.load_state_dict(one.state_dict())
    assert other.score == one.score
    for ours, theirs in zip(one.network.parameters(), other.network.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_classes_that_are_no_answer_are_learned_as_well() -> None:
    images, lessons = squares()
    lesson = lessons["classification"]
    without = Lesson(replace(lesson.labels, leave_out=(0,)), False)
    one = make_consistency(without, TrainingData(images, images[::-1], (16, 16)), settings(), ALONE, CPU)
    assert len(one.learned) + len(one.asked) == len(images)


def test_of_large_images_few_are_held_out_for_they_are_refined_again_and_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("trainer.consistency.MOST_PIXELS_ASKED", 10 * 16 * 16)
    assert len(consistency("regression").asked) == 10
    monkeypatch.setattr("trainer.consistency.MOST_PIXELS_ASKED", 16 * 16)
    assert len(consistency("regression").asked) == 8


def test_images_are_taken_part_by_part(monkeypatch: pytest.MonkeyPatch) -> None:
    one = consistency("regression")
    whole = one._taken(one.learned)
    monkeypatch.setattr("trainer.consistency.MOST_PIXELS_AT_ONCE", 5 * 16 * 16)
    assert torch.equal(one._taken(one.learned), whole)


def test_too_few_labels_are_refused() -> None:
    images, lessons = squares(15)
    data = TrainingData(images, images[::-1], (16, 16))
    with pytest.raises(DataError, match="needs 16 synthetic images whose labels show something, not 15"):
        make_consistency(lessons["regression"], data, settings(), ALONE, CPU)


@pytest.mark.parametrize("kind", ["boxes", "segmentation"])
def test_images_without_an_object_are_not_counted(kind: Any) -> None:
    images, lessons = squares()
    values = lessons[kind].labels.values.copy()
    values[15:] = -1 if kind == "boxes" else 0
    few = Lesson(labels_of(kind, values, "x"), False)
    with pytest.raises(DataError, match="needs 16 synthetic images whose labels show something, not 15"):
        make_consistency(few, TrainingData(images, images[::-1], (16, 16)), settings(), ALONE, CPU)


@pytest.mark.parametrize(
    ("size", "window", "count", "every"),
    [(16, 16, 8, 1), (32, 16, 2, 1), (48, 16, 2, 2), (96, 16, 2, 9)],
)
def test_larger_images_are_compared_whole_but_more_rarely(
    size: int, window: int, count: int, every: int
) -> None:
    one = consistency("regression", size=size, window=window)
    noise = partial(draw_noise, resolve_noise())
    due = [update for update in range(20) if one.comparison(update, np.arange(8), noise) is not None]
    assert due == list(range(0, 20, every))
    comparison = one.comparison(0, np.arange(8), noise)
    assert comparison is not None
    assert comparison.every == every
    if size == window:
        assert comparison.synthetic is None, "the batch itself has whole images"
        return
    assert comparison.synthetic is not None
    assert comparison.noise is not None
    assert comparison.synthetic.shape == (count, 1, size, size)
    assert comparison.noise.shape[2:] == (size, size)


def resolve_noise() -> Any:
    from model.card import NoiseSpec

    return NoiseSpec(pixel_channels=1, smooth_channels=0, image_channels=1)


@pytest.mark.parametrize("kind", ["classification", "segmentation"])
def test_the_shares_of_two_processes_are_the_global_batch(kind: str) -> None:
    alone = consistency(kind, labels_updates=80)
    alone.learn(ALONE)
    halves = [consistency(kind, World(rank, 2, rank, 2)) for rank in range(2)]
    for half in halves:
        half.load_state_dict(alone.state_dict())
    synthetic, refined = batch(), batch()
    refined[::3] = 0.5  # erased
    found = []
    for one, share in ((alone, slice(0, 8)), (halves[0], slice(0, 4)), (halves[1], slice(4, 8))):
        comparison = one.comparison(3, np.arange(8)[share], lambda _size, _source: None)
        assert comparison is not None
        found.append(comparison.divergence(synthetic[share], refined[share]).item())
    assert found[0] == pytest.approx((found[1] + found[2]) / 2, rel=1e-4)
    assert found[1] != found[2]


@pytest.mark.parametrize(
    ("kept", "drifting"),
    [
        (Kept("same class", "", True, 0.95, 1.0), False),
        (Kept("mask IoU", "", True, 0.85, 0.9), True),
        (Kept("change of yaw", "deg", False, 2.5, 1.5), False),
        (Kept("change of yaw", "deg", False, 2.5, 2.1), True),
        (Kept("change of mass", "kg", False, 9.0, 9.0), False),
    ],
)
def test_labels_that_drift_are_told_by_the_limits_of_an_evaluation(kept: Kept, drifting: bool) -> None:
    assert kept.drifting is drifting


def test_what_is_kept_is_said_in_the_units_of_the_labels() -> None:
    assert str(Kept("same class", "", True, 0.984, 1.0)) == "same class 98.4%"
    assert str(Kept("change of yaw", "deg", False, 1.9, 1.23)) == "change of yaw 1.2 deg (median)"
    assert str(Kept("change of x", "", False, 1.9, 0.1)) == "change of x 0.1 (median)"
