"""The measures of realism: what they find, what they do not, and what they say where the truth is known."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")

from trainer.evaluation.judge import Judging  # noqa: E402
from trainer.evaluation.kernel_distance import kernel_distance, squared_mmd  # noqa: E402
from trainer.evaluation.realism import RealismSettings, compared, measure_realism, realities  # noqa: E402
from trainer.evaluation.samples import draw, halves  # noqa: E402
from trainer.evaluation.sliced_wasserstein import sliced_wasserstein  # noqa: E402
from trainer.evaluation.spectrum import frequencies, radial_spectrum, spectrum_distance  # noqa: E402

pytestmark = pytest.mark.train
Pixels = NDArray[Any]


def blobs(seed: int, count: int = 64, shape: tuple[int, int, int] = (16, 16, 1)) -> Pixels:
    """Smooth pictures with grain, uint8 [count, *shape]."""
    rng = np.random.default_rng(seed)
    height, width, channels = shape
    y, x = np.mgrid[0:height, 0:width]
    centres = rng.uniform(0, 1, (count, 2, channels)) * (height, 1)[0]
    images = np.empty((count, *shape))
    for image, centre in zip(images, centres, strict=True):
        for channel in range(channels):
            cy, cx = centre[:, channel]
            image[..., channel] = 200 - 120 * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 20)
    return stored(images + rng.normal(0, 4, images.shape))


def stored(images: Pixels) -> Pixels:
    return np.clip(np.round(images), 0, 255).astype(np.uint8)


def grain(images: Pixels, sigma: float) -> Pixels:
    return stored(images + np.random.default_rng(9).normal(0, sigma, images.shape))


def test_the_kernel_distance_of_two_small_samples_is_what_one_computes_by_hand() -> None:
    # d = 1: k(x, y) = (x y + 1)^3. Within (0, 1): k = 1, within (1, 2): 27, across: (1 + 1 + 8 + 27) / 4.
    one, other = np.array([[0.0], [1.0]]), np.array([[1.0], [2.0]])
    assert squared_mmd(one, other) == pytest.approx(1 + 27 - 2 * 37 / 4)


def test_the_kernel_distance_of_one_kind_is_about_zero_and_grows_with_a_difference() -> None:
    real = blobs(1, 256)
    same = kernel_distance(blobs(0, 256), real)
    slightly, plainly = (kernel_distance(grain(blobs(0, 256), sigma), real) for sigma in (6, 12))
    assert same.low < 0 < same.high
    assert same.high < slightly.low
    assert slightly.mean < plainly.mean
    assert len(same.values) == 8


def test_a_brightness_moves_patches_by_what_it_is_in_the_coarsest_band_only() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(60, 120, (32, 64, 64, 1)).astype(np.uint8)
    brighter = sliced_wasserstein(images + np.uint8(20), images)
    assert len(brighter.values) == 3
    assert brighter.values[0] < 1 > brighter.values[1]
    # A patch of ones projects onto a random direction of length 1 with the size |N(0, 1)|: 0.8 on average.
    assert brighter.values[2] == pytest.approx(20 * np.sqrt(2 / np.pi), rel=0.2)
    assert brighter.low < brighter.mean < brighter.high


def test_grain_moves_patches_in_the_finest_band_most() -> None:
    real = blobs(1, 64, (32, 32, 1))
    finest, coarsest = sliced_wasserstein(grain(blobs(0, 64, (32, 32, 1)), 10), real).values
    floor, _ = sliced_wasserstein(blobs(0, 64, (32, 32, 1)), real).values
    assert finest > 10 * floor
    assert finest > coarsest


@pytest.mark.parametrize("size", [(32, 32), (33, 48), (48, 21)])
def test_white_noise_has_the_logarithm_of_its_variance_at_every_frequency(size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).normal(128, 10, (400, *size, 1))
    spectrum = radial_spectrum(stored(noise))
    np.testing.assert_allclose(spectrum[1:], 2.0, atol=0.05)
    assert spectrum[0] == pytest.approx(1.9, abs=0.1)  # some of it goes with the mean
    assert spectrum.shape == frequencies(*size).shape == (min(size) // 2,)


def test_a_wave_stands_at_its_own_frequency() -> None:
    x = np.arange(64)
    waves = [
        np.tile(128 + 50 * np.sin(2 * np.pi * 0.25 * x + phase), (64, 1)) for phase in np.linspace(0, 6, 16)
    ]
    spectrum = radial_spectrum(stored(np.array(waves)[..., None]))
    assert frequencies(64, 64)[np.argmax(spectrum)] == pytest.approx(0.25)
    assert spectrum[np.argmax(spectrum)] > spectrum[4] + 3


def test_twice_the_contrast_is_0_6_decades_more_power() -> None:
    noise = np.random.default_rng(0).normal(0, 12, (64, 32, 32, 1))
    one, other = radial_spectrum(stored(128 + noise)), radial_spectrum(stored(128 + 2 * noise))
    assert spectrum_distance(one, other) == pytest.approx(np.log10(4), abs=0.01)
    assert spectrum_distance(one, one) == 0


def test_the_halves_share_no_image_and_hold_of_every_group_equally_much() -> None:
    images = np.arange(240).astype(np.uint8).reshape(240, 1, 1, 1)
    one, other = (half.ravel().astype(int) for half in halves(images, 100))
    assert len({*one, *other}) == 200
    groups = [np.bincount(half // 24, minlength=10) for half in (one, other)]
    assert np.abs(groups[0] - groups[1]).max() <= 2
    left = one % 2 == 0
    assert 0.2 < left.mean() < 0.8  # not every second one


def test_refined_images_are_drawn_like_the_synthetic_ones_they_came_from() -> None:
    images = blobs(0, 20)
    assert np.array_equal(draw(images, 7) + 1, draw(images + 1, 7))
    large = np.random.default_rng(0).integers(0, 200, (4, 140, 300, 1)).astype(np.uint8)
    assert draw(large, 3).shape == (3, 128, 128, 1)
    assert np.array_equal(draw(large, 3) + 1, draw(large + 1, 3))


@pytest.mark.parametrize(("channels", "depth"), [(1, np.uint8), (2, np.uint8), (3, np.uint16), (4, np.uint8)])
def test_realism_of_every_kind_of_image_and_sets_of_different_sizes(channels: int, depth: type) -> None:
    factor = 1 if depth is np.uint8 else 257
    synthetic, real = (
        blobs(seed, count, (16, 21, channels)).astype(depth) * depth(factor)
        for seed, count in ((0, 21), (1, 33))
    )
    settings = RealismSettings(judging=Judging(updates=2))
    frame = realities(synthetic, real, settings)
    assert frame.images == compared(21, 33, settings) == 16
    assert len(frame.floor.judge.values) == Judging().folds
    assert len(frame.frequencies) == len(frame.real_spectrum) == len(frame.start.spectrum) == 8
    assert measure_realism(synthetic, real, settings) == frame.start
    values = [
        frame.floor.judge.mean,
        frame.start.kernel_distance.high,
        frame.start.sliced_wasserstein.mean,
        frame.start.spectrum_distance,
    ]
    assert np.isfinite(values).all()


def test_a_deeper_file_of_the_same_pictures_measures_the_same() -> None:
    synthetic, real = blobs(0, 32), grain(blobs(1, 64), 6)
    deep = [images.astype(np.uint16) * np.uint16(257) for images in (synthetic, real)]
    shallow = RealismSettings(judging=Judging(updates=2))
    one, other = measure_realism(synthetic, real, shallow), measure_realism(*deep, shallow)
    assert one.sliced_wasserstein.mean == pytest.approx(other.sliced_wasserstein.mean, rel=1e-4)
    assert one.kernel_distance.mean == pytest.approx(other.kernel_distance.mean, rel=1e-3)
    np.testing.assert_allclose(one.spectrum, other.spectrum, rtol=1e-4)


def test_flat_images_are_measured_too() -> None:
    flat = np.full((32, 16, 16, 1), 90, np.uint8)
    realism = measure_realism(flat, flat, RealismSettings(judging=Judging(updates=2)))
    assert realism.kernel_distance.mean == pytest.approx(0, abs=1e-6)
    assert realism.spectrum_distance == 0
    assert realism.judge.mean == 0.5
