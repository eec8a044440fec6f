"""Parity: the comparison that decides whether a file may be published."""

import numpy as np
import pytest

from model.card import NoiseSpec
from model.errors import ParityError
from model.parity import Images, Refine, measure_parity

SIZES = ((1, 1, 1), (2, 5, 8))


def same(images: Images, noise: object) -> Images:
    return images


def off_by(levels: int, *, size: tuple[int, int] = (5, 8)) -> Refine:
    """Wrong by some levels in the first pixel of every batch of one size."""

    def refine(images: Images, noise: object) -> Images:
        result = images.copy()
        if images.shape[1:3] == size:
            first = result[0, 0, 0, 0]
            result[0, 0, 0, 0] = first - levels if first >= levels else first + levels
        return result

    return refine


def compare(
    candidate: Refine, *, tolerance: int = 1, dtype: type = np.uint8, noise: tuple[int, int] = (0, 0)
):
    spec = NoiseSpec(pixel_channels=noise[0], smooth_channels=0, image_channels=noise[1])
    return measure_parity(
        same,
        candidate,
        channels=2,
        dtype=np.dtype(dtype),
        noise=spec,
        sizes=SIZES,
        tolerance=tolerance,
        runtime="a test",
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_equal_refiners_differ_nowhere(dtype: type) -> None:
    parity = compare(same, dtype=dtype)

    assert (parity.max_difference, parity.differing_fraction) == (0, 0.0)
    assert (parity.sizes, parity.tolerance, parity.runtime) == (SIZES, 1, "a test")


def test_a_tolerated_difference_is_recorded_with_its_extent() -> None:
    parity = compare(off_by(1))

    values = 2 * (1 * 1 * 1 * 2 + 2 * 5 * 8 * 2)  # random and smooth images of both sizes
    assert parity.max_difference == 1
    assert parity.differing_fraction == pytest.approx(2 / values)


def test_one_value_above_the_tolerance_refuses_the_file() -> None:
    with pytest.raises(ParityError, match=r"differ by 3 of 255 grey levels at \[N, H, W\] = \[2, 5, 8\]"):
        compare(off_by(3), tolerance=2)


def test_a_difference_that_would_wrap_around_in_unsigned_arithmetic_is_seen() -> None:
    with pytest.raises(ParityError, match="differ by 65535 of 65535"):
        measure_parity(
            lambda images, noise: np.zeros_like(images),
            lambda images, noise: np.full_like(images, 65535),
            channels=1,
            dtype=np.dtype(np.uint16),
            noise=NoiseSpec(pixel_channels=0, smooth_channels=0, image_channels=0),
            sizes=SIZES,
            tolerance=1,
            runtime="a test",
        )


@pytest.mark.parametrize(
    "candidate",
    [lambda images, noise: images.astype(np.uint16), lambda images, noise: images[:, :1]],
    ids=["type", "shape"],
)
def test_another_type_or_shape_is_a_difference(candidate: Refine) -> None:
    with pytest.raises(ParityError, match="torch gives uint8"):
        compare(candidate)


def test_both_get_the_same_images_over_the_whole_range_and_the_same_noise() -> None:
    seen: list[tuple[Images, np.ndarray]] = []

    def watch(images: Images, noise: np.ndarray) -> Images:
        seen.append((images, noise))
        return images

    compare(watch, noise=(1, 1))

    large = [(images, noise) for images, noise in seen if images.shape == (2, 5, 8, 2)]
    assert len(large) == 2
    assert large[0][0].min() < 10
    assert large[0][0].max() > 245
    for _, noise in large:
        assert noise.shape == (2, 5, 8, 2)
        assert noise.dtype == np.float32
        assert not np.array_equal(noise[0], noise[1])
        assert len(np.unique(noise[0, :, :, 1])) == 1


def test_a_refiner_without_noise_gets_none() -> None:
    def refine(images: Images, noise: object) -> Images:
        assert noise is None
        return images

    compare(refine)
