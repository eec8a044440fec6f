"""BMP containers: one fixed header; the writer of BMPs with alpha."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidImage, UnsupportedImage
from app.refining.codecs.container import Container, Metadata, resolution

_CORE_HEADER, _V4_HEADER = 12, 108
_HEADERS = frozenset({_CORE_HEADER, 40, 52, 56, 64, 108, 124})
_RAW, _BITFIELDS = 0, 3
_COMPRESSIONS = {1: "run-length", 2: "run-length", 4: "JPEG", 5: "PNG"}
_METRES_PER_INCH = 0.0254


def read_size(data: bytes, name: str) -> tuple[int, int]:
    """(width, height) in px as the header claims. Raises InvalidImage."""
    size = int.from_bytes(data[14:18], "little")
    if size not in _HEADERS or len(data) < 14 + size:
        raise InvalidImage(f"{name} is a BMP without a complete header; it is truncated or corrupt.")
    if size == _CORE_HEADER:
        width, height = struct.unpack_from("<HH", data, 18)
    else:
        width, height = struct.unpack_from("<ll", data, 18)
    return int(width), abs(int(height))


def read(data: bytes, name: str) -> Container:
    """The container of an uncompressed BMP. Raises InvalidImage, UnsupportedImage."""
    width, height = read_size(data, name)
    core = int.from_bytes(data[14:18], "little") == _CORE_HEADER
    compression = _RAW if core else int.from_bytes(data[30:34], "little")
    if compression not in (_RAW, _BITFIELDS):
        kind = _COMPRESSIONS.get(compression, f"type-{compression}")
        raise UnsupportedImage(f"{name} is a BMP with {kind} compression; save it uncompressed or as PNG.")
    bits = int.from_bytes(data[24:26] if core else data[28:30], "little")
    stride = (width * bits + 31) // 32 * 4
    start = int.from_bytes(data[10:14], "little")
    if len(data) - start < stride * height:
        raise InvalidImage(
            f"{name} is a truncated BMP: {len(data)} of {start + stride * height} bytes are there."
        )
    return Container(
        format="BMP",
        width=width,
        height=height,
        pixel_file=data,
        metadata=Metadata(dpi=None if core else _dpi(data)),
        lossless=True,
    )


def write_rgba(pixels: NDArray[np.uint8], dpi: tuple[float, float] | None) -> bytes:
    """A 32-bit BMP whose header names the alpha channel (Pillow writes one that drops it on reading).

    pixels: uint8 [H, W, 4], RGBA.
    """
    height, width, _ = pixels.shape
    across, down = (round(value / _METRES_PER_INCH) for value in dpi or (96.0, 96.0))
    start, size = 14 + _V4_HEADER, 4 * width * height
    masks = (0x00FF0000, 0x0000FF00, 0x000000FF, 0xFF000000)
    header = struct.pack(
        "<2sLHHL" + "LllHHLLllLL" + "4L4s", *(b"BM", start + size, 0, 0, start),
        *(_V4_HEADER, width, height, 1, 32, _BITFIELDS, size, across, down, 0, 0), *masks, b"BGRs"
    )  # fmt: skip
    return header.ljust(start, b"\0") + pixels[::-1, :, [2, 1, 0, 3]].tobytes()


def _dpi(data: bytes) -> tuple[float, float] | None:
    across, down = struct.unpack_from("<ll", data, 38)
    return resolution(across * _METRES_PER_INCH, down * _METRES_PER_INCH)
