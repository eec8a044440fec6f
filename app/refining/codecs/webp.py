"""WebP containers: RIFF chunks."""

from __future__ import annotations

import struct

from app.errors import InvalidImage, UnsupportedImage
from app.refining.codecs import tiff_tags
from app.refining.codecs.container import Container, Metadata

_ANIMATION_FLAG = 0x02
_MAX_CHUNKS = 10_000


def read_size(data: bytes, name: str) -> tuple[int, int]:
    """(width, height) in px as the first chunk claims. Raises InvalidImage."""
    kind = data[12:16]
    if kind == b"VP8X" and len(data) >= 30:
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L" and len(data) >= 25 and data[20] == 0x2F:
        (bits,) = struct.unpack_from("<L", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 " and len(data) >= 30 and data[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    raise InvalidImage(f"{name} is a WebP without a complete header; it is truncated or corrupt.")


def read(data: bytes, name: str) -> Container:
    """The container of a still WebP. Raises InvalidImage, UnsupportedImage."""
    chunks = _chunks(data, name)
    animated = b"ANIM" in chunks or b"ANMF" in chunks
    if animated or (b"VP8X" in chunks and chunks[b"VP8X"][:1] and chunks[b"VP8X"][0] & _ANIMATION_FLAG):
        raise UnsupportedImage(f"{name} is an animated WebP; send its frames as single images.")
    lossless = b"VP8L" in chunks
    if not lossless and b"VP8 " not in chunks:
        raise InvalidImage(f"{name} is a WebP without image data.")
    exif = chunks.get(b"EXIF")
    exif = exif.removeprefix(b"Exif\0\0") if exif is not None else None
    width, height = read_size(data, name)
    return Container(
        format="WEBP",
        width=width,
        height=height,
        pixel_file=data,
        metadata=Metadata(
            exif=exif,
            icc=chunks.get(b"ICCP"),
            xmp=chunks.get(b"XMP "),
            orientation=tiff_tags.orientation(exif),
            carried=(chunks[b"EXIF"],) if b"EXIF" in chunks else (),
        ),
        lossless=lossless,
        save_options={"lossless": True} if lossless else {},
    )


def _chunks(data: bytes, name: str) -> dict[bytes, bytes]:
    """First body of every chunk type, inside the size that the RIFF header claims."""
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data):
        raise InvalidImage(f"{name} is a truncated WebP: {len(data)} of {end} bytes are there.")
    chunks: dict[bytes, bytes] = {}
    at = 12
    for _ in range(_MAX_CHUNKS):
        if at + 8 > end:
            return chunks
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        if at + 8 + size > end:
            raise InvalidImage(f"{name} is a truncated WebP: its {data[at : at + 4]!r} chunk is incomplete.")
        chunks.setdefault(data[at : at + 4], data[at + 8 : at + 8 + size])
        at += 8 + size + size % 2
    raise InvalidImage(f"{name} is a WebP of more than {_MAX_CHUNKS} chunks.")
