"""The noise field: white, normal, and the same wherever it is cut."""

import numpy as np
import pytest

from model.card import NoiseSpec
from model.noise import SMOOTH_PX, noise_field, noise_fields, seed_for_image

PIXEL = NoiseSpec(pixel_channels=1, smooth_channels=0, image_channels=0)
BOTH = NoiseSpec(pixel_channels=2, smooth_channels=1, image_channels=2)
SMOOTH = NoiseSpec(pixel_channels=0, smooth_channels=1, image_channels=0)


@pytest.mark.parametrize(("top", "left", "height", "width"), [(0, 0, 5, 7), (3, 11, 20, 1), (17, 1, 8, 30)])
def test_the_field_of_a_tile_is_the_crop_of_the_whole_field(
    top: int, left: int, height: int, width: int
) -> None:
    whole = noise_field(5, 40, 50, BOTH)

    tile = noise_field(5, height, width, BOTH, top=top, left=left)

    np.testing.assert_array_equal(tile, whole[top : top + height, left : left + width])


def test_the_field_is_float32_with_pixel_then_smooth_then_constant_image_channels() -> None:
    field = noise_field(5, 6, 7, BOTH)

    assert field.dtype == np.float32
    assert field.shape == (6, 7, 5)
    assert [len(np.unique(field[:, :, channel])) for channel in range(5)] == [42, 42, 42, 1, 1]
    assert np.ptp(field[:, :, 2]) < np.ptp(field[:, :, 0])
    assert field[0, 0, 3] != field[0, 0, 4]


@pytest.mark.parametrize(
    ("height", "width", "top", "left"), [(35, 55, 0, 0), (1, 40, 17, 3), (120, 100, 5, 31)]
)
def test_many_fields_at_once_are_those_of_one_after_the_other(
    height: int, width: int, top: int, left: int
) -> None:
    seeds = [3, -1, 2**64 + 3, 2**63, 12]

    together = noise_fields(seeds, height, width, BOTH, top=top, left=left)

    alone = [noise_field(seed, height, width, BOTH, top=top, left=left) for seed in seeds]
    np.testing.assert_array_equal(together, np.stack(alone))
    np.testing.assert_array_equal(together[0], together[2])
    assert len({field.tobytes() for field in together}) == 4


def test_a_refiner_without_noise_gets_an_empty_field() -> None:
    assert noise_field(1, 3, 4, NoiseSpec(pixel_channels=0, smooth_channels=0, image_channels=0)).shape == (
        3,
        4,
        0,
    )


def test_pixel_noise_is_standard_normal() -> None:
    values = noise_field(7, 1000, 1000, PIXEL).ravel().astype(np.float64)

    # Five standard errors of a million independent values.
    assert abs(values.mean()) < 5e-3
    assert abs(values.var() - 1.0) < 7.1e-3
    assert abs((values**3).mean()) < 2e-2
    assert abs((values**4).mean() - 3.0) < 5e-2
    assert abs((values < -1.959964).mean() - 0.025) < 8e-4


@pytest.mark.parametrize(("dy", "dx"), [(0, 1), (1, 0), (1, 1), (1, -1), (0, 2), (2, 0)])
def test_neighbouring_pixels_are_uncorrelated(dy: int, dx: int) -> None:
    field = noise_field(7, 500, 500, PIXEL)[:, :, 0]

    shifted = np.roll(field, (dy, dx), axis=(0, 1))

    assert abs((field * shifted).mean()) < 5 / 500  # five standard errors


def test_seeds_and_channels_are_independent() -> None:
    spec = NoiseSpec(pixel_channels=2, smooth_channels=0, image_channels=0)
    fields = [noise_field(seed, 200, 200, spec)[:, :, channel] for seed in (0, 1, -1) for channel in (0, 1)]

    correlations = np.corrcoef([field.ravel() for field in fields])

    assert np.abs(correlations - np.eye(6)).max() < 5 / 200


def test_image_noise_is_standard_normal_over_seeds() -> None:
    spec = NoiseSpec(pixel_channels=0, smooth_channels=0, image_channels=1)
    values = np.array([noise_field(seed, 1, 1, spec)[0, 0, 0] for seed in range(4000)])

    assert abs(values.mean()) < 5 / 4000**0.5
    assert abs(values.var() - 1.0) < 5 * (2 / 4000) ** 0.5


def test_the_same_seed_gives_these_very_values_on_every_machine() -> None:
    field = noise_field(7, 1, 3, NoiseSpec(pixel_channels=1, smooth_channels=0, image_channels=1))

    golden = [[-0.9081191, -0.29344729], [0.87499517, -0.29344729], [0.8875718, -0.29344729]]
    np.testing.assert_array_equal(field[0], np.array(golden, dtype=np.float32))


def test_smooth_noise_is_standard_normal_everywhere_and_changes_slowly() -> None:
    fields = np.stack([noise_field(seed, 40, 40, SMOOTH)[:, :, 0] for seed in range(3000)])

    assert np.abs(fields.mean(axis=0)).max() < 5 / 3000**0.5
    assert np.abs(fields.var(axis=0) - 1.0).max() < 6 * (2 / 3000) ** 0.5
    steepest = np.pi / 2 * 1.5 / SMOOTH_PX  # of a weight, from one pixel to the next
    assert np.abs(np.diff(fields, axis=1)).max() < steepest * 2 * np.abs(fields).max()
    far = np.corrcoef(fields[:, 0, 0], fields[:, 2 * SMOOTH_PX, 0])[0, 1]
    near = np.corrcoef(fields[:, 20, 20], fields[:, 22, 20])[0, 1]
    assert abs(far) < 5 / 3000**0.5
    assert near > 0.9


def test_the_smooth_noise_of_training_is_that_of_the_field() -> None:
    torch = pytest.importorskip("torch")
    from trainer.sampling import draw_noise

    drawn = draw_noise(SMOOTH, (3000, 48, 32), torch.Generator().manual_seed(3)).numpy()
    fields = np.stack([noise_field(seed, 48, 32, SMOOTH)[:, :, 0] for seed in range(3000)])

    assert drawn.shape == (3000, 1, 48, 32)
    assert np.abs(drawn.var(axis=0) - 1.0).max() < 6 * (2 / 3000) ** 0.5
    for axis in (1, 2):
        steps = [
            float((values**2).mean())
            for values in (np.diff(drawn[:, 0], axis=axis), np.diff(fields, axis=axis))
        ]
        assert steps[0] == pytest.approx(steps[1], rel=0.15)


def test_the_seed_of_an_image_depends_on_seed_pixels_and_shape() -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4, 1)
    other = pixels.copy()
    other[2, 3, 0] += 1
    seeds = [
        seed_for_image(7, pixels),
        seed_for_image(8, pixels),
        seed_for_image(7, other),
        seed_for_image(7, pixels.reshape(4, 3, 1)),
    ]
    assert len(set(seeds)) == 4
    assert all(0 <= seed < 2**64 for seed in seeds)


def test_the_seed_of_an_image_does_not_depend_on_how_its_pixels_lie_in_memory() -> None:
    pixels = np.arange(24, dtype=np.uint16).reshape(4, 6, 1)
    expected = seed_for_image(7, pixels)
    assert seed_for_image(7, np.asfortranarray(pixels)) == expected
    assert seed_for_image(7, pixels.astype(">u2")) == expected
    assert seed_for_image(7, np.repeat(pixels, 2, axis=1)[:, ::2]) == expected


def test_the_seed_of_an_image_is_this_very_number_on_every_machine() -> None:
    assert seed_for_image(7, np.arange(6, dtype=np.uint8).reshape(2, 3, 1)) == 9772343805941876319
