"""TIFF directories (also the body of every EXIF block): bounded reading, verbatim carrying, writing."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, replace

ORIENTATION = 274
SUB_DIRECTORIES = frozenset({34665, 34853, 40965})  # EXIF, GPS, interoperability

_LONG, _LONG8 = 4, 16
_SIZES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
_SWAP_UNITS = {3: 2, 4: 4, 5: 4, 8: 2, 9: 4, 10: 4, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_CODES = {1: "B", 3: "H", 4: "L", 6: "b", 8: "h", 9: "l", 13: "L", 16: "Q", 17: "q", 18: "Q"}
_MAX_TAGS = 4096
_MAX_DEPTH = 3


class TagError(ValueError):
    """The directory is not well formed; the message says where."""


@dataclass(frozen=True, slots=True)
class Tag:
    """One directory entry. value: bytes in the byte order of its file; children: of a sub-directory
    pointer.
    """

    number: int
    kind: int
    count: int
    value: bytes
    children: tuple[Tag, ...] = ()


@dataclass(frozen=True, slots=True)
class TiffHeader:
    """order: struct prefix "<" or ">"; big: BigTIFF; first: byte offset of the first directory."""

    order: str
    big: bool
    first: int


def read_header(data: bytes) -> TiffHeader:
    """The 8 (BigTIFF: 16) bytes that start every TIFF structure. Raises TagError."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None or len(data) < 8:
        raise TagError("its TIFF header is missing")
    (version,) = struct.unpack_from(f"{order}H", data, 2)
    if version == 43 and len(data) >= 16:
        return TiffHeader(order, big=True, first=struct.unpack_from(f"{order}Q", data, 8)[0])
    if version != 42:
        raise TagError(f"its TIFF version is {version} instead of 42")
    return TiffHeader(order, big=False, first=struct.unpack_from(f"{order}L", data, 4)[0])


def read_directory(data: bytes, header: TiffHeader, offset: int) -> tuple[dict[int, Tag], int]:
    """Tags of the directory at `offset`, by number, and the offset of the next directory (0: none).

    Bounded: at most 4096 tags, values together no longer than the file, all inside it. Raises TagError.
    """
    return _read(data, header, offset, _Budget(len(data)), _MAX_DEPTH)


def numbers(tag: Tag, order: str) -> tuple[int, ...]:
    """The integers of a BYTE, SHORT, LONG, … tag. Raises TagError if it holds none."""
    code = _CODES.get(tag.kind)
    if code is None or not tag.value:
        raise TagError(f"its tag {tag.number} holds no integers")
    return struct.unpack(f"{order}{tag.count}{code}", tag.value)


def ratio(tag: Tag, order: str) -> float:
    """The first rational of a tag as a float; 0.0 when its denominator is 0 or it is of another type."""
    if tag.kind != 5 or tag.count < 1:
        return 0.0
    numerator, denominator = struct.unpack_from(f"{order}2L", tag.value)
    return float(numerator / denominator) if denominator else 0.0


def little_endian(tag: Tag, order: str) -> Tag:
    """The same tag with its value (and its children's) in little-endian order."""
    children = tuple(little_endian(child, order) for child in tag.children)
    unit = _SWAP_UNITS.get(tag.kind)
    if order == "<" or unit is None:
        return replace(tag, children=children)
    swapped = b"".join(tag.value[i : i + unit][::-1] for i in range(0, len(tag.value), unit))
    return replace(tag, value=swapped, children=children)


def write_directory(tags: Iterable[Tag], order: str, start: int) -> bytes:
    """A classic directory that will stand at byte `start` of a file, its values and sub-directories behind
    it.
    """
    entries = sorted(tags, key=lambda tag: tag.number)
    table, behind = [struct.pack(f"{order}H", len(entries))], bytearray()
    behind_start = start + 2 + 12 * len(entries) + 4
    for tag in entries:
        value = tag.value
        if tag.children:
            behind += b"\0" * (len(behind) % 2)
            value = struct.pack(f"{order}L", behind_start + len(behind))
            behind += write_directory(tag.children, order, behind_start + len(behind))
        elif len(value) > 4:
            behind += b"\0" * (len(behind) % 2)
            value = struct.pack(f"{order}L", behind_start + len(behind))
            behind += tag.value
        table.append(struct.pack(f"{order}HHL", tag.number, tag.kind, tag.count) + value.ljust(4, b"\0"))
    return b"".join((*table, struct.pack(f"{order}L", 0), behind))


def write_block(tags: Iterable[Tag]) -> bytes:
    """A whole little-endian TIFF structure (the body of an EXIF block) with these little-endian tags."""
    return b"II*\0" + struct.pack("<L", 8) + write_directory(tags, "<", 8)


def read_block(block: bytes) -> tuple[Tag, ...]:
    """The little-endian tags of the first directory of an EXIF block. Raises TagError."""
    header = read_header(block)
    tags, _ = read_directory(block, header, header.first)
    return tuple(little_endian(tag, header.order) for tag in tags.values())


def orientation(block: bytes | None) -> int:
    """The orientation 1..8 an EXIF block asks for; 1 when it has none or is not readable.

    Reads this one entry and nothing else: a camera's broken maker notes must not turn its pictures.
    """
    if block is None:
        return 1
    try:
        header = read_header(block)
        (count,) = _unpack(f"{header.order}H", block, header.first)
        for at in range(header.first + 2, header.first + 2 + 12 * min(count, _MAX_TAGS), 12):
            number, _, _, value = _unpack(f"{header.order}HHLH", block, at)
            if number == ORIENTATION:
                return value if 1 <= value <= 8 else 1
    except TagError:
        return 1
    return 1


class _Budget:
    """Bytes of values that one structure may still copy: overlapping tags cannot multiply a file."""

    def __init__(self, left: int) -> None:
        self.left = left

    def spend(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise TagError("its TIFF tags are together larger than the file")


def _read(
    data: bytes, header: TiffHeader, offset: int, budget: _Budget, depth: int
) -> tuple[dict[int, Tag], int]:
    count_code, entry_size, next_code = ("Q", 20, "Q") if header.big else ("H", 12, "L")
    (count,) = _unpack(f"{header.order}{count_code}", data, offset)
    if count > _MAX_TAGS:
        raise TagError(f"its TIFF directory claims {count} tags; at most {_MAX_TAGS} are read")
    first = offset + struct.calcsize(f"{header.order}{count_code}")
    tags: dict[int, Tag] = {}
    for index in range(count):
        tag = _read_tag(data, header, first + index * entry_size, budget, depth)
        if tag is not None and tag.number not in tags:
            tags[tag.number] = tag
    (following,) = _unpack(f"{header.order}{next_code}", data, first + count * entry_size)
    return tags, following


def _read_tag(data: bytes, header: TiffHeader, at: int, budget: _Budget, depth: int) -> Tag | None:
    width, code = (8, "Q") if header.big else (4, "L")
    number, kind, count = _unpack(f"{header.order}HH{code}", data, at)
    size = count * _SIZES.get(kind, 0)
    if size == 0:
        return None
    where = at + 4 + width
    if size > width:
        (where,) = _unpack(f"{header.order}{code}", data, where)
    if where + size > len(data):
        raise TagError(f"its tag {number} points behind the end of the file")
    budget.spend(size)
    tag = _shortened(Tag(number, kind, count, data[where : where + size]), header.order)
    if number not in SUB_DIRECTORIES or depth == 0:
        return tag
    children, _ = _read(data, header, numbers(tag, header.order)[0], budget, depth - 1)
    return replace(tag, kind=_LONG, count=1, children=tuple(children.values())) if children else None


def _shortened(tag: Tag, order: str) -> Tag:
    """BigTIFF's 64-bit integers as classic 32-bit ones: every file here is far below 4 GiB."""
    if tag.kind not in {_LONG8, 18}:
        return tag
    values = numbers(tag, order)
    if max(values) >= 2**32:
        raise TagError(f"its tag {tag.number} needs 64-bit numbers")
    return replace(tag, kind=_LONG, value=struct.pack(f"{order}{tag.count}L", *values))


def _unpack(layout: str, data: bytes, offset: int) -> tuple[int, ...]:
    try:
        return struct.unpack_from(layout, data, offset)
    except (struct.error, OverflowError) as error:
        raise TagError("its TIFF directory lies behind the end of the file") from error
