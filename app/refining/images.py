"""Untrusted bytes to pixels: what is accepted, what is refused, and in which words."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from io import BytesIO
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile, get_sampling
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from app.errors import InvalidImage, TooManyPixels, UnsupportedImage
from app.refining.blocks import blocks_of_rows
from app.refining.codecs import bmp, jpeg, png, tiff, webp
from app.refining.codecs.container import Container, FormatName, Metadata, label, sentence
from app.refining.codecs.sniffing import describe, sniff

Pixels = NDArray[np.uint8 | np.uint16]

# Pillow's readers are used directly: Image.open adds a pixel limit that is a setting of the whole process.
_READERS: dict[FormatName, tuple[ModuleType, Callable[[BytesIO], ImageFile]]] = {
    "PNG": (png, PngImageFile),
    "JPEG": (jpeg, JpegImageFile),
    "WEBP": (webp, WebPImageFile),
    "TIFF": (tiff, TiffImageFile),
    "BMP": (bmp, BmpImageFile),
}
# Everything that Pillow's readers raise on hostile bytes; each of them means the same to the sender.
_DECODING_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError, OverflowError, struct.error,
    zlib.error, Image.DecompressionBombError,
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class DecodedImage:
    """One decoded image, upright.

    pixels: uint8 [H, W, 1 or 3] in 0..255, or uint16 [H, W, 1] in 0..65535. alpha: uint8 [H, W] or None.
    mode: Pillow's mode of the stored picture. container: what must survive re-encoding. source: the bytes
    as sent.
    """

    filename: str | None
    pixels: Pixels
    alpha: NDArray[np.uint8] | None
    mode: str
    container: Container
    source: bytes

    @property
    def format(self) -> FormatName:
        """The container's format: PNG, JPEG, WEBP, TIFF or BMP."""
        return self.container.format

    @property
    def metadata(self) -> Metadata:
        """EXIF, ICC profile, XMP, resolution, orientation and the container's own records."""
        return self.container.metadata

    @property
    def height(self) -> int:
        """Rows of the upright picture."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Columns of the upright picture."""
        return int(self.pixels.shape[1])

    @property
    def channels(self) -> int:
        """1 (grey) or 3 (RGB); alpha is not counted."""
        return int(self.pixels.shape[2])

    @property
    def bit_depth(self) -> int:
        """8 or 16."""
        return 8 * self.pixels.dtype.itemsize

    @property
    def mode_out(self) -> str:
        """Pillow's mode of a refined picture: palette and 1-bit pictures leave as grey or RGB."""
        if self.bit_depth == 16:
            return "I;16"
        return ("L" if self.channels == 1 else "RGB") + ("A" if self.alpha is not None else "")


def decode(
    data: bytes, *, filename: str | None, max_pixels: int, container: Container | None = None
) -> DecodedImage:
    """The image in `data`, turned upright by its EXIF orientation.

    container: what `opened` gave for the same arguments, when it was kept. The header's width x height is
    checked against `max_pixels` before any pixel is decoded. Pixels of the modes 1, L, LA, P, RGB, RGBA and
    I;16 are read exactly; whatever cannot be read exactly is refused.
    Raises UnsupportedImage, InvalidImage, TooManyPixels.
    """
    name = label(filename)
    try:
        container = container or _open_container(data, name, max_pixels)
        image = _load(container, name)
        pixels, alpha = _to_arrays(image, container, name)
    except (InvalidImage, UnsupportedImage, TooManyPixels) as error:
        raise type(error)(sentence(error.detail)) from error
    if isinstance(image, JpegImageFile):
        container = replace(container, save_options={**container.save_options, **_jpeg_tables(image)})
    orientation = container.metadata.orientation
    return DecodedImage(
        filename=filename,
        pixels=turn_upright(pixels, orientation),
        alpha=None if alpha is None else turn_upright(alpha, orientation),
        mode=image.mode,
        container=container,
        source=data,
    )


def opened(data: bytes, *, filename: str | None, max_pixels: int) -> Container:
    """What the container of an image says, before a pixel is decoded.

    Raises UnsupportedImage, InvalidImage, TooManyPixels, as decode does for what shows without decoding.
    """
    try:
        return _open_container(data, label(filename), max_pixels)
    except (InvalidImage, UnsupportedImage, TooManyPixels) as error:
        raise type(error)(sentence(error.detail)) from error


def bytes_to_open(data: bytes) -> int:
    """How many bytes opening goes through at most: a compressed profile may be a thousand times as large as
    it looks.
    """
    return len(data) + (png.MAX_ICC_BYTES if b"iCCP" in data else 0)


def measure(data: bytes, *, filename: str | None, max_pixels: int) -> tuple[int, int]:
    """The upright (width, height) in px that an image claims. Raises what `opened` does."""
    return upright_size(opened(data, filename=filename, max_pixels=max_pixels))


def upright_size(container: Container) -> tuple[int, int]:
    """(width, height) in px as EXIF says that the picture must be shown."""
    on_its_side = container.metadata.orientation >= 5
    stored = (container.width, container.height)
    return (stored[1], stored[0]) if on_its_side else stored


def turn_upright(stored: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Stored rows and columns [H, W, ...] as EXIF orientation 1..8 says they must be shown, contiguous."""
    return np.ascontiguousarray(_TURNS[orientation](stored))


def turn_back(upright: NDArray[Any], orientation: int) -> NDArray[Any]:
    """The inverse of turn_upright."""
    return turn_upright(upright, {6: 8, 8: 6}.get(orientation, orientation))


_TURNS: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[:, ::-1],
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a.swapaxes(0, 1)[::-1],
}


def _open_container(data: bytes, name: str, max_pixels: int) -> Container:
    """The container, once its claimed size is known to be acceptable."""
    kind = sniff(data)
    if kind is None:
        raise UnsupportedImage(
            f"{name} is {describe(data)}; PNG, JPEG, WebP, TIFF and BMP images are supported."
        )
    codec, _ = _READERS[kind]
    width, height = codec.read_size(data, name)
    if width <= 0 or height <= 0:
        raise InvalidImage(f"{name} claims a size of {width} x {height} pixels.")
    if width * height > max_pixels:
        raise TooManyPixels(
            f"{name} has {width} x {height} pixels; at most {max_pixels} are accepted per image."
        )
    container: Container = codec.read(data, name)
    return container


def _load(container: Container, name: str) -> Image.Image:
    """Pillow's decoded picture, stored orientation."""
    if container.format == "PNG" and (plain := png.plain_picture(container.pixel_file)) is not None:
        return plain
    _, reader = _READERS[container.format]
    try:
        image: Image.Image = reader(BytesIO(container.pixel_file))
        size = image.size
        if size == (container.width, container.height):
            image.load()
    except _DECODING_ERRORS as error:
        raise InvalidImage(
            f"{name} is a truncated or corrupt {container.format} image: {_reason(error)}."
        ) from error
    if size != (container.width, container.height):
        raise InvalidImage(f"{name} is corrupt: its records disagree about its size.")
    return image


def _jpeg_tables(image: JpegImageFile) -> dict[str, Any]:
    """Pillow's keywords that repeat this JPEG's quantisation tables, chroma subsampling and colour space."""
    used = [image.quantization.get(component[3]) for component in image.layer[:2]]
    tables = [table for table in used if table is not None]
    is_rgb = image.layers == 3 and (
        image.info.get("adobe_transform") == 0 or [component[0] for component in image.layer] == [*b"RGB"]
    )
    sampling = get_sampling(image)
    chroma = (
        0 if sampling < 0 and image.layers == 3 else sampling
    )  # 4:4:4 where Pillow cannot repeat the source's
    return {"qtables": tables, "subsampling": chroma, **({"keep_rgb": True} if is_rgb else {})}


def _reason(error: Exception) -> str:
    return str(error).strip().rstrip(".") or type(error).__name__


def _to_arrays(
    image: Image.Image, container: Container, name: str
) -> tuple[Pixels, NDArray[np.uint8] | None]:
    """(pixels [H, W, C], alpha [H, W] or None) in stored orientation."""
    if image.mode == "P":
        return _from_palette(image, has_icc=container.metadata.icc is not None)
    array = _array_of(image)
    if image.mode == "1":
        array = array.astype(np.uint8) * np.uint8(255)
    if image.mode.startswith("I;16"):
        return array.astype(np.uint16)[:, :, None], None
    if array.ndim == 2:
        array = array[:, :, None]
    if image.mode in ("LA", "RGBA"):
        return array[:, :, :-1], array[:, :, -1]
    if image.mode not in ("1", "L", "RGB"):
        raise UnsupportedImage(
            f"{name} is a {container.format} image of mode {image.mode}; convert it to RGB first."
        )
    return array, _alpha_of_key(array, container.colour_key)


def _array_of(image: Image.Image) -> NDArray[Any]:
    """Pillow's picture as an array; a large one band by band, for Pillow needs twice its size meanwhile."""
    width, height = image.size
    first, *others = blocks_of_rows(height, width)
    if not others:
        return np.asarray(image)
    band = np.asarray(image.crop((0, 0, width, first.stop)))
    array = np.empty((height, *band.shape[1:]), band.dtype)
    array[first] = band
    for rows in others:
        array[rows] = np.asarray(image.crop((0, rows.start, width, rows.stop)))
    return array


def _alpha_of_key(array: NDArray[np.uint8], key: tuple[int, ...] | None) -> NDArray[np.uint8] | None:
    if key is None:
        return None
    transparent = (array == np.array(key)).all(axis=2)
    return np.where(transparent, np.uint8(0), np.uint8(255))


def _from_palette(image: Image.Image, *, has_icc: bool) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Looked-up colours; one channel if the whole palette is grey (and no profile says that it is RGB)."""
    indices = np.asarray(image)
    entries = np.zeros((256, 3), np.uint8)
    listed = np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
    entries[: len(listed)] = listed
    grey = not has_icc and bool((listed == listed[:, :1]).all())
    alpha = None
    if "transparency" in image.info:
        alpha = _palette_alpha(image.info["transparency"])[indices]
    return entries[indices][:, :, : 1 if grey else 3], alpha


def _palette_alpha(transparency: bytes | int) -> NDArray[np.uint8]:
    """uint8 [256]: the alpha of every palette entry."""
    alpha = np.full(256, 255, np.uint8)
    if isinstance(transparency, int):
        alpha[transparency] = 0
    else:
        alpha[: len(transparency)] = np.frombuffer(transparency[:256], np.uint8)
    return alpha
