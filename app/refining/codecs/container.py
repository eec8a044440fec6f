"""The record every codec fills: what a container says, and what of it must survive re-encoding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Literal

FormatName = Literal["PNG", "JPEG", "WEBP", "TIFF", "BMP"]

_MAX_DPI = 65_535.0
_MAX_LABEL = 100


@dataclass(frozen=True, slots=True)
class Metadata:
    """What travels with the pixels.

    exif: TIFF structure without the `Exif\\0\\0` prefix, verbatim. icc: profile, decompressed. xmp: packet.
    dpi: (x, y) dots per inch. orientation: EXIF 1..8, how the stored pixels must be turned to stand
    upright. carried: the container's own records (PNG chunks, JPEG segments, a TIFF directory), verbatim,
    for output in the same format. icc_problem: why `icc` is None although the file has a profile.
    """

    exif: bytes | None = None
    icc: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    orientation: int = 1
    carried: tuple[bytes, ...] = ()
    icc_problem: str | None = None


@dataclass(frozen=True, slots=True)
class Container:
    """One opened container: trusted sizes, the bytes the pixel decoder may see, and the rest as records.

    width, height: px as stored (before orientation). pixel_file: an image file of the same format reduced
    to what the pixel decoder needs, so that no metadata parser of a third party ever sees untrusted
    records. save_options: Pillow keywords that repeat the source's own compression.
    """

    format: FormatName
    width: int
    height: int
    pixel_file: bytes
    metadata: Metadata
    lossless: bool
    save_options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    colour_key: tuple[int, ...] | None = None
    notes: tuple[str, ...] = ()


def resolution(across: float, down: float) -> tuple[float, float] | None:
    """Dots per inch as every format can hold them; None for none and for the absurd."""
    plausible = 0 < across <= _MAX_DPI and 0 < down <= _MAX_DPI
    return (across, down) if plausible else None


@lru_cache(maxsize=256)
def label(filename: str | None) -> str:
    """The file's name as sentences quote it: printable, at most 100 characters; "the image" if it has
    none.
    """
    if not filename:
        return "the image"
    shown = "".join(character if character.isprintable() else "?" for character in filename)
    if len(shown) > _MAX_LABEL:
        shown = f"…{shown[-_MAX_LABEL:]}"
    return f"'{shown}'"


def sentence(text: str) -> str:
    """The text with a capital first letter (a label may start it)."""
    return text[:1].upper() + text[1:]
