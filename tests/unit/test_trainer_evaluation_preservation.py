"""What an evaluation says of content: regions that moved, faded or stayed, by the measure of the service."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from trainer.evaluation import preservation  # noqa: E402
from trainer.evaluation.preservation import measure_preservation  # noqa: E402
from trainer.labels.regions import Regions, whole_images  # noqa: E402

pytestmark = pytest.mark.train
SIDE, COUNT = 40, 20
YY, XX = np.mgrid[0:SIDE, 0:SIDE].astype(float)


def rings(dx: float = 0.0, contrast: float = 1.0) -> np.ndarray:
    """Two rings in each image: uint8 [COUNT, SIDE, SIDE, 1]."""
    image = np.full((SIDE, SIDE), 200.0)
    for cx, cy in ((11, 12), (28, 27)):
        distance = np.hypot(XX - cx - dx, YY - cy)
        image -= 120 * contrast * np.exp(-(((distance - 6) / 1.5) ** 2))
    return np.tile(np.round(image).astype(np.uint8)[None, :, :, None], (COUNT, 1, 1, 1))


def regions() -> Regions:
    """A box around each of the rings."""
    boxes = np.tile(np.array([(3, 4, 20, 21), (20, 19, 37, 36)], np.float32), (COUNT, 1))
    return Regions("boxes", boxes, np.repeat(np.arange(COUNT), 2))


def test_what_only_became_brighter_is_all_kept_in_place() -> None:
    kept = measure_preservation(rings(), rings() + np.uint8(20), regions())
    assert (kept.regions_of, kept.measured, kept.unmeasured) == ("boxes", 2 * COUNT, 0)
    assert kept.shift_px["max"] < 0.01
    assert kept.structure_kept["min"] > 0.99
    assert kept.lost_fraction == 0
    assert kept.mean_absolute_change_levels == pytest.approx(20)
    assert kept.gradient_correlation == pytest.approx(1)
    assert kept.estimator is None


def test_shifts_are_told_in_px_and_lost_beyond_the_services_threshold() -> None:
    near, far = (measure_preservation(rings(), rings(dx), regions()) for dx in (0.5, 1.5))
    assert near.shift_px["median"] == pytest.approx(0.5, abs=0.03)
    assert far.shift_px["median"] == pytest.approx(1.5, abs=0.05)
    assert (near.lost_fraction, far.lost_fraction) == (0, 1)
    assert near.shift_histogram is not None
    assert sum(near.shift_histogram.counts) == 2 * COUNT


def test_the_erased_regions_are_counted_and_lead_the_worst() -> None:
    refined = rings()
    refined[3:7, 20:, 20:] = rings(contrast=0)[0, 20:, 20:]
    kept = measure_preservation(rings(), refined, regions())
    assert kept.lost_fraction == pytest.approx(4 / (2 * COUNT))
    assert {region.image for region in kept.worst[:4]} == {3, 4, 5, 6}
    assert kept.worst[0].box == (20, 19, 37, 36)
    assert kept.worst[0].structure_kept is not None
    assert kept.worst[0].structure_kept < 0.2
    assert kept.worst[0].shift_px is None
    assert len(kept.worst) == 12
    assert kept.structure_kept["median"] > 0.99
    assert kept.kept_histogram is not None
    assert sum(kept.kept_histogram.counts[:8]) == 4


def test_a_bar_erased_within_a_ring_is_lost_and_leads_the_worst() -> None:
    barred = rings()
    barred[:, 10:13, 8:15] = 80
    refined = barred.copy()
    refined[5] = rings()[5]
    kept = measure_preservation(barred, refined, regions())
    assert kept.lost_fraction == pytest.approx(1 / (2 * COUNT))
    assert kept.worst[0].image == 5
    assert kept.worst[0].structure_kept is not None
    assert kept.worst[0].structure_kept > 0.6
    assert kept.worst[0].least_kept is not None
    assert kept.worst[0].least_kept < 0.3


def test_without_labels_whole_images_are_measured_and_flat_ones_are_not() -> None:
    images = rings()
    images[5] = 90
    kept = measure_preservation(images, images, whole_images(COUNT, SIDE, SIDE))
    assert (kept.regions_of, kept.measured, kept.unmeasured) == ("whole images", COUNT - 1, 1)
    assert kept.gradient_correlation == pytest.approx(1, abs=1e-6)


def test_where_there_is_nothing_to_measure_nothing_is_lost() -> None:
    flat = np.full((4, 16, 16, 3), 9, np.uint16)
    kept = measure_preservation(flat, flat, whole_images(4, 16, 16))
    assert (kept.measured, kept.unmeasured, kept.lost_fraction, kept.worst) == (0, 4, 0, ())
    assert (kept.shift_px["max"], kept.structure_kept["min"], kept.gradient_correlation) == (0, 1, 1)


def test_of_many_regions_as_many_as_stated_are_measured_all_over_the_list(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(preservation, "MOST_REGIONS", 10)
    refined = rings()
    refined[COUNT // 2 :] = rings(dx=1.5)[0]
    kept = measure_preservation(rings(), refined, regions())
    assert kept.measured == 10
    assert kept.lost_fraction == 0.5


def test_more_regions_in_one_image_than_the_service_measures_are_all_measured() -> None:
    boxes = np.tile(np.array((3, 4, 20, 21), np.float32), (100, 1))
    many = Regions("instances", boxes, np.zeros(100, np.int64))
    assert measure_preservation(rings(), rings(), many).measured == 100
