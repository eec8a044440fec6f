"""TIFF containers: which pictures are read, and which tags travel."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from app.errors import InvalidImage, UnsupportedImage
from app.refining.codecs import tiff_tags
from app.refining.codecs.container import Container, Metadata, resolution
from app.refining.codecs.tiff_tags import Tag, TagError

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_TILE_WIDTH, _TILE_HEIGHT = 322, 323
_SAMPLES, _PREDICTOR, _SUB_IMAGES, _EXTRA, _FORMAT = 277, 317, 330, 338, 339
_X_DPI, _Y_DPI, _DPI_UNIT, _XMP, _ICC = 282, 283, 296, 700, 34675

_PIXEL_TAGS = frozenset(
    {_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, 266, 273, _SAMPLES, 278, 279, 284, 292, 293}
    | {_PREDICTOR, 320, 322, 323, 324, 325, _EXTRA, _FORMAT, 347, 529, 530, 531, 532}
)
_SINGLE = _PIXEL_TAGS - {_BITS, 273, 279, 320, 324, 325, _EXTRA, _FORMAT, 347, 529, 530, 532}
_NOT_CARRIED = _PIXEL_TAGS | {
    254,
    255,
    263,
    264,
    265,
    280,
    281,
    288,
    289,
    290,
    291,
    297,
    301,
    _SUB_IMAGES,
    340,
    341,
}
_NOT_CARRIED |= frozenset(range(512, 522)) | {513, 514, 65537}
_EXIF_TAGS = frozenset({270, 271, 272, 274, 282, 283, 296, 305, 306, 315, 316, 33432, 34665, 34853})
_COMPRESSIONS = {
    1: "raw", 2: "group3", 3: "group3", 4: "group4", 5: "tiff_lzw", 7: "jpeg", 8: "tiff_adobe_deflate",
    32773: "packbits", 32946: "tiff_adobe_deflate", 34925: "lzma", 50000: "zstd",
}  # fmt: skip
_ROWS_PER_STRIP, _MAX_JPEG_SIDE = 278, 65_500
_ALWAYS_FINE_TILE_PIXELS = 1 << 22
_BILEVEL_ONLY = frozenset({"group3", "group4"})
_PREDICTED = frozenset({"tiff_lzw", "tiff_adobe_deflate", "zstd"})
_OTHER_SPACES = {5: "CMYK", 8: "LAB", 9: "ICC LAB", 10: "ITU LAB"}
_COLOUR_BANDS = {0: 1, 1: 1, 2: 3, 3: 1, 6: 3}


def read_size(data: bytes, name: str) -> tuple[int, int]:
    """(width, height) in px of the first page as stored. Raises InvalidImage."""
    order, tags, _ = _directory(data, name)
    return _one(tags, _WIDTH, order, 0, name), _one(tags, _HEIGHT, order, 0, name)


def read(data: bytes, name: str) -> Container:
    """The container of a one-page grey, palette or RGB TIFF, alpha included. Raises InvalidImage,
    UnsupportedImage.
    """
    order, tags, following = _directory(data, name)
    if following:
        raise UnsupportedImage(f"{name} is a TIFF of several pages; send its pages as single images.")
    compression = _compression(tags, order, name)
    _refuse_pixels(tags, order, compression, name)
    _refuse_missing_data(tags, order, compression, len(data), name)
    _refuse_huge_tiles(tags, order, name)
    predictor = _one(tags, _PREDICTOR, order, 1, name)
    return Container(
        format="TIFF",
        width=_one(tags, _WIDTH, order, 0, name),
        height=_one(tags, _HEIGHT, order, 0, name),
        pixel_file=_pixel_file(data, order, tags),
        metadata=_metadata(tags, order, name),
        lossless=compression != "jpeg",
        save_options=_save_options(compression, predictor, can_be_jpeg=_can_be_jpeg(tags, order, name)),
        notes=("The sub-images of this TIFF are not kept.",) if _SUB_IMAGES in tags else (),
    )


def with_tags(tiff: bytes, block: bytes) -> bytes:
    """The little-endian TIFF with the tags of an EXIF block added to its directory, its own tags winning."""
    header = tiff_tags.read_header(tiff)
    own, _ = tiff_tags.read_directory(tiff, header, header.first)
    added = {tag.number: tag for tag in tiff_tags.read_block(block) if tag.number not in _NOT_CARRIED}
    padded = tiff + b"\0" * (len(tiff) % 2)
    directory = tiff_tags.write_directory((added | own).values(), header.order, len(padded))
    return padded[:4] + struct.pack(f"{header.order}L", len(padded)) + padded[8:] + directory


def block_of(metadata: Metadata) -> bytes | None:
    """The EXIF block that carries another container's EXIF, ICC profile, XMP and resolution into a TIFF."""
    tags = {tag.number: tag for tag in _readable_tags(metadata.exif)}
    if metadata.dpi is not None and _X_DPI not in tags:
        ratios = (struct.pack("<2L", round(value * 1000), 1000) for value in metadata.dpi)
        tags |= {
            number: Tag(number, 5, 1, value) for number, value in zip((_X_DPI, _Y_DPI), ratios, strict=True)
        }
        tags[_DPI_UNIT] = Tag(_DPI_UNIT, 3, 1, struct.pack("<H", 2))
    for number, kind, value in ((_XMP, 1, metadata.xmp), (_ICC, 7, metadata.icc)):
        if value is not None:
            tags[number] = Tag(number, kind, len(value), value)
    return tiff_tags.write_block(tags.values()) if tags else None


def _readable_tags(block: bytes | None) -> tuple[Tag, ...]:
    """Tags of an EXIF block; none if it is broken, since a TIFF cannot hold a broken directory."""
    if block is None:
        return ()
    try:
        return tiff_tags.read_block(block)
    except TagError:
        return ()


def _directory(data: bytes, name: str) -> tuple[str, dict[int, Tag], int]:
    try:
        header = tiff_tags.read_header(data)
        tags, following = tiff_tags.read_directory(data, header, header.first)
    except TagError as error:
        raise InvalidImage(f"{name} is a truncated or corrupt TIFF: {error}.") from error
    return header.order, tags, following


def _one(tags: Mapping[int, Tag], number: int, order: str, default: int, name: str) -> int:
    return _several(tags, number, order, (default,), name)[0]


def _several(
    tags: Mapping[int, Tag], number: int, order: str, default: tuple[int, ...], name: str
) -> tuple[int, ...]:
    if number not in tags:
        return default
    try:
        return tiff_tags.numbers(tags[number], order)
    except TagError as error:
        raise InvalidImage(f"{name} is a corrupt TIFF: {error}.") from error


def _compression(tags: Mapping[int, Tag], order: str, name: str) -> str:
    number = _one(tags, _COMPRESSION, order, 1, name)
    if number not in _COMPRESSIONS:
        raise UnsupportedImage(
            f"{name} is a TIFF with compression {number}; save it uncompressed, LZW or deflate."
        )
    return _COMPRESSIONS[number]


def _refuse_pixels(tags: Mapping[int, Tag], order: str, compression: str, name: str) -> None:
    photometric = _one(tags, _PHOTOMETRIC, order, 0, name)
    bits = _several(tags, _BITS, order, (1,), name)
    samples = _one(tags, _SAMPLES, order, 1, name)
    extra = _several(tags, _EXTRA, order, (), name)
    formats = set(_several(tags, _FORMAT, order, (1,), name))
    if photometric in _OTHER_SPACES:
        space = _OTHER_SPACES[photometric]
        raise UnsupportedImage(
            f"{name} is a {space} TIFF; convert it to RGB first (converting here would change colours)."
        )
    if photometric not in _COLOUR_BANDS or (photometric == 6 and compression != "jpeg"):
        raise UnsupportedImage(f"{name} is a TIFF of photometric type {photometric}; save it as grey or RGB.")
    if formats - {1, 4}:
        kind = {2: "signed integer", 3: "floating-point"}.get(max(formats), "complex")
        raise UnsupportedImage(
            f"{name} is a TIFF of {kind} samples; convert it to 8-bit, or to 16-bit grey, first."
        )
    _refuse_depth(photometric, max(bits), samples, name)
    _refuse_bands(photometric, samples, extra, name)


def _refuse_depth(photometric: int, depth: int, samples: int, name: str) -> None:
    if depth == 16 and not (photometric == 1 and samples == 1):
        kind = "inverted grey" if photometric == 0 else "grey with alpha" if photometric == 1 else "colour"
        raise UnsupportedImage(
            f"{name} is a 16-bit {kind} TIFF; 16 bits are read for plain grey only, because this one would "
            "silently lose half its depth: convert it to 8 bits or to 16-bit grey."
        )
    if depth not in (1, 2, 4, 8, 16):
        raise UnsupportedImage(f"{name} is a {depth}-bit TIFF; convert it to 8 bits or to 16-bit grey first.")


def _refuse_bands(photometric: int, samples: int, extra: tuple[int, ...], name: str) -> None:
    surplus = samples - _COLOUR_BANDS[photometric]
    straight_alpha = surplus == 1 and photometric in (1, 2) and extra in ((), (2,))
    if surplus == 0 or straight_alpha:
        return
    if 1 in extra:
        raise UnsupportedImage(f"{name} is a TIFF with premultiplied alpha; save it with straight alpha.")
    raise UnsupportedImage(
        f"{name} is a TIFF of {samples} bands; grey, grey + alpha, RGB and RGB + alpha are read."
    )


def _refuse_missing_data(tags: Mapping[int, Tag], order: str, compression: str, size: int, name: str) -> None:
    """Every strip or tile must lie inside the file, and raw ones must add up to the picture."""
    starts = _several(tags, 324 if 324 in tags else 273, order, (), name)
    lengths = _several(tags, 325 if 324 in tags else 279, order, (), name)
    if not starts or len(starts) != len(lengths):
        raise InvalidImage(f"{name} is a corrupt TIFF: it does not say where its pixels are.")
    if max(start + length for start, length in zip(starts, lengths, strict=True)) > size:
        raise InvalidImage(f"{name} is a truncated TIFF: its pixels lie behind its end, after {size} bytes.")
    bits = _several(tags, _BITS, order, (1,), name)[0] * _one(tags, _SAMPLES, order, 1, name)
    needed = _one(tags, _HEIGHT, order, 0, name) * ((_one(tags, _WIDTH, order, 0, name) * bits + 7) // 8)
    if compression == "raw" and sum(lengths) < needed:
        raise InvalidImage(f"{name} is a corrupt TIFF: it holds {sum(lengths)} of {needed} bytes of pixels.")


def _refuse_huge_tiles(tags: Mapping[int, Tag], order: str, name: str) -> None:
    """A decoder holds a whole tile, however small the picture that it belongs to."""
    across, down = _one(tags, _TILE_WIDTH, order, 0, name), _one(tags, _TILE_HEIGHT, order, 0, name)
    picture = _one(tags, _WIDTH, order, 0, name) * _one(tags, _HEIGHT, order, 0, name)
    if across * down > max(picture, _ALWAYS_FINE_TILE_PIXELS):
        raise InvalidImage(f"{name} is a corrupt TIFF: its tiles of {across} x {down} are larger than it is.")


def _pixel_file(data: bytes, order: str, tags: Mapping[int, Tag]) -> bytes:
    """The same bytes under a new directory that holds pixel tags only (a classic one, also for BigTIFF)."""
    start = len(data) + len(data) % 2
    kept = [_first_only(tag) if tag.number in _SINGLE else tag for tag in tags.values()]
    directory = tiff_tags.write_directory((tag for tag in kept if tag.number in _PIXEL_TAGS), order, start)
    mark = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}L", start)
    return b"".join((mark, memoryview(data)[8:], b"\0" * (start - len(data)), directory))


def _first_only(tag: Tag) -> Tag:
    """The tag with one value, as its meaning asks for; the decoder warns of more."""
    if tag.count == 1:
        return tag
    return Tag(tag.number, tag.kind, 1, tag.value[: len(tag.value) // tag.count])


def _can_be_jpeg(tags: Mapping[int, Tag], order: str, name: str) -> bool:
    """Not with alpha, which must stay exact, and not beyond JPEG's largest side."""
    sides = (_one(tags, _WIDTH, order, 0, name), _one(tags, _HEIGHT, order, 0, name))
    return _one(tags, _SAMPLES, order, 1, name) in (1, 3) and max(sides) <= _MAX_JPEG_SIDE


def _save_options(compression: str, predictor: int, *, can_be_jpeg: bool) -> dict[str, object]:
    if compression == "jpeg" and can_be_jpeg:
        return {"compression": "jpeg", "quality": 95, "tiffinfo": {_ROWS_PER_STRIP: 16}}
    if compression == "jpeg" or compression in _BILEVEL_ONLY:  # refined pixels are no longer black or white
        return {"compression": "tiff_adobe_deflate"}
    if compression in _PREDICTED and predictor == 2:
        return {"compression": compression, "tiffinfo": {_PREDICTOR: 2}}
    return {"compression": compression}


def _metadata(tags: Mapping[int, Tag], order: str, name: str) -> Metadata:
    carried = [tiff_tags.little_endian(tag, order) for tag in tags.values() if tag.number not in _NOT_CARRIED]
    block = tiff_tags.write_block(carried)
    exif = [tag for tag in carried if tag.number in _EXIF_TAGS]
    return Metadata(
        exif=tiff_tags.write_block(exif) if exif else None,
        icc=tags[_ICC].value if _ICC in tags else None,
        xmp=tags[_XMP].value if _XMP in tags else None,
        dpi=_dpi(tags, order, name),
        orientation=tiff_tags.orientation(block),
        carried=(block,) if carried else (),
    )


def _dpi(tags: Mapping[int, Tag], order: str, name: str) -> tuple[float, float] | None:
    if _X_DPI not in tags or _Y_DPI not in tags:
        return None
    scale = {2: 1.0, 3: 2.54}.get(_one(tags, _DPI_UNIT, order, 2, name))
    across, down = tiff_tags.ratio(tags[_X_DPI], order), tiff_tags.ratio(tags[_Y_DPI], order)
    return None if scale is None else resolution(across * scale, down * scale)
