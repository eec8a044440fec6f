"""What refiners are measured on: how many images, which regions of them, and how many at once."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from model.refiner import Refiner  # noqa: E402
from trainer.data import TrainingData  # noqa: E402
from trainer.evaluation import evaluate  # noqa: E402
from trainer.evaluation.evaluate import Plan, prepare  # noqa: E402
from trainer.evaluation.progress import Progress  # noqa: E402
from trainer.labels.labels import labels_of  # noqa: E402
from trainer.labels.regions import regions_of  # noqa: E402
from trainer.labels.task import LabelledImages, Task  # noqa: E402
from trainer.samples import refine_levels  # noqa: E402

pytestmark = pytest.mark.train
SIDE = 16


@pytest.fixture(autouse=True)
def _without_judges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "realities", lambda *_: None)


def data() -> TrainingData:
    images = np.random.default_rng(0).integers(0, 256, (80, SIDE, SIDE, 1), np.uint8)
    return TrainingData(images[:40], images[40:], (SIDE, SIDE))


def ground(task: Task | None = None) -> Any:
    return prepare(data(), task, Plan(), Progress())


def test_of_large_images_as_many_are_measured_as_memory_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(ground().chosen) == 20
    monkeypatch.setattr(evaluate, "MOST_BYTES", 11 * SIDE * SIDE)
    assert (len(ground().chosen), len(ground().synthetic)) == (11, 11)
    monkeypatch.setattr(evaluate, "MOST_BYTES", 1)
    assert len(ground().chosen) == 8


@pytest.mark.parametrize(("boxes", "of", "count"), [(40, "boxes", 20), (0, "whole images", 20)])
def test_structure_is_measured_in_whole_images_where_no_label_has_a_region(
    boxes: int, of: str, count: int
) -> None:
    corners = np.array([[2, 2, 9, 9]] * boxes + [[-1] * 4] * (40 - boxes))
    places = regions_of(labels_of("boxes", corners, "x"), SIDE, SIDE)
    classes = labels_of("classification", np.arange(40) % 2, "x")
    test = LabelledImages(data().real, classes, None, None)
    regions = ground(Task("classification", classes, places, True, test, None)).regions
    assert (regions.of, len(regions)) == (of, count)


class Echo:
    """Refines nothing and remembers how many images it got at once."""

    def __init__(self) -> None:
        self.config = SimpleNamespace(noise=SimpleNamespace(channels=0))
        self.seen: list[int] = []

    def parameters(self) -> Any:
        return iter([torch.zeros(1)])

    def __call__(self, images: Any, _noise: Any) -> Any:
        self.seen.append(len(images))
        return images


@pytest.mark.parametrize(("side", "seen"), [(SIDE, [9]), (512, [4, 4, 1]), (1024, [1] * 9)])
def test_large_images_are_refined_few_at_a_time(side: int, seen: list[int]) -> None:
    refiner, images = Echo(), np.full((9, side, side, 1), 7, np.uint8)
    np.testing.assert_array_equal(refine_levels(cast("Refiner", refiner), images, 0), images)
    assert refiner.seen == seen
