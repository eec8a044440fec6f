"""The plan of tiles: covers every pixel once, keeps the halo, has one shape, stays small."""

import numpy as np
import pytest

from app.refining.tiles import plan_tiles

SIZES = [  # height, width, radius, pixels of a tile, grid
    (100, 100, 3, 1024, 1),
    (301, 199, 9, 4096, 1),
    (1, 5000, 4, 1024, 1),
    (5000, 1, 4, 1024, 1),
    (64, 4000, 5, 2048, 1),
    (257, 255, 63, 1024, 1),
    (1000, 1000, 0, 1024, 1),
    (33, 32, 1, 1024, 1),
    (100, 100, 3, 1024, 4),
    (301, 199, 23, 4096, 4),
    (303, 1001, 31, 16384, 4),
    (1, 5000, 11, 1024, 2),
    (257, 255, 63, 1024, 8),
    (1021, 1019, 7, 1024, 8),
]


@pytest.mark.parametrize(("height", "width", "radius", "tile_pixels", "grid"), SIZES)
def test_cores_cover_every_pixel_exactly_once(height, width, radius, tile_pixels, grid):
    covered = np.zeros((height, width), np.uint8)
    for tile in plan_tiles(height, width, radius, tile_pixels, grid):
        covered[tile.core.within] += 1
    assert (covered == 1).all()


@pytest.mark.parametrize(("height", "width", "radius", "tile_pixels", "grid"), SIZES)
def test_every_core_keeps_the_radius_from_inner_window_borders(height, width, radius, tile_pixels, grid):
    for tile in plan_tiles(height, width, radius, tile_pixels, grid):
        window, core = tile.window, tile.core
        assert window.top == 0 or core.top - window.top >= radius
        assert window.left == 0 or core.left - window.left >= radius
        assert window.bottom == height or window.bottom - core.bottom >= radius
        assert window.right == width or window.right - core.right >= radius
        assert window.top >= 0
        assert window.left >= 0
        assert window.bottom <= height
        assert window.right <= width


@pytest.mark.parametrize(("height", "width", "radius", "tile_pixels", "grid"), SIZES)
def test_all_windows_have_one_shape_so_that_they_can_share_a_batch(height, width, radius, tile_pixels, grid):
    shapes = {
        (tile.window.height, tile.window.width)
        for tile in plan_tiles(height, width, radius, tile_pixels, grid)
    }
    assert len(shapes) == 1


@pytest.mark.parametrize(("height", "width", "radius", "tile_pixels", "grid"), SIZES)
def test_every_window_begins_at_a_multiple_of_the_grid(height, width, radius, tile_pixels, grid):
    starts = {tile.window.top % grid for tile in plan_tiles(height, width, radius, tile_pixels, grid)}
    starts |= {tile.window.left % grid for tile in plan_tiles(height, width, radius, tile_pixels, grid)}
    assert starts == {0}


@pytest.mark.parametrize(("height", "width", "radius", "tile_pixels", "grid"), SIZES)
def test_a_window_is_no_larger_than_the_budget_or_the_smallest_sensible_one(
    height, width, radius, tile_pixels, grid
):
    window = plan_tiles(height, width, radius, tile_pixels, grid)[0].window
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
