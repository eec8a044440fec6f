import itertools
import math
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.annotations import rle
from app.annotations.masks import rasterise
from app.annotations.reading import read_geometry
from app.annotations.shapes import Mask

WIDTH, HEIGHT = 14, 11
FINE = 24


def covered(*things, width=WIDTH, height=HEIGHT):
    geometry = read_geometry(list(things), [("a.png", width, height)])
    assert geometry.images[0].problems == ()
    return rasterise(geometry.images[0].shapes, height, width)


def inside(polygon, x, y):
    """Even-odd rule, one ray per point: the slow and plain way."""
    odd = np.zeros(x.shape, bool)
    for (ax, ay), (bx, by) in zip(polygon, polygon[1:] + polygon[:1], strict=True):
        if ay != by:
            crosses = (min(ay, by) <= y) & (y < max(ay, by)) & (x < ax + (y - ay) / (by - ay) * (bx - ax))
            odd ^= crosses
    return odd


def touched_by_samples(polygon):
    """Pixels that hold one of many sample points of the polygon's inside or outline, and those with one on
    their border.
    """
    fine = (np.arange(FINE) + 0.5) / FINE
    x = (np.arange(WIDTH)[:, None] + fine).ravel()[None, :]
    y = (np.arange(HEIGHT)[:, None] + fine).ravel()[:, None]
    samples = inside(polygon, *np.broadcast_arrays(x, y))
    touched = samples.reshape(HEIGHT, FINE, WIDTH, FINE).any(axis=(1, 3))
    bordered = np.zeros_like(touched)
    for (ax, ay), (bx, by) in zip(polygon, polygon[1:] + polygon[:1], strict=True):
        for t in np.linspace(0, 1, 400):
            x, y = ax + t * (bx - ax), ay + t * (by - ay)
            on_border = min(abs(v - round(v)) for v in (x, y)) < 1e-9
            for column, row in itertools.product(
                *({math.floor(v - 1e-9), math.floor(v + 1e-9)} for v in (x, y))
            ):
                if 0 <= column < WIDTH and 0 <= row < HEIGHT:
                    (bordered if on_border else touched)[row, column] = True
    return touched, bordered


def test_a_box_takes_every_pixel_that_it_overlaps_and_no_other():
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[2:5, 3:7] = True
    np.testing.assert_array_equal(covered({"box": [3, 2, 7, 5]}), expected)
    np.testing.assert_array_equal(covered({"box": [3.9, 2.9, 6.1, 4.1]}), expected)
    np.testing.assert_array_equal(covered({"bbox": [3, 2.1, 0.1 + 3.9, 2.9]}), expected)


def test_a_box_beyond_the_image_is_cut_and_one_without_size_takes_its_pixel():
    assert covered({"box": [-5, -5, 100, 100]}).all()
    one = covered({"box": [4.5, 6.5, 4.5, 6.5]})
    assert one.sum() == 1
    assert one[6, 4]
    assert covered({"box": [4, 6, 4, 6]}).sum() == 1


def test_overlapping_shapes_are_united():
    both = covered(
        {"box": [1, 1, 4, 4]}, {"box": [2, 2, 6, 6]}, {"polygon": [[8, 8], [10, 8], [10, 10], [8, 10]]}
    )
    single = [covered({"box": b}) for b in ([1, 1, 4, 4], [2, 2, 6, 6], [8, 8, 10, 10])]
    np.testing.assert_array_equal(both, single[0] | single[1] | single[2])


def fractions(low, high):
    return st.floats(low, high).map(lambda value: round(value * 256) / 256)


coordinates = st.tuples(fractions(-3, WIDTH + 3), fractions(-3, HEIGHT + 3))
on_grid = st.tuples(st.integers(-2, WIDTH + 2).map(float), st.integers(-2, HEIGHT + 2).map(float))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(coordinates | on_grid, min_size=3, max_size=7))
def test_a_polygon_takes_every_pixel_it_touches_and_at_most_a_hairs_breadth_more(polygon):
    geometry = read_geometry([{"polygon": [list(p) for p in polygon]}], [("a.png", WIDTH, HEIGHT)])
    result = rasterise(geometry.images[0].shapes, HEIGHT, WIDTH)
    must, may = touched_by_samples(polygon)
    missing = must & ~result
    assert not missing.any()
    surplus = (result & ~must & ~may).sum()
    assert surplus <= 2 * len(polygon) + 1  # slivers thinner than the samples are spaced


def test_a_polygon_is_exact_on_the_grid():
    triangle = covered({"polygon": [[2, 2], [6, 2], [2, 6]]})
    expected = np.zeros((HEIGHT, WIDTH), bool)
    for row, last in zip(range(2, 6), (6, 5, 4, 3), strict=True):
        expected[row, 2:last] = True
    np.testing.assert_array_equal(triangle, expected)


def test_a_polygon_with_a_hole_by_even_odd_keeps_the_hole_free():
    ring = [[1, 1], [10, 1], [10, 10], [1, 10], [1, 1], [4, 4], [4, 7], [7, 7], [7, 4], [4, 4]]
    result = covered({"polygon": ring})
    assert not result[5, 5]
    assert result[2, 2]


def test_a_thin_line_takes_every_pixel_it_runs_through():
    line = covered({"polygon": [[0.5, 0.5], [10.5, 10.4], [0.5, 0.5]]})
    assert all(line[i, i] for i in range(10))
    assert covered({"polygon": [[2, 4], [9, 4], [2, 4]]}).any()


def test_keypoints_take_the_pixels_they_lie_in():
    result = covered({"points": [[3.2, 4.9], [7, 0]]})
    assert result.sum() == 2
    assert result[4, 3]
    assert result[0, 7]


def test_a_mask_takes_its_pixels():
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[3:6, 2:9] = True
    edges = np.flatnonzero(np.diff(mask.T.ravel().astype(int))) + 1
    counts = np.diff([0, *edges, mask.size]).tolist()
    np.testing.assert_array_equal(covered({"mask": {"size": [HEIGHT, WIDTH], "counts": counts}}), mask)


@pytest.mark.parametrize(
    "thing", [{"box": [0, 0, 4000, 4000]}, {"polygon": [[0, 0], [4000, 1], [4000, 4000], [1, 3999]]}]
)
def test_thousands_of_huge_shapes_take_bounded_time(thing):
    geometry = read_geometry([thing] * 5000, [("a.png", 4000, 4000)])
    started = time.perf_counter()
    assert rasterise(geometry.images[0].shapes, 4000, 4000).mean() > 0.99
    assert time.perf_counter() - started < 15


@given(st.lists(st.integers(0, 12), max_size=12), st.integers(1, 6), st.integers(1, 6))
def test_the_bounds_of_a_mask_are_those_of_its_pixels(counts, width, height):
    kept, left = [], width * height
    for count in counts:
        kept.append(min(count, left))
        left -= kept[-1]
    mask = Mask(height, width, (*kept, left))
    rows, columns = np.nonzero(rle.to_array(mask))

    wanted = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) if rows.size else None
    assert rle.bounds(mask) == wanted


def test_thousands_of_masks_of_a_huge_image_are_read_in_bounded_time():
    thing = {"mask": {"size": [8000, 8000], "counts": [0, 64_000_000]}}
    started = time.perf_counter()
    geometry = read_geometry([thing] * 5000, [("a.png", 8000, 8000)])
    assert len(geometry.images[0].shapes) == 5000
    assert time.perf_counter() - started < 10


def test_a_locked_region_takes_few_bytes_for_a_pixel():
    geometry = read_geometry([{"box": [10, 10, 1000, 1000]}], [("a.png", 3000, 3000)])
    tracemalloc.start()
    rasterise(geometry.images[0].shapes, 3000, 3000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * 3000 * 3000
