import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.preservation.drift import MAX_REGIONS, measure
from model.preservation.grey import grey_pair

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
HEIGHT, WIDTH = 48, 64
REGION = SimpleNamespace(x1=20.0, y1=12.0, x2=44.0, y2=36.0)
YY, XX = np.mgrid[0:HEIGHT, 0:WIDTH].astype(float)


def ring(dx=0.0, dy=0.0, contrast=1.0, ellipse=1.0):
    """A soft dark ring with a bar through it, drawn where it is asked for: every displacement is known."""
    x, y = XX - 32 - dx, (YY - 24 - dy) / ellipse
    distance = np.hypot(x, y)
    outline = np.exp(-(((distance - 8) / 1.5) ** 2))
    bar = np.exp(-(((x + 0.6 * y) / 1.2) ** 2)) * (distance < 8)
    return (200 - 120 * contrast * np.maximum(outline, bar)).astype(np.float32)


def noise(sigma, seed=0):
    return np.random.default_rng(seed).normal(0, sigma, (HEIGHT, WIDTH)).astype(np.float32)


def blurred(image, radius=1):
    kernel = np.array([1, 4, 6, 4, 1]) / 16
    for _ in range(radius):
        padded = np.pad(image, 2, mode="edge")
        rows = sum(k * padded[:, i : i + WIDTH] for i, k in enumerate(kernel))
        image = sum(k * rows[i : i + HEIGHT] for i, k in enumerate(kernel))
    return image.astype(np.float32)


def drift(after, before=None, region=REGION):
    before = ring() if before is None else before
    (result,) = measure(before.astype(np.float32), after.astype(np.float32), [region])
    return result


HARMLESS = {
    "nothing": lambda image: image,
    "brighter": lambda image: image + 40,
    "half the contrast": lambda image: 0.5 * image + 60,
    "more contrast": lambda image: 1.6 * image - 90,
    "gamma 0.6": lambda image: 255 * (image / 255) ** 0.6,
    "gamma 1.6": lambda image: 255 * (image / 255) ** 1.6,
    "blur": blurred,
    "noise": lambda image: image + noise(10),
    "shading": lambda image: image * np.linspace(0.6, 1.2, WIDTH),
    "slow shadow": lambda image: image - 60 * np.exp(-(((XX - 10) / 25) ** 2)),
    "posterised": lambda image: np.round(image / 16) * 16,
    "all together": lambda image: (
        blurred(255 * (image / 255) ** 0.8) * np.linspace(0.5, 0.9, WIDTH) + 30 + noise(8)
    ),
}


@pytest.mark.parametrize("change", HARMLESS.values(), ids=HARMLESS)
def test_harmless_changes_keep_the_structure_and_its_place(change):
    result = drift(change(ring()))
    assert result.structure_kept > 0.93
    assert result.shift_px < 0.12


@settings(max_examples=60, deadline=None, derandomize=True)
@given(length=st.floats(0, 3.5), angle=st.floats(0, 2 * np.pi), seed=st.integers(0, 99))
def test_a_displacement_is_measured_to_a_twentieth_of_a_pixel_even_through_noise(length, angle, seed):
    dx, dy = length * np.cos(angle), length * np.sin(angle)
    clean, noisy = drift(ring(dx, dy)), drift(0.7 * blurred(ring(dx, dy)) + 30 + noise(6, seed))
    assert np.hypot(clean.dx - dx, clean.dy - dy) < 0.05
    assert np.hypot(noisy.dx - dx, noisy.dy - dy) < 0.15
    assert clean.structure_kept > 0.97
    assert clean.shift_px == pytest.approx(np.hypot(clean.dx, clean.dy))


def test_fading_lowers_what_is_kept_and_erasing_leaves_nothing():
    kept = [drift(ring(contrast=c)).structure_kept for c in (1.0, 0.75, 0.5, 0.25, 0.1, 0.05, 0.02, 0.0)]
    assert kept == sorted(kept, reverse=True)
    assert kept[0] > 0.99
    assert 0.9 < kept[2] < kept[0]  # half the contrast is still plainly there
    assert kept[5] < 0.75
    assert kept[-2] < 0.4
    assert kept[-1] < 0.01


def test_erased_structure_under_new_texture_is_not_taken_for_kept():
    for seed in range(8):
        result = drift(ring(contrast=0) + noise(12, seed))
        assert result.structure_kept < 0.45


def test_half_of_the_structure_erased_scores_between_all_and_nothing():
    half = np.where(XX < 32, ring(), ring(contrast=0))
    assert 0.4 < drift(half).structure_kept < 0.85


def test_inverted_contrast_counts_as_lost():
    assert drift(400 - ring()).structure_kept < 0.5


def test_an_inverted_edge_is_lost_entirely_and_scores_zero():
    edge = 100 + 80 / (1 + np.exp(-(XX - 32)))
    assert drift(280 - edge, before=edge).structure_kept == 0.0


def test_another_shape_scores_below_a_changed_one():
    changed = drift(blurred(ring(ellipse=1.1)) * 0.8 + 20).structure_kept
    square = 200 - 120 * np.exp(-(((np.maximum(abs(XX - 32), abs(YY - 24)) - 8) / 1.5) ** 2))
    assert drift(square).structure_kept < 0.75 < changed


def test_a_flat_region_has_nothing_to_measure():
    flat = np.full((HEIGHT, WIDTH), 128, np.float32)
    for before in (flat, flat + 0.5 * XX, flat + noise(1)):
        result = drift(ring(), before=before)
        assert (result.structure_kept, result.shift_px, result.measured) == (None, None, False)


def test_movement_along_a_straight_edge_is_not_invented():
    edge = 100 + 80 / (1 + np.exp(-(XX - 32)))
    still, moved = (
        drift(edge + noise(3), before=edge),
        drift(100 + 80 / (1 + np.exp(-(XX - 33))), before=edge),
    )
    assert abs(still.dy) < 0.2
    assert abs(moved.dy) < 0.2
    assert moved.dx == pytest.approx(1, abs=0.05)


def test_what_moved_too_far_counts_as_lost():
    assert drift(ring(dx=12)).structure_kept < 0.5


@pytest.mark.parametrize(("dx", "dy"), [(6, 0), (-6, 0), (0, 6), (0, -6)])
def test_what_left_the_search_is_lost_and_nowhere(dx, dy):
    """Found at the edge of the search, most of it would seem to be there, some way off."""
    result = drift(ring(dx, dy))
    assert (result.structure_kept, result.least_kept, result.shift_px) == (0, 0, None)


@pytest.mark.parametrize(("dx", "dy"), [(3.5, 0), (-3.5, 0), (0, 3.5), (0, -3.5), (2.5, 2.5)])
def test_what_is_still_within_the_search_is_measured(dx, dy):
    result = drift(ring(dx, dy))
    assert (result.dx, result.dy) == pytest.approx((dx, dy), abs=0.2)
    assert result.structure_kept > 0.9


@pytest.mark.parametrize("corner", [(2, 2), (52, 2), (2, 36), (52, 36)])
def test_regions_at_the_border_are_measured(corner):
    x, y = corner
    region = SimpleNamespace(x1=x - 2.0, y1=y - 2.0, x2=x + 12.0, y2=y + 12.0)
    blob = (150 + 80 * np.exp(-(((XX - x - 5) / 2.5) ** 2) - ((YY - y - 5) / 2) ** 2)).astype(np.float32)
    moved = (150 + 80 * np.exp(-(((XX - x - 5.5) / 2.5) ** 2) - ((YY - y - 5) / 2) ** 2)).astype(np.float32)
    result = drift(moved, before=blob, region=region)
    assert result.dx == pytest.approx(0.5, abs=0.05)
    assert result.structure_kept > 0.95


@pytest.mark.parametrize(
    "region", [(-50, -50, -10, -10), (60, 40, 64, 48), (5, 5, 5, 5), (63.5, 47.5, 64, 48), (0, 0, 64, 48)]
)
def test_regions_of_any_size_and_place_are_answered(region):
    x1, y1, x2, y2 = region
    result = drift(ring(), region=SimpleNamespace(x1=x1, y1=y1, x2=x2, y2=y2))
    assert result.structure_kept is None or 0 <= result.structure_kept <= 1


def test_a_large_region_is_measured_in_bounded_time():
    generator = np.random.default_rng(2)
    coarse = generator.normal(0, 60, (63, 94))
    large = np.kron(coarse, np.ones((32, 32)))[:2000, :3000].astype(np.float32) + 128
    started = time.perf_counter()
    (result,) = measure(large, np.roll(large, 16, axis=1), [SimpleNamespace(x1=0, y1=0, x2=3000, y2=2000)])
    assert time.perf_counter() - started < 2
    assert result.dx == pytest.approx(16, abs=3)


def test_of_many_regions_a_stated_number_is_measured_and_each_names_its_index():
    regions = [REGION] * 1000
    results = measure(ring(), ring(), regions)
    assert len(results) == MAX_REGIONS
    assert [results[0].index, results[-1].index] == [0, 999]
    assert [d.index for d in measure(ring(), ring(), regions[:5])] == [0, 1, 2, 3, 4]


def test_colour_and_16_bit_pictures_are_measured_on_one_grey_scale():
    rgb = np.dstack([np.full((2, 2), v, np.uint8) for v in (200, 100, 50)])
    grey, _ = grey_pair(rgb, rgb)
    np.testing.assert_allclose(grey, 0.299 * 200 + 0.587 * 100 + 0.114 * 50, rtol=1e-5)
    depth = np.array([[[2000], [2100]], [[2050], [2000]]], np.uint16)
    before, after = grey_pair(depth, depth + np.uint16(100))
    np.testing.assert_allclose(before[:, :], [[0, 255], [127.5, 0]])
    np.testing.assert_allclose(after - before, 255)


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="the data sets do not lie beside the checkout")
def test_on_drawn_digits_harmless_changes_and_lost_digits_are_far_apart():
    digits = np.load(SHARED / "sudoku-digits" / "synthetic.npz")
    chosen = [i for i in range(120) if digits["boxes"][i][2] > digits["boxes"][i][0]][:60]
    generator = np.random.default_rng(0)
    harmless, erased, swapped = [], [], []
    for i, other in zip(chosen, chosen[1:] + chosen[:1], strict=True):
        before = digits["images"][i].astype(np.float32)
        x1, y1, x2, y2 = (int(v) for v in digits["boxes"][i])
        region = SimpleNamespace(x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2))
        gone = before.copy()
        gone[max(y1 - 1, 0) : y2 + 1, max(x1 - 1, 0) : x2 + 1] = np.median(before)
        aged = 0.6 * 255 * (before / 255) ** 0.7 + 50 + generator.normal(0, 8, before.shape)
        for kept, after in [(harmless, aged), (erased, gone + generator.normal(0, 8, before.shape))]:
            kept.append(measure(before, after.astype(np.float32), [region])[0].structure_kept)
        if digits["digit"][other] != digits["digit"][i]:
            swapped.append(
                measure(before, digits["images"][other].astype(np.float32), [region])[0].structure_kept
            )
    assert np.percentile(harmless, 5) > 0.85
    assert np.percentile(erased, 95) < 0.45
    assert np.median(swapped) < 0.6


def test_no_number_is_subnormal_where_distances_are_large():
    """Many processors multiply them far more slowly than others, and far weights of Gaussians were some."""
    picture = np.random.default_rng(0).integers(1, 255, (160, 160)).astype(np.float32)
    moved = np.roll(picture, 1, axis=1)
    regions = [SimpleNamespace(x1=8.0, y1=9.0, x2=8.0 + side, y2=9.5 + side) for side in (16, 40, 90)]
    with np.errstate(under="raise"):
        found = measure(picture, moved, regions)
    assert all(one.measured for one in found)
