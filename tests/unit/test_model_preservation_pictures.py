"""What differs in colour and not in lightness is measured in colour."""

from __future__ import annotations

import numpy as np
import pytest

from model.preservation.drift import MIN_LEAST_KEPT, MIN_STRUCTURE_KEPT, Box, Drift, measure
from model.preservation.grey import grey_pair
from model.preservation.pictures import measure_pictures

LUMA = np.array((0.299, 0.587, 0.114))
RED = (200.0, 60.0, 60.0)
GREEN = (60.0, (LUMA @ RED - LUMA[0] * 60 - LUMA[2] * 60) / LUMA[1], 60.0)
"""As light as RED."""
BOX = Box(16, 16, 48, 48)


def disc(
    inside: tuple[float, ...], outside: tuple[float, ...], *, moved: float = 0.0, grain: float = 0.0
) -> np.ndarray:
    """A disc of 12 px in the middle of 64x64 px: uint8 [64, 64, 3]."""
    rows, columns = np.mgrid[:64, :64]
    part = np.clip(12.5 - np.hypot(rows - 32, columns - 32 - moved), 0, 1)[..., None]
    picture = part * np.array(inside) + (1 - part) * np.array(outside)
    picture += np.random.default_rng(0).normal(0, grain, picture.shape)
    return picture.clip(0, 255).round().astype(np.uint8)


def under_box(after: np.ndarray, before: np.ndarray | None = None) -> Drift:
    (found,) = measure_pictures(disc(RED, GREEN) if before is None else before, after, [BOX])
    return found


def test_in_grey_levels_there_is_nothing() -> None:
    pair = grey_pair(disc(RED, GREEN), disc(GREEN, GREEN))
    assert not measure(*pair, [BOX])[0].measured


@pytest.mark.parametrize(
    "after",
    [
        disc(RED, GREEN, grain=8.0),
        (disc(RED, GREEN) * 0.3 + 120).astype(np.uint8),
        disc(GREEN, RED),
        disc((60, 60, 200), (180, 150, 60)),
        disc((90, 90, 90), (140, 140, 140)),
    ],
    ids=["grainy", "washed out", "the other way round", "of other colours", "grey, but seen"],
)
def test_what_is_still_told_from_its_surroundings_is_kept_in_place(after: np.ndarray) -> None:
    found = under_box(after)
    assert found.structure_kept is not None
    assert found.structure_kept > 0.95
    assert found.shift_px == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize("grain", [0.0, 4.0])
@pytest.mark.parametrize("left", [GREEN, RED], ids=["all green", "all red"])
def test_what_took_the_colour_of_its_surroundings_is_lost(left: tuple[float, ...], grain: float) -> None:
    found = under_box(disc(left, left, grain=grain))
    assert found.structure_kept is not None
    assert found.structure_kept < MIN_STRUCTURE_KEPT / 2


def test_a_part_that_was_erased_is_found() -> None:
    before = disc(RED, GREEN)
    after = before.copy()
    after[:, :26] = before[0, 0]
    found = under_box(after, before)
    assert found.least_kept is not None
    assert found.least_kept < MIN_LEAST_KEPT


@pytest.mark.parametrize("moved", [0.4, 1.5, 3.0])
def test_shifts_are_told_in_px(moved: float) -> None:
    found = under_box(disc(RED, GREEN, moved=moved, grain=2.0))
    assert found.dx == pytest.approx(moved, abs=0.1)
    assert found.dy == pytest.approx(0, abs=0.1)


def test_a_region_keeps_its_place_in_the_list_and_the_picture() -> None:
    wide = np.tile(disc(GREEN, GREEN)[:1, :1], (300, 400, 1))
    before, after = wide.copy(), wide.copy()
    before[200:264, 300:364] = disc(RED, GREEN)
    after[200:264, 300:364] = disc(RED, GREEN, moved=1.0)
    light = Box(40, 40, 80, 80)
    before[50:70, 50:70] += 20
    after[50:70, 50:70] += 20
    regions = [light, Box(316, 216, 348, 248), Box(150, 100, 190, 130), Box(500, 500, 600, 600)]
    found = measure_pictures(before, after, regions)
    assert [one.index for one in found] == [0, 1, 2, 3]
    assert [one.measured for one in found] == [True, True, False, False]
    assert found[1].dx == pytest.approx(1.0, abs=0.1)


def test_a_point_is_looked_at_with_its_surroundings() -> None:
    (found,) = measure_pictures(disc(RED, GREEN), disc(RED, GREEN, moved=0.5), [Box(44, 32, 44, 32)])
    assert found.dx == pytest.approx(0.5, abs=0.15)


def test_large_regions_are_measured_as_well() -> None:
    before, after = (np.kron(disc(RED, GREEN, moved=moved), np.ones((4, 4, 1), np.uint8)) for moved in (0, 1))
    (found,) = measure_pictures(before, after, [Box(40, 40, 216, 216)])
    assert found.dx == pytest.approx(4.0, abs=0.4)


def test_what_begins_beyond_a_region_is_none_of_it() -> None:
    one, other = (120.0, 100.0, 200.0), (160.0, 106.8, 60.0)
    before, after = disc(one, other), disc(other, other, grain=2.0)
    (found,) = measure_pictures(before, after, [Box(2, 2, 22, 22)])
    assert not found.measured


@pytest.mark.parametrize("side", [96, 500, 1500])
def test_a_large_flat_drawing_is_all_kept_when_nothing_changed(side: int) -> None:
    halves = np.tile(disc(RED, RED)[:1, :1], (side, side, 1))
    halves[:, side // 2 :] = disc(GREEN, GREEN)[0, 0]
    (found,) = measure_pictures(halves, halves.copy(), [Box(0, 0, side, side)])
    assert found.structure_kept is not None
    assert found.structure_kept > 0.97
    assert found.shift_px == pytest.approx(0, abs=1e-3)


def test_a_remainder_that_nobody_sees_is_lost() -> None:
    found = under_box((disc(RED, GREEN) * 0.02 + 120).round().astype(np.uint8))
    assert found.structure_kept is not None
    assert found.structure_kept < MIN_STRUCTURE_KEPT


def test_a_small_thing_that_moved_by_more_than_its_size_is_found_where_it_is() -> None:
    before, after = (np.tile(disc(GREEN, GREEN)[:1, :1], (64, 64, 1)) for _ in range(2))
    before[30:34, 30:34] = after[31:35, 34:38] = disc(RED, RED)[0, 0]
    (found,) = measure_pictures(before, after, [Box(28, 28, 36, 36)])
    assert (found.dx, found.dy) == (pytest.approx(4, abs=0.2), pytest.approx(1, abs=0.2))


def test_grain_of_flat_pictures_is_no_structure() -> None:
    before, after = (disc(GREEN, GREEN, grain=8.0), disc(GREEN, GREEN, grain=6.0))
    assert not under_box(after[:, ::-1], before).measured


def test_alpha_and_depth_do_not_matter() -> None:
    before, after = disc(RED, GREEN), disc(RED, GREEN, moved=1.5)
    alpha = np.random.default_rng(0).integers(0, 256, (64, 64, 1), dtype=np.uint8)
    plain = under_box(after, before)
    assert under_box(np.dstack([after, alpha]), np.dstack([before, 255 - alpha])) == plain
    deep = under_box(after.astype(np.uint16) * 257, before.astype(np.uint16) * 257)
    assert deep.dx == pytest.approx(plain.dx, abs=0.01)


def test_grey_pictures_are_measured_as_before() -> None:
    before, after = (disc((40, 40, 40), (90, 90, 90), moved=moved)[..., :1] for moved in (0, 1))
    assert measure_pictures(before, after, [BOX]) == measure(*grey_pair(before, after), [BOX])
