"""Owns the training images: both sets decoded once and checked against each other."""

import hashlib
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainer.config import TrainConfig
from trainer.disk import telling
from trainer.errors import DataError
from trainer.sources import Images, Reading, Source, parse_source, read_images

Report = Callable[[str, int, int], None]

AUTO_WINDOW_PX = 32
"""Side of the windows of `--window auto`: more than both receptive fields of the default networks, and a step
costs the same whatever the size of the images."""


@dataclass(frozen=True)
class TrainingData:
    """Synthetic and real images, uint8 or uint16 [N, H, W, C] of the same type, channels and window."""

    synthetic: Images
    real: Images
    window: tuple[int, int]
    """Height and width of the images that the networks see, px."""

    def common_part(self, most: int) -> tuple[int, int]:
        """Height and width, px, that fit into all images: up to `most`, but no less than a window."""
        height, width = common_size(self.synthetic, self.real)
        return max(min(height, most), self.window[0]), max(min(width, most), self.window[1])

    @property
    def channels(self) -> int:
        """Channels of every image."""
        channels: int = self.synthetic.shape[3]
        return channels

    @property
    def bit_depth(self) -> int:
        """8 or 16."""
        return 8 if self.synthetic.dtype == np.uint8 else 16

    @property
    def peak(self) -> int:
        """The largest grey level: 255 or 65535."""
        return (1 << self.bit_depth) - 1

    def __str__(self) -> str:
        size, real_size = _px(self.synthetic.shape[1:3]), _px(self.real.shape[1:3])
        if size == real_size:
            sets = f"{len(self.synthetic)} synthetic and {len(self.real)} real images, {size} px"
        else:
            sets = (
                f"{len(self.synthetic)} synthetic images, {size} px, and {len(self.real)} real ones, "
                f"{real_size} px"
            )
        window = _px(self.window)
        windows = "" if window == size == real_size else f", windows of {window} px"
        return f"{sets}{windows}, {self.channels} x {self.bit_depth} bits"


def _px(size: tuple[int, ...]) -> str:
    return "x".join(map(str, size))


class _DecodedElsewhereError(Exception):
    """A large set is being written by the process that owns the cache."""


def load_data(
    config: TrainConfig,
    cache: Path,
    report: Report,
    *,
    owns_cache: bool = True,
    barrier: Callable[[], None] = lambda: None,
) -> TrainingData:
    """Decode both sets; DataError in one sentence for whatever does not fit.

    A set above `max_resident_bytes` becomes a memory-mapped file in `cache`: one process writes it, all
    meet at `barrier`, then the others map it.
    """
    synthetic_source, real_source = (
        parse_source("synthetic", config.synthetic),
        parse_source("real", config.real),
    )
    _check_paths(synthetic_source, real_source)
    sets = [
        _load(source, config, cache, report, owns_cache=owns_cache, barrier=barrier)
        for source in (synthetic_source, real_source)
    ]
    synthetic, real = sets
    _check_pair(config, synthetic_source, synthetic, real_source, real)
    return TrainingData(synthetic, real, _window(config, synthetic, real))


def common_size(synthetic: Images, real: Images) -> tuple[int, int]:
    """The largest height and width that fit into the images of both sets."""
    return min(synthetic.shape[1], real.shape[1]), min(synthetic.shape[2], real.shape[2])


def _window(config: TrainConfig, synthetic: Images, real: Images) -> tuple[int, int]:
    if config.window == "whole":
        return synthetic.shape[1], synthetic.shape[2]
    if config.window == "auto":
        height, width = common_size(synthetic, real)
        return min(height, AUTO_WINDOW_PX), min(width, AUTO_WINDOW_PX)
    return config.window


def _load(
    source: Source,
    config: TrainConfig,
    cache: Path,
    report: Report,
    *,
    owns_cache: bool,
    barrier: Callable[[], None],
) -> Images:
    file = cache / f"{source.role}.npy"

    def allocate(shape: tuple[int, int, int, int], dtype: np.dtype[np.unsignedinteger[Any]]) -> Images:
        if math.prod(shape) * dtype.itemsize <= config.max_resident_bytes:
            return np.empty(shape, dtype)
        if not owns_cache:
            raise _DecodedElsewhereError
        return _allocate_file(file, shape, dtype)

    try:
        images = read_images(
            source, _reading(config), allocate, lambda done, total: report(source.role, done, total)
        )
    except _DecodedElsewhereError:
        barrier()
        mapped: Images = np.load(file, mmap_mode="r")
        return mapped
    if isinstance(images, np.memmap):
        images.flush()
        barrier()
    return images


def _reading(config: TrainConfig) -> Reading:
    channels = None if config.channels == "auto" else config.channels
    bit_depth = None if config.bit_depth == "auto" else config.bit_depth
    return Reading(config.resize, config.crop, channels, bit_depth)


def _allocate_file(
    file: Path, shape: tuple[int, int, int, int], dtype: np.dtype[np.unsignedinteger[Any]]
) -> Images:
    with telling(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        images: Images = np.lib.format.open_memmap(file, "w+", dtype, shape)
        with file.open("r+b") as reserved:
            # Reserve the space now: a mapped page without room behind it would kill the process later.
            os.posix_fallocate(reserved.fileno(), 0, file.stat().st_size)
    return images


def _check_paths(synthetic: Source, real: Source) -> None:
    one, other = synthetic.path.resolve(), real.path.resolve()
    if one == other and synthetic.key == real.key:
        raise DataError(f"synthetic and real are the same: {synthetic}")
    if one.is_dir() and other.is_dir() and (one in other.parents or other in one.parents):
        inner, outer = (real, synthetic) if one in other.parents else (synthetic, real)
        raise DataError(f"the {inner.role} folder {inner} lies inside the {outer.role} folder {outer}")


def _check_pair(config: TrainConfig, one: Source, synthetic: Images, other: Source, real: Images) -> None:
    if synthetic.shape[3] != real.shape[3]:
        raise DataError(
            f"synthetic images have {synthetic.shape[3]} channels, real ones {real.shape[3]}; --channels 1 "
            "reads folders as grey, --channels 3 as RGB"
        )
    if synthetic.dtype != real.dtype:
        raise DataError(
            f"synthetic images are {synthetic.dtype}, real ones {real.dtype}; --bit-depth 8 or "
            "--bit-depth 16 makes them one"
        )
    _check_sizes(config, synthetic, real)
    for source, images in ((one, synthetic), (other, real)):
        if len(images) < config.batch_size:
            raise DataError(
                f"{source} holds {len(images)} images, fewer than --batch-size {config.batch_size}"
            )
    if synthetic.shape == real.shape and _same_images(synthetic, real):
        raise DataError(f"synthetic {one} and real {other} hold the same images")


def _check_sizes(config: TrainConfig, synthetic: Images, real: Images) -> None:
    sizes = {"synthetic": synthetic.shape[1:3], "real": real.shape[1:3]}
    if config.window == "whole" and len(set(sizes.values())) > 1:
        (h, w), (other_h, other_w) = sizes.values()
        raise DataError(
            f"synthetic images are {h}x{w} px, real ones {other_h}x{other_w}; --resize, --crop or --window "
            "makes them one"
        )
    for role, (height, width) in sizes.items():
        if isinstance(config.window, tuple) and (height < config.window[0] or width < config.window[1]):
            raise DataError(
                f"{role} images are {height}x{width} px, smaller than --window "
                f"{config.window[0]}x{config.window[1]}"
            )


def _same_images(one: Images, other: Images) -> bool:
    """Whether both sets hold the same images, in whatever order."""
    first = one[0].tobytes()
    if not any(image.tobytes() == first for image in other):
        return False
    return sorted(map(_digest, one)) == sorted(map(_digest, other))


def _digest(image: Images) -> bytes:
    return hashlib.blake2b(image.tobytes(), digest_size=16).digest()
