"""Owns reading images from outside: a folder or an .npz array becomes one uint8 or uint16 array."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from model.label_images import why_label_image
from trainer.errors import DataError
from trainer.npz import NpzArray

Images = NDArray[np.unsignedinteger[Any]]
"""Grey levels, uint8 or uint16, [N, H, W, C] or one image [H, W, C]."""
Allocate = Callable[[tuple[int, int, int, int], "np.dtype[np.unsignedinteger[Any]]"], Images]
Report = Callable[[int, int], None]
GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N"})
DEEP_MODES = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N"})
UNREADABLE = (
    UnidentifiedImageError,
    OSError,
    SyntaxError,
    ValueError,
    RuntimeError,
    Image.DecompressionBombError,
)
"""What Pillow's decoders raise for damaged files."""
MAX_PIXELS_PER_IMAGE = 256_000_000


@dataclass(frozen=True)
class Reading:
    """How every image of one source is read; sizes are (height, width) in px."""

    resize: tuple[int, int] | None = None
    crop: tuple[int, int] | None = None
    channels: int | None = None
    bit_depth: int | None = None


@dataclass(frozen=True)
class Source:
    """One side of the training data: `path` is a folder, or an .npz file with the array `key`."""

    role: str
    path: Path
    key: str | None

    def __str__(self) -> str:
        return f"{self.path}:{self.key}" if self.key else str(self.path)


def parse_source(role: str, text: str) -> Source:
    """Tell a folder from `FILE.npz[:KEY]`; DataError when nothing is there. `role` is synthetic or real."""
    path, key = Path(text), None
    if not path.exists() and ".npz:" in text:
        file, _, key = text.rpartition(":")
        path = Path(file)
    if not path.exists():
        raise DataError(f"the {role} images {text} do not exist")
    if path.is_dir():
        return Source(role, path, None)
    if path.suffix != ".npz":
        raise DataError(f"the {role} images {text} are neither a folder of images nor an .npz file")
    return Source(role, path, key or "images")


def read_images(source: Source, reading: Reading, allocate: Allocate, report: Report) -> Images:
    """Decode a source once.

    Returns uint8 or uint16 [N, H, W, C] in the memory that `allocate(shape, dtype)` gave, and calls
    `report(done, total)` as images arrive. DataError names the file that is broken or unlike the others.
    """
    if source.key is not None:
        return _read_npz(source, reading, allocate, report)
    return _read_folder(source, reading, allocate, report)


def _read_npz(source: Source, reading: Reading, allocate: Allocate, report: Report) -> Images:
    assert source.key is not None
    with NpzArray.open(source.path, source.key) as stored:
        shape = _npz_shape(source, stored)
        probe = _fit(np.zeros(shape[1:], stored.dtype), reading, str(source))
        images = allocate((shape[0], *probe.shape), probe.dtype)
        for start, block in stored.blocks():
            for offset, image in enumerate(block.reshape(-1, *shape[1:])):
                images[start + offset] = _fit(image, reading, str(source))
            report(start + len(block), shape[0])
    return images


def _npz_shape(source: Source, stored: NpzArray) -> tuple[int, int, int, int]:
    if stored.dtype not in (np.uint8, np.uint16):
        raise DataError(f"{source} holds {stored.dtype}; images are uint8 or uint16")
    if len(stored.shape) not in (3, 4):
        raise DataError(f"{source} has the shape {stored.shape}; images are [N, H, W] or [N, H, W, C]")
    if 0 in stored.shape:
        raise DataError(f"{source} has the shape {stored.shape}: it holds no image")
    count, height, width = stored.shape[:3]
    return count, height, width, stored.shape[3] if len(stored.shape) == 4 else 1


def _read_folder(source: Source, reading: Reading, allocate: Allocate, report: Report) -> Images:
    files = image_files(source)
    first = _decode(files[0], reading)
    images = allocate((len(files), *first.shape), first.dtype)
    for index, image in enumerate(_decode_all(files, reading)):
        _check_same(source, (files[0], first), (files[index], image))
        images[index] = image
        report(index + 1, len(files))
    return images


def whole_path(text: str) -> str:
    """A source as text, its path from the root; what is no path that exists stays as it is."""
    if Path(text).exists():
        return str(Path(text).absolute())
    file, colon, key = text.rpartition(":")
    return f"{Path(file).absolute()}:{key}" if colon and Path(file).exists() else text


def image_files(source: Source) -> list[Path]:
    """The images of a folder in the order in which they are read; DataError when there is none.

    Those of labels, such as masks, are left out (see `label_images`).
    """
    found = _all_files(source)
    left_out = frozenset(_of_labels(source, found))
    files = [file for file in found if file not in left_out]
    if not files:
        raise DataError(f"the folder {source.path} holds no {source.role} image that can be read")
    return files


def label_images(source: Source) -> list[Path]:
    """Images of a folder whose names below it say that they are masks, depth maps or their like.

    None if all of them do: then they are the images, and none in an .npz file.
    """
    if source.key is not None:
        return []
    return _of_labels(source, _all_files(source))


def _of_labels(source: Source, files: list[Path]) -> list[Path]:
    named = [file for file in files if why_label_image(PurePosixPath(file.relative_to(source.path)))]
    return named if len(named) < len(files) else []


def _all_files(source: Source) -> list[Path]:
    suffixes = {suffix for suffix, name in Image.registered_extensions().items() if name in Image.OPEN}
    return sorted(path for path in _walk(source) if path.suffix.lower() in suffixes)


def _walk(source: Source) -> Iterator[Path]:
    """All files below a folder, but nothing hidden: there editors and systems keep copies and thumbnails."""

    def refuse(error: OSError) -> None:
        raise DataError(f"cannot read the folder {error.filename}: {error.strerror}") from error

    for folder, folders, names in os.walk(source.path, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(folder) / name for name in names if not name.startswith("."))


def _decode_all(files: list[Path], reading: Reading) -> Iterator[Images]:
    """Images in the order of `files`, decoded by a few threads, only a few ahead of the reader."""
    workers = min(8, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:
        remaining = iter(files)
        ahead = [pool.submit(_decode, file, reading) for file in islice(remaining, 4 * workers)]
        ahead.reverse()
        while ahead:
            yield ahead.pop().result()
            ahead[:0] = [pool.submit(_decode, file, reading) for file in islice(remaining, 1)]


def _decode(file: Path, reading: Reading) -> Images:
    try:
        with Image.open(file) as opened:
            if opened.width * opened.height > MAX_PIXELS_PER_IMAGE:
                raise DataError(f"{file} has {opened.width}x{opened.height} px, too many to train on")
            _require_whole_depth(opened, file, reading.bit_depth)
            image = ImageOps.exif_transpose(opened)
            pixels = _pixels(image, file, reading.channels)
    except UNREADABLE as error:
        raise DataError(f"cannot read the image {file}: {error}") from error
    return _fit(pixels, reading, str(file))


def _require_whole_depth(opened: Image.Image, file: Path, bit_depth: int | None) -> None:
    """Pillow reads 16-bit colours by their upper 8 bits without a word."""
    shallow = opened.mode in ("RGB", "RGBA", "RGBX", "LA")
    tiles = opened.tile if isinstance(opened, ImageFile.ImageFile) else []
    if shallow and bit_depth != 8 and any(";16" in str(tile[3]) for tile in tiles):
        raise DataError(
            f"{file} has several channels of 16 bits, of which only 8 can be read; --bit-depth 8 takes those"
        )


def _pixels(image: Image.Image, file: Path, channels: int | None) -> Images:
    """Upright pixels [H, W, C]; alpha is dropped, palettes are resolved, other colour spaces become RGB."""
    grey = image.mode in GREY_MODES if channels is None else channels == 1
    if image.mode == "F":
        raise DataError(f"{file} has floating-point pixels; images are 8 or 16 bits per channel")
    if image.mode in DEEP_MODES:
        return _deep_pixels(image, file, grey)
    return np.asarray(image.convert("L" if grey else "RGB"), np.uint8).reshape(image.height, image.width, -1)


def _deep_pixels(image: Image.Image, file: Path, grey: bool) -> NDArray[np.uint16]:
    levels = np.asarray(image)
    if levels.min() < 0 or levels.max() > 65_535:
        raise DataError(f"{file} has pixels from {levels.min()} to {levels.max()}; 16 bits hold 0 to 65535")
    deep = levels.astype(np.uint16)[..., None]
    return deep if grey else np.repeat(deep, 3, axis=-1)


def _fit(image: Images, reading: Reading, name: str) -> Images:
    """Bring [H, W, C] to the depth, size and crop asked for."""
    if reading.channels is not None and image.shape[2] != reading.channels:
        raise DataError(f"{name} has {image.shape[2]} channels, --channels asks for {reading.channels}")
    if reading.bit_depth == 8 and image.dtype == np.uint16:
        image = np.round(image / 257.0).astype(np.uint8)
    if reading.bit_depth == 16 and image.dtype == np.uint8:
        image = image.astype(np.uint16) * np.uint16(257)
    if reading.resize is not None and image.shape[:2] != reading.resize:
        image = _resize(image, reading.resize)
    return image if reading.crop is None else _crop(image, reading.crop, name)


def _resize(image: Images, size: tuple[int, int]) -> Images:
    height, width = size
    planes = [
        Image.fromarray(image[..., channel].astype(np.float32)).resize(
            (width, height), Image.Resampling.BICUBIC
        )
        for channel in range(image.shape[2])
    ]
    levels = np.stack([np.asarray(plane) for plane in planes], axis=-1)
    peak = np.iinfo(image.dtype).max
    return np.clip(np.round(levels), 0, peak).astype(image.dtype)


def _crop(image: Images, size: tuple[int, int], name: str) -> Images:
    height, width = size
    if image.shape[0] < height or image.shape[1] < width:
        raise DataError(f"{name} is {_size(image)} px, smaller than --crop {height}x{width}")
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[top : top + height, left : left + width]


def _check_same(source: Source, one: tuple[Path, Images], other: tuple[Path, Images]) -> None:
    (file, image), (other_file, other_image) = one, other
    if image.shape[2] != other_image.shape[2]:
        raise DataError(
            f"{source.role} images are both grey and colour: {file} has {image.shape[2]} channels, "
            f"{other_file} has {other_image.shape[2]}; --channels 1 or --channels 3 makes them one"
        )
    if image.shape != other_image.shape:
        raise DataError(
            f"{source.role} images differ in size: {file} is {_size(image)}, {other_file} is "
            f"{_size(other_image)} px; --resize or --crop HEIGHTxWIDTH makes them one"
        )
    if image.dtype != other_image.dtype:
        raise DataError(
            f"{source.role} images differ in bit depth: {file} is {image.dtype}, {other_file} is "
            f"{other_image.dtype}; --bit-depth 8 or --bit-depth 16 makes them one"
        )


def _size(image: Images) -> str:
    return f"{image.shape[0]}x{image.shape[1]}"
