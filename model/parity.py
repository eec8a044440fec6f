"""Parity: how far two implementations of one refiner lie apart, in grey levels of the file's own type."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.card import NoiseSpec, Parity
from model.errors import ParityError
from model.noise import noise_fields

Images = NDArray[np.unsignedinteger[Any]]
"""A batch of images [N, H, W, C], uint8 or uint16."""
Refine = Callable[[Images, NDArray[np.float32] | None], Images]
"""Refines a batch, with noise [N, H, W, K] or None; returns the type and shape of the images."""
Sizes = Sequence[tuple[int, int, int]]
"""Batches to compare, as (N, H, W)."""

PARITY_SIZES: Sizes = ((1, 1, 1), (1, 35, 55), (4, 17, 24), (1, 131, 96))


def measure_parity(
    reference: Refine,
    candidate: Refine,
    *,
    channels: int,
    dtype: np.dtype[np.unsignedinteger[Any]],
    noise: NoiseSpec,
    sizes: Sizes,
    tolerance: int,
    runtime: str,
) -> Parity:
    """Refine random and smooth images of all sizes with both, and compare every value.

    runtime: what ran the candidate, for the record. Raises ParityError when a shape or type differs, or
    a value by more than `tolerance` grey levels.
    """
    largest, differing, total = 0, 0, 0
    for size in sizes:
        for images in _test_images(size, channels, dtype):
            field = _noise(size, noise)
            difference = _difference(reference(images, field), candidate(images, field))
            if difference.max() > tolerance:
                raise ParityError(
                    f"torch and {runtime} differ by {difference.max()} of {np.iinfo(dtype).max} grey levels "
                    f"at [N, H, W] = {list(size)}, more than the {tolerance} allowed"
                )
            largest = max(largest, int(difference.max()))
            differing += int(np.count_nonzero(difference))
            total += difference.size
    return Parity(
        max_difference=largest,
        differing_fraction=differing / total,
        sizes=tuple(sizes),
        tolerance=tolerance,
        runtime=runtime,
    )


def _test_images(
    size: tuple[int, int, int], channels: int, dtype: np.dtype[np.unsignedinteger[Any]]
) -> Iterator[Images]:
    """A batch of white noise over the whole range, then one of slow waves that differ by channel."""
    count, height, width = size
    peak = int(np.iinfo(dtype).max)
    shape = (count, height, width, channels)
    yield np.random.default_rng(0).integers(0, peak, shape, dtype=dtype, endpoint=True)
    number, y, x, channel = np.indices(shape, dtype=np.float64)
    wave = np.sin(x / 9.0 + channel) * np.cos(y / 13.0 + number)
    yield ((wave + 1.0) / 2.0 * peak).astype(dtype)


def _noise(size: tuple[int, int, int], spec: NoiseSpec) -> NDArray[np.float32] | None:
    count, height, width = size
    if spec.channels == 0:
        return None
    return noise_fields(range(count), height, width, spec)


def _difference(expected: Images, actual: Images) -> NDArray[np.int64]:
    if expected.shape != actual.shape or expected.dtype != actual.dtype:
        raise ParityError(
            f"torch gives {expected.dtype} {list(expected.shape)}, "
            f"the file {actual.dtype} {list(actual.shape)}"
        )
    return np.abs(expected.astype(np.int64) - actual.astype(np.int64))
