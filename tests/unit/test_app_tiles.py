"""The plan of tiles: covers every pixel once, keeps the halo, has one shape, stays small."""

import numpy as np
import pytest

from app.refining.tiles import plan_tiles

SIZES = [
    (100, 100, 3, 1024),
    (301, 199, 9, 4096),
    (1, 5000, 4, 1024),
    (5000, 1, 4, 1024),
    (64, 4000, 5, 2048),
    (257, 255, 63, 1024),
    (1000, 1000, 0, 1024),
    (33, 32, 1, 1024),
]


@pytest.mark.parametrize(("height", "width", "radius", "tile_pixels"), SIZES)
def test_cores_cover_every_pixel_exactly_once(height, width, radius, tile_pixels):
    covered = np.zeros((height, width), np.uint8)
    for tile in plan_tiles(height, width, radius, tile_pixels):
        covered[tile.core.within] += 1
    assert (covered == 1).all()


@pytest.mark.parametrize(("height", "width", "radius", "tile_pixels"), SIZES)
def test_every_core_keeps_the_radius_from_inner_window_borders(height, width, radius, tile_pixels):
    for tile in plan_tiles(height, width, radius, tile_pixels):
        window, core = tile.window, tile.core
        assert window.top == 0 or core.top - window.top >= radius
        assert window.left == 0 or core.left - window.left >= radius
        assert window.bottom == height or window.bottom - core.bottom >= radius
        assert window.right == width or window.right - core.right >= radius
        assert window.top >= 0
        assert window.left >= 0
        assert window.bottom <= height
        assert window.right <= width


@pytest.mark.parametrize(("height", "width", "radius", "tile_pixels"), SIZES)
def test_all_windows_have_one_shape_so_that_they_can_share_a_batch(height, width, radius, tile_pixels):
    shapes = {
        (tile.window.height, tile.window.width) for tile in plan_tiles(height, width, radius, tile_pixels)
    }
    assert len(shapes) == 1


@pytest.mark.parametrize(("height", "width", "radius", "tile_pixels"), SIZES)
def test_a_window_is_no_larger_than_the_budget_or_the_smallest_sensible_one(
    height, width, radius, tile_pixels
):
    window = plan_tiles(height, width, radius, tile_pixels)[0].window
    assert window.height * window.width <= max(tile_pixels, (4 * radius + 1) ** 2)


def test_an_image_within_the_budget_is_one_tile():
    plan = plan_tiles(32, 32, 9, 1024)
    assert len(plan) == 1
    assert (plan[0].window.height, plan[0].core.width) == (32, 32)


def test_a_large_image_is_cut_into_few_tiles():
    """4000 x 6000 px of a radius of 9 need 23 windows of 2^20 px without any overlap."""
    assert len(plan_tiles(4000, 6000, 9, 1 << 20)) <= 28


def test_an_index_behind_the_last_tile_ends_the_plan():
    plan = plan_tiles(100, 100, 3, 1024)
    with pytest.raises(IndexError):
        plan[len(plan)]
