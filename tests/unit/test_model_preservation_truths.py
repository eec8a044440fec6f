"""The drift measure against known truths: textured pictures that are drawn where they are asked for."""

from types import SimpleNamespace

import numpy as np
import pytest

from model.preservation.drift import MAX_SHIFT_PX, MIN_LEAST_KEPT, MIN_STRUCTURE_KEPT, measure

SIDE = 96
YY, XX = np.mgrid[0:SIDE, 0:SIDE].astype(float)
BOXES = [
    SimpleNamespace(x1=float(x), y1=float(y), x2=float(x + 24), y2=float(y + 24))
    for y in (8, 36, 64)
    for x in (8, 36, 64)
]
CENTRES = np.array([((b.x1 + b.x2) / 2, (b.y1 + b.y2) / 2) for b in BOXES])


def textured(seed=0, dx=0.0, dy=0.0):
    """Blobs and waves from 2 px up; dx and dy, numbers or maps [SIDE, SIDE], move the picture."""
    generator = np.random.default_rng(seed)
    x, y = XX - dx, YY - dy
    image = np.full((SIDE, SIDE), 128.0)
    for _ in range(120):
        cx, cy, sigma = generator.uniform((-5, -5, 1.5), (SIDE + 5, SIDE + 5, 6))
        image += generator.normal(0, 30) * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * sigma**2))
    for _ in range(8):
        angle, period, phase = generator.uniform((0, 5, 0), (np.pi, 14, 6))
        wave = np.sin(2 * np.pi / period * (np.cos(angle) * x + np.sin(angle) * y) + phase)
        image += 6 * wave
    return image


def grain(sigma, seed=0):
    return np.random.default_rng(1000 + seed).normal(0, sigma, (SIDE, SIDE))


def stored(image):
    """As an image is stored: rounded to 256 levels."""
    return np.clip(np.round(image), 0, 255).astype(np.float32)


def blurred(image, sigma):
    reach = np.arange(SIDE)
    weights = np.exp(-0.5 * ((reach - reach[:, None]) / sigma) ** 2)
    weights /= weights.sum(axis=1, keepdims=True)
    return weights @ image @ weights.T


def found(before, after, boxes=BOXES):
    """(dx, dy) [regions, 2] and what is kept [regions]."""
    drifts = measure(stored(before), stored(after), boxes)
    assert all(drift.shift_px is not None for drift in drifts)
    return np.array([(d.dx, d.dy) for d in drifts]), np.array([d.structure_kept for d in drifts])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("length", [0.0, 0.1, 0.3, 0.5, 0.75, 1.0, 1.6, 2.5, 3.7])
def test_sub_pixel_shifts_are_found_to_a_twentieth_of_a_pixel_and_long_ones_to_a_seventh(seed, length):
    angle = 1.7 * seed + length
    dx, dy = length * np.cos(angle), length * np.sin(angle)
    shifts, kept = found(textured(seed), textured(seed, dx, dy))
    assert np.hypot(*(shifts - (dx, dy)).T).max() < (0.05 if length < 2 else 0.15)
    assert kept.min() > 0.97


@pytest.mark.parametrize("seed", range(3))
def test_sub_pixel_shifts_are_found_under_a_change_of_exposure_blur_and_grain(seed):
    aged = 40 + 0.6 * blurred(textured(seed, 0.4, -0.7), 0.7) + grain(5, seed)
    shifts, kept = found(textured(seed), aged)
    assert np.hypot(*(shifts - (0.4, -0.7)).T).max() < 0.2
    assert np.abs(np.median(shifts, axis=0) - (0.4, -0.7)).max() < 0.1
    assert kept.min() > 0.8


HARMLESS = {
    "exposure": lambda image: image * 0.7,
    "brightness": lambda image: image + 35,
    "contrast": lambda image: 0.5 * image + 60,
    "gamma 0.6": lambda image: 255 * (np.clip(image, 0, 255) / 255) ** 0.6,
    "gamma 1.6": lambda image: 255 * (np.clip(image, 0, 255) / 255) ** 1.6,
    "grain": lambda image: image + grain(6),
    "blur": lambda image: blurred(image, 0.8),
    "shading": lambda image: image * np.linspace(0.6, 1.2, SIDE),
    "all together": lambda image: (
        30 + 0.7 * 255 * (np.clip(blurred(image, 0.6), 0, 255) / 255) ** 0.8 + grain(4)
    ),
}


@pytest.mark.parametrize("change", HARMLESS.values(), ids=HARMLESS)
def test_harmless_changes_keep_textured_structure_in_place(change):
    shifts, kept = found(textured(1), change(textured(1)))
    assert np.hypot(*shifts.T).max() < 0.15
    assert kept.min() > 0.85


def test_what_is_kept_goes_down_as_more_and_more_is_erased():
    before, empty = textured(2), blurred(textured(2), 16)
    kept_by_area = []
    for share in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        erased = before.copy()
        for box in BOXES:
            rows = slice(int(box.y1) - 2, int(box.y1) - 2 + round(28 * share))
            columns = slice(int(box.x1) - 2, int(box.x2) + 2)
            erased[rows, columns] = empty[rows, columns]
        drifts = measure(stored(before), stored(erased + grain(2)), BOXES)
        kept_by_area.append(np.mean([drift.structure_kept for drift in drifts]))
    assert kept_by_area == sorted(kept_by_area, reverse=True)
    assert np.diff(kept_by_area).max() < -0.03
    assert kept_by_area[0] > 0.95
    assert kept_by_area[-1] < 0.3 < MIN_STRUCTURE_KEPT


def test_an_erased_region_is_told_from_its_untouched_neighbours():
    erased, box = textured(3), BOXES[4]
    inside = (slice(int(box.y1) - 2, int(box.y2) + 2), slice(int(box.x1) - 2, int(box.x2) + 2))
    erased[inside] = blurred(erased, 16)[inside]
    kept = [d.structure_kept for d in measure(stored(textured(3)), stored(erased + grain(3)), BOXES)]
    assert kept[4] < 0.4
    assert min(kept[:4] + kept[5:]) > 0.8


def test_under_a_warp_every_region_is_given_its_own_displacement():
    # A slow wave: neighbouring regions move differently, by up to 1.5 px, and each is stretched by up to 5 %.
    dx, dy = 1.5 * np.sin(YY / 30), 1.2 * np.cos(XX / 30 + 1)
    shifts, kept = found(textured(4), textured(4, dx, dy))
    for box, shift in zip(BOXES, shifts, strict=True):
        rows, columns = slice(int(box.y1), int(box.y2)), slice(int(box.x1), int(box.x2))
        truth = (dx[rows, columns].mean(), dy[rows, columns].mean())
        assert np.hypot(*(shift - truth)) < 0.25
    assert kept.min() > 0.85


def test_a_bump_moves_the_regions_it_covers_and_no_others():
    bump = 2.0 * np.exp(-((XX - 48) ** 2 + (YY - 48) ** 2) / (2 * 14.0**2))
    lengths = np.hypot(*found(textured(5), textured(5, dx=bump))[0].T)
    assert lengths[4] > MAX_SHIFT_PX
    assert lengths[[0, 2, 6, 8]].max() < 0.3


@pytest.mark.parametrize("degrees", [1.0, 2.0])
def test_a_small_rotation_displaces_regions_around_its_centre(degrees):
    angle = np.deg2rad(degrees)
    back_x = 48 + np.cos(angle) * (XX - 48) + np.sin(angle) * (YY - 48)
    back_y = 48 - np.sin(angle) * (XX - 48) + np.cos(angle) * (YY - 48)
    shifts, kept = found(textured(6), textured(6, XX - back_x, YY - back_y))
    from_centre = CENTRES - 48
    truth = from_centre @ np.array([(np.cos(angle), np.sin(angle)), (-np.sin(angle), np.cos(angle))])
    assert np.hypot(*(shifts - (truth - from_centre)).T).max() < 0.25
    assert kept.min() > 0.85


def test_the_more_a_region_turns_the_less_of_it_is_kept():
    middle = []
    for degrees in (0, 4, 10, 25, 60):
        angle = np.deg2rad(degrees)
        back_x = 48 + np.cos(angle) * (XX - 48) + np.sin(angle) * (YY - 48)
        back_y = 48 - np.sin(angle) * (XX - 48) + np.cos(angle) * (YY - 48)
        turned = textured(7, XX - back_x, YY - back_y)
        middle.append(measure(stored(textured(7)), stored(turned), BOXES)[4].structure_kept)
    assert middle == sorted(middle, reverse=True)
    assert middle[-1] < MIN_STRUCTURE_KEPT < middle[1]


def test_another_texture_is_not_taken_for_the_same_one():
    others = [measure(stored(textured(0)), stored(textured(seed)), BOXES) for seed in range(1, 5)]
    kept = [drift.structure_kept for drifts in others for drift in drifts]
    assert np.mean(np.array(kept) < MIN_STRUCTURE_KEPT) > 0.75


def near(distance, width):
    """1 where a soft-edged thing is, from the distance to its middle line or middle, px."""
    return 1 / (1 + np.exp((distance - width) / 0.5))


def stroke(x1, y1, x2, y2):
    along = np.clip(((XX - x1) * (x2 - x1) + (YY - y1) * (y2 - y1)) / ((x2 - x1) ** 2 + (y2 - y1) ** 2), 0, 1)
    return near(np.hypot(XX - x1 - along * (x2 - x1), YY - y1 - along * (y2 - y1)), 1.2)


def die(missing=()):
    """Dark on a brighter table, with five pips at the corners and in the middle."""
    places = [(40, 40), (56, 40), (48, 48), (40, 56), (56, 56)]
    pips = [near(np.hypot(XX - x, YY - y), 2.6) for i, (x, y) in enumerate(places) if i not in missing]
    face = near(np.maximum(abs(XX - 48), abs(YY - 48)), 14)
    return 185 - 125 * face + 150 * sum(pips, 0 * XX)


def four(missing=()):
    """A digit of three strokes."""
    strokes = [stroke(46, 38, 40, 50), stroke(40, 50, 56, 50), stroke(52, 40, 52, 58)]
    return 215 - 140 * np.max([ink for i, ink in enumerate(strokes) if i not in missing], axis=0)


def nuclei(missing=()):
    """Three bright ones side by side, each with some texture."""
    places = [(36, 44), (50, 52), (62, 40)]
    shine = 90 + 8 * np.sin(XX) * np.sin(YY)
    drawn = [
        near(np.hypot(XX - x, (YY - y) / 1.2), 5.5) for i, (x, y) in enumerate(places) if i not in missing
    ]
    return 30 + shine * sum(drawn)


WITH_PARTS = {
    "a pip": (die, (4,), (33, 33, 63, 63)),
    "all pips": (die, (0, 1, 2, 3, 4), (33, 33, 63, 63)),
    "a stroke": (four, (0,), (38, 36, 57, 60)),
    "a nucleus": (nuclei, (1,), (30, 33, 68, 59)),
}


@pytest.mark.parametrize(("draw", "missing", "box"), WITH_PARTS.values(), ids=WITH_PARTS)
def test_a_part_erased_within_a_region_is_found_although_most_of_the_region_is_kept(draw, missing, box):
    region = SimpleNamespace(**dict(zip(("x1", "y1", "x2", "y2"), map(float, box), strict=True)))
    for seed, change in enumerate((lambda image: image, *HARMLESS.values())):
        for after, erased in ((draw(missing), True), (draw(), False)):
            aged = stored(change(after) + grain(3, seed))
            (drift,) = measure(stored(draw()), aged, [region])
            assert drift.least_kept < MIN_LEAST_KEPT - 0.1 if erased else drift.least_kept > 0.6
    (drift,) = measure(stored(draw()), stored(draw(missing)), [region])
    assert drift.structure_kept > MIN_STRUCTURE_KEPT


def test_texture_that_was_added_everywhere_does_not_erase_what_is_still_there():
    region = SimpleNamespace(x1=33.0, y1=33.0, x2=63.0, y2=63.0)
    (drift,) = measure(stored(die()), stored(die() + grain(12)), [region])
    assert drift.least_kept > 0.7


def test_where_no_part_stands_out_none_can_be_the_least_kept():
    faint = 128 + 4 * np.sin(XX / 2)
    (drift,) = measure(stored(faint), stored(faint), BOXES[4:5])
    assert drift.measured
    assert drift.least_kept is None
