"""Writes what a scene shows into files: pictures with EXIF and colour profile, masks, depth."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

_JPEG_QUALITY = 92
_EXIF_DESCRIPTION, _EXIF_MAKE = 0x010E, 0x010F
_BORDER = 255
"""VOC's number of pixels that belong to nothing."""


def save_picture(path: Path, pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
    """Save [H, W], [H, W, 3] or [H, W, 4] in the format of the suffix, with EXIF and ICC where it takes them.

    WebP is written without loss.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(pixels)
    if path.suffix == ".bmp" or picture.mode == "I;16":
        picture.save(path)
        return
    exif = Image.Exif()
    exif[_EXIF_DESCRIPTION], exif[_EXIF_MAKE] = f"scene {path.stem}", "simulator"
    profile = colour_profile() if picture.mode != "L" else None
    if path.suffix in {".jpg", ".jpeg"}:
        picture.save(path, quality=_JPEG_QUALITY, exif=exif, icc_profile=profile)
    elif path.suffix == ".webp":
        picture.save(path, lossless=True, exif=exif.tobytes(), icc_profile=profile)
    else:
        picture.save(path, exif=exif, icc_profile=profile)


def colour_profile() -> bytes:
    """An sRGB profile that was made at no time, so that it is always the same."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[24:36] = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)
    return bytes(profile)


def save_mask(path: Path, numbers: NDArray[np.uint8], *, outlined: bool = False) -> None:
    """Save numbers [H, W] as a PNG of VOC's palette (mode P); outlined: borders get VOC's number 255."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if outlined:
        edges = np.zeros(numbers.shape, np.bool_)
        edges[:, 1:] |= numbers[:, 1:] != numbers[:, :-1]
        edges[1:] |= numbers[1:] != numbers[:-1]
        numbers = np.where(edges, np.uint8(_BORDER), numbers)
    picture = Image.fromarray(numbers).convert("P")
    picture.putpalette(voc_palette())
    picture.save(path)


def voc_palette() -> list[int]:
    """The red, green and blue of 256 numbers, as VOC's devkit spreads them over the bits."""
    palette = []
    for number in range(256):
        for channel in range(3):
            bits = [(number >> (3 * place + channel)) & 1 for place in range(3)]
            palette.append(sum(bit << (7 - place) for place, bit in enumerate(bits)))
    return palette


def save_coloured(path: Path, numbers: NDArray[np.uint8]) -> None:
    """Save numbers [H, W] as an RGBA picture of one colour each, as Unity's labelers do."""
    path.parent.mkdir(parents=True, exist_ok=True)
    colours = np.array(voc_palette(), np.uint8).reshape(-1, 3)[numbers]
    opaque = np.full((*numbers.shape, 1), 255, np.uint8)
    Image.fromarray(np.concatenate([colours, opaque], axis=2)).save(path)


def pfm(metres: NDArray[np.float32]) -> bytes:
    """A portable float map of [H, W]: little-endian, from the last row to the first."""
    height, width = metres.shape
    return f"Pf\n{width} {height}\n-1.0\n".encode() + metres[::-1].astype("<f4").tobytes()


def exr(metres: NDArray[np.float32]) -> bytes:
    """An OpenEXR file of [H, W] in one channel Z of 32-bit floats, not compressed."""
    height, width = metres.shape
    window = struct.pack("<4i", 0, 0, width - 1, height - 1)
    attributes = [
        (b"channels", b"chlist", b"Z\0" + struct.pack("<iB3xii", 2, 0, 1, 1) + b"\0"),
        (b"compression", b"compression", b"\0"),
        (b"dataWindow", b"box2i", window),
        (b"displayWindow", b"box2i", window),
        (b"lineOrder", b"lineOrder", b"\0"),
        (b"pixelAspectRatio", b"float", struct.pack("<f", 1)),
        (b"screenWindowCenter", b"v2f", struct.pack("<2f", 0, 0)),
        (b"screenWindowWidth", b"float", struct.pack("<f", 1)),
    ]
    head = struct.pack("<2i", 20000630, 2)
    for name, kind, value in attributes:
        head += name + b"\0" + kind + b"\0" + struct.pack("<i", len(value)) + value
    head += b"\0"
    lines = [struct.pack("<2i", y, 4 * width) + metres[y].astype("<f4").tobytes() for y in range(height)]
    first = len(head) + 8 * height
    offsets = struct.pack(f"<{height}Q", *(first + y * len(lines[0]) for y in range(height)))
    return head + offsets + b"".join(lines)
