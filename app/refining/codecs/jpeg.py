"""JPEG containers: marker segments in, segments carried over."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from app.errors import InvalidImage, UnsupportedImage
from app.refining.codecs import tiff_tags
from app.refining.codecs.container import Container, Metadata, resolution

EXIF_PREFIX = b"Exif\0\0"
MAX_SEGMENT_BYTES = 65_533
_ICC_PREFIX = b"ICC_PROFILE\0"
_XMP_PREFIX = b"http://ns.adobe.com/xap/1.0/\0"
_SOI, _EOI, _SOS, _COM, _APP0, _APP1, _APP2, _APP14, _APP15 = (
    0xD8,
    0xD9,
    0xDA,
    0xFE,
    0xE0,
    0xE1,
    0xE2,
    0xEE,
    0xEF,
)
_BARE = frozenset({0x01, *range(0xD0, 0xD8)})
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = frozenset({0xC2, 0xCA})
_LOSSLESS = frozenset({0xC3, 0xC7, 0xCB, 0xCF})
_MAX_SEGMENTS = 10_000
_MAX_SCANS = 100


@dataclass(frozen=True, slots=True)
class _Segment:
    marker: int
    body: bytes  # without marker and length
    whole: bytes


@dataclass(frozen=True, slots=True)
class _Frame:
    marker: int
    precision: int
    height: int
    width: int
    components: int


def read_size(data: bytes, name: str) -> tuple[int, int]:
    """(width, height) in px as the frame header claims. Raises InvalidImage."""
    frame = _frame(_segments(data, name), name)
    return frame.width, frame.height


def read(data: bytes, name: str) -> Container:
    """The container of an 8-bit grey or RGB JPEG. Raises InvalidImage, UnsupportedImage."""
    segments = list(_segments(data, name))
    frame = _frame(segments, name)
    _refuse_kind(frame, segments, name)
    start_of_scan = 2 + sum(len(segment.whole) for segment in segments)
    scans = data.count(bytes((0xFF, _SOS)), start_of_scan)
    if scans == 0:
        raise InvalidImage(f"{name} is a truncated JPEG: it ends before its first scan.")
    if scans > _MAX_SCANS:
        raise InvalidImage(f"{name} is a JPEG of {scans} scans; at most {_MAX_SCANS} are decoded.")
    several = any(segment.marker == _APP2 and segment.body.startswith(b"MPF\0") for segment in segments)
    return Container(
        format="JPEG",
        width=frame.width,
        height=frame.height,
        pixel_file=_pixel_file(data, segments, start_of_scan),
        metadata=_metadata(segments),
        lossless=False,
        save_options={"progressive": frame.marker in _PROGRESSIVE},
        notes=("Only the main picture of this multi-picture JPEG is kept.",) if several else (),
    )


def with_carried(jpeg: bytes, carried: Iterable[bytes]) -> bytes:
    """The JPEG with these whole segments behind its start; a JFIF segment among them replaces its own."""
    kept = tuple(carried)
    body_start = 2
    has_own_jfif = jpeg[2:4] == bytes((0xFF, _APP0))
    own_jfif = jpeg[2 : 4 + int.from_bytes(jpeg[4:6], "big")] if has_own_jfif else b""
    body_start += len(own_jfif)
    jfif = [segment for segment in kept if segment[1] == _APP0 and segment[4:8] == b"JFIF"]
    others = [segment for segment in kept if segment not in jfif]
    first = (jfif[0] if jfif else own_jfif) if has_own_jfif else b""
    return b"".join((jpeg[:2], first, *others, jpeg[body_start:]))


def _segments(data: bytes, name: str) -> Iterator[_Segment]:
    """Marker segments before the first scan; junk between segments is part of the segment before it."""
    at = 2
    for _ in range(_MAX_SEGMENTS):
        start, at = at, data.find(b"\xff", at)
        while 0 <= at < len(data) - 1 and data[at + 1] in (0xFF, 0x00):
            at = data.find(b"\xff", at + 1)
        if at < 0 or at + 4 > len(data):
            raise InvalidImage(f"{name} is a truncated JPEG: it ends in its header, after {len(data)} bytes.")
        marker = data[at + 1]
        if marker in (_SOS, _EOI):
            if start != at:
                yield _Segment(0, b"", data[start:at])
            return
        length = 0 if marker in _BARE else int.from_bytes(data[at + 2 : at + 4], "big")
        end = at + 2 + length
        if end > len(data) or (length < 2 and marker not in _BARE):
            raise InvalidImage(
                f"{name} is a truncated or corrupt JPEG: its segment FF{marker:02X} is incomplete."
            )
        yield _Segment(marker, data[at + 4 : end], data[start:end])
        at = end
    raise InvalidImage(f"{name} is a JPEG of more than {_MAX_SEGMENTS} header segments.")


def _frame(segments: Iterable[_Segment], name: str) -> _Frame:
    for segment in segments:
        if segment.marker in _FRAMES and len(segment.body) >= 6:
            precision, height, width, components = struct.unpack_from(">BHHB", segment.body)
            return _Frame(segment.marker, precision, height, width, components)
    raise InvalidImage(f"{name} is a JPEG without a frame header; it is truncated or corrupt.")


def _refuse_kind(frame: _Frame, segments: list[_Segment], name: str) -> None:
    if frame.components == 4:
        adobe = next((s.body for s in segments if s.marker == _APP14 and s.body.startswith(b"Adobe")), b"")
        space = "YCCK" if adobe[11:12] == b"\2" else "CMYK"
        raise UnsupportedImage(
            f"{name} is a {space} JPEG; convert it to RGB first (converting here would change colours)."
        )
    if frame.precision != 8 or frame.marker in _LOSSLESS:
        kind = "lossless" if frame.marker in _LOSSLESS else f"{frame.precision}-bit"
        raise UnsupportedImage(f"{name} is a {kind} JPEG, which is not supported; save it as PNG or TIFF.")
    if frame.components not in (1, 3):
        raise InvalidImage(f"{name} is a JPEG of {frame.components} components; 1 or 3 are expected.")


def _pixel_file(data: bytes, segments: list[_Segment], start_of_scan: int) -> bytes:
    """Start, tables and scans; of the application segments only those that tell the colour space."""
    kept = [segment.whole for segment in segments if _is_for_pixels(segment)]
    return b"".join((data[:2], *kept, data[start_of_scan:]))


def _is_for_pixels(segment: _Segment) -> bool:
    if segment.marker == _APP0:
        return segment.body.startswith(b"JFIF\0")
    if segment.marker == _APP14:
        return segment.body.startswith(b"Adobe")
    return segment.marker != _COM and not _APP0 <= segment.marker <= _APP15 and segment.marker != 0


def _metadata(segments: list[_Segment]) -> Metadata:
    exif = _first(segments, _APP1, EXIF_PREFIX)
    icc_parts = sorted(s.body for s in segments if s.marker == _APP2 and s.body.startswith(_ICC_PREFIX))
    icc = b"".join(part[len(_ICC_PREFIX) + 2 :] for part in icc_parts) or None
    return Metadata(
        exif=exif,
        icc=icc,
        xmp=_first(segments, _APP1, _XMP_PREFIX),
        dpi=_dpi(_first(segments, _APP0, b"JFIF\0")),
        orientation=tiff_tags.orientation(exif),
        carried=tuple(s.whole[-len(s.body) - 4 :] for s in segments if _is_carried(s)),
    )


def _is_carried(segment: _Segment) -> bool:
    """Comments and application segments, but not those about this very encoding or about other pictures."""
    if segment.marker == _COM:
        return True
    if not _APP0 <= segment.marker <= _APP15 or segment.marker == _APP14:
        return False
    return not segment.body.startswith((b"MPF\0", b"JFXX\0"))


def _first(segments: list[_Segment], marker: int, prefix: bytes) -> bytes | None:
    for segment in segments:
        if segment.marker == marker and segment.body.startswith(prefix):
            return segment.body[len(prefix) :]
    return None


def _dpi(jfif: bytes | None) -> tuple[float, float] | None:
    if jfif is None or len(jfif) < 7:
        return None
    unit, across, down = struct.unpack_from(">BHH", jfif, 2)
    scale = {1: 1.0, 2: 2.54}.get(unit)
    return None if scale is None else resolution(across * scale, down * scale)
