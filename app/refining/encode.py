"""Refined pixels back to bytes, with everything that travelled beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from app.errors import InvalidOptions
from app.refining.codecs import bmp, jpeg, png, png_writing, tiff
from app.refining.codecs.container import FormatName, label, sentence
from app.refining.images import DecodedImage, Pixels, turn_back

DEFAULT_JPEG_QUALITY = 95
DEFAULT_WEBP_QUALITY = 90
_FULL_CHROMA_FROM_QUALITY = 90
_MEDIA_TYPES: dict[FormatName, str] = {
    "PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp", "TIFF": "image/tiff", "BMP": "image/bmp",
}  # fmt: skip
_EXTENSIONS: dict[FormatName, str] = {
    "PNG": ".png",
    "JPEG": ".jpg",
    "WEBP": ".webp",
    "TIFF": ".tif",
    "BMP": ".bmp",
}
_NAMES: dict[str, FormatName] = {
    "png": "PNG", "jpeg": "JPEG", "jpg": "JPEG", "webp": "WEBP", "tiff": "TIFF", "tif": "TIFF", "bmp": "BMP",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Encoded:
    """One encoded image. mode_out: Pillow's mode on reading it back. notes: what could not be carried, in
    sentences.
    """

    data: bytes
    media_type: str
    extension: str
    lossless: bool
    mode_out: str
    notes: tuple[str, ...] = ()


def encode(decoded: DecodedImage, pixels: Pixels, *, format: str | None, quality: int | None) -> Encoded:  # noqa: A002
    """The decoded image with these pixels (dtype and shape of decoded.pixels) instead of its own.

    format: png, jpeg, webp, tiff, bmp, or None for the source's. quality: 1..100, only where it means
    something. Unchanged pixels in the kept format give the source bytes. Alpha, EXIF, ICC profile, XMP and
    resolution are kept; pixels go back to the stored orientation. Raises InvalidOptions for what the format
    cannot hold.
    """
    assert pixels.shape == decoded.pixels.shape, (pixels.shape, decoded.pixels.shape)
    assert pixels.dtype == decoded.pixels.dtype, (pixels.dtype, decoded.pixels.dtype)
    target = _target(format, decoded.format)
    if target == decoded.format and quality is None and np.array_equal(pixels, decoded.pixels):
        return _verbatim(decoded)
    _refuse_impossible(decoded, target, quality)
    options = _options(decoded, target, quality)
    data, lost = _WRITERS[target](decoded, pixels, options)
    return Encoded(
        data=data,
        media_type=_MEDIA_TYPES[target],
        extension=_EXTENSIONS[target],
        lossless=_is_lossless(target, options),
        mode_out=_mode_read_back(decoded.mode_out, target),
        notes=(*(decoded.container.notes if target == decoded.format else ()), *lost),
    )


def is_lossy(decoded: DecodedImage, *, format: str | None, quality: int | None) -> bool:  # noqa: A002
    """Whether changed pixels come out of encode() otherwise than they went in. Raises InvalidOptions."""
    target = _target(format, decoded.format)
    return not _is_lossless(target, _options(decoded, target, quality))


def media_type(decoded: DecodedImage, format: str | None) -> str:  # noqa: A002
    """The media type that encode() will give for this output format. Raises InvalidOptions."""
    return _MEDIA_TYPES[_target(format, decoded.format)]


def _target(asked: str | None, own: FormatName) -> FormatName:
    if asked is None:
        return own
    target = _NAMES.get(asked.lower())
    if target is None:
        raise InvalidOptions(f"Output format '{asked[:40]}' is unknown; use png, jpeg, webp, tiff or bmp.")
    return target


def _verbatim(decoded: DecodedImage) -> Encoded:
    return Encoded(
        data=decoded.source,
        media_type=_MEDIA_TYPES[decoded.format],
        extension=_EXTENSIONS[decoded.format],
        lossless=True,
        mode_out=decoded.mode,
    )


def _refuse_impossible(decoded: DecodedImage, target: FormatName, quality: int | None) -> None:
    name = label(decoded.filename)
    if target == "JPEG" and decoded.alpha is not None:
        raise InvalidOptions(
            sentence(f"{name} has an alpha channel, which JPEG cannot hold; ask for png or webp.")
        )
    if target in ("JPEG", "WEBP", "BMP") and decoded.bit_depth == 16:
        raise InvalidOptions(
            sentence(f"{name} has 16 bits, which {target} cannot hold; ask for png or tiff.")
        )
    if target == "WEBP" and max(decoded.width, decoded.height) > 16_383:
        raise InvalidOptions(
            sentence(f"{name} is {decoded.width} x {decoded.height}; WebP holds at most 16383 pixels a side.")
        )
    if target == "JPEG" and max(decoded.width, decoded.height) > 65_500:
        raise InvalidOptions(
            sentence(f"{name} is {decoded.width} x {decoded.height}; JPEG holds at most 65500 pixels a side.")
        )
    if quality is None:
        return
    if not 1 <= quality <= 100:
        raise InvalidOptions(f"Output quality is {quality}; it must lie between 1 and 100.")
    if target not in ("JPEG", "WEBP"):
        raise InvalidOptions(
            f"Output quality {quality} was asked for {target}, which is written without loss."
        )


def _options(decoded: DecodedImage, target: FormatName, quality: int | None) -> Mapping[str, Any]:
    """Pillow's keywords: the source's own compression where the format stays and no quality is asked."""
    own = decoded.container.save_options if target == decoded.format else {}
    if target == "PNG":
        return png.SAVE_OPTIONS
    if target == "JPEG":
        return _jpeg_options(own, quality)
    if target == "WEBP":
        lossless = quality is None and decoded.container.lossless
        lossy = {"quality": DEFAULT_WEBP_QUALITY if quality is None else quality, "alpha_quality": 100}
        return {"lossless": True, "quality": 50, "exact": True} if lossless else lossy
    if target == "TIFF":
        return own or {"compression": "tiff_adobe_deflate"}
    return {}


def _jpeg_options(own: Mapping[str, Any], quality: int | None) -> Mapping[str, Any]:
    if quality is None:
        return own or {"quality": DEFAULT_JPEG_QUALITY, "subsampling": 0}
    chroma = own.get("subsampling", 0 if quality >= _FULL_CHROMA_FROM_QUALITY else 2)
    kept = {key: own[key] for key in ("progressive", "keep_rgb") if key in own}
    return {"quality": quality, "subsampling": chroma, **kept}


def _is_lossless(target: FormatName, options: Mapping[str, Any]) -> bool:
    if target == "WEBP":
        return bool(options.get("lossless", False))
    return target != "JPEG" and options.get("compression") != "jpeg"


def _mode_read_back(mode: str, target: FormatName) -> str:
    """WebP has no grey; a grey BMP with alpha is written as RGBA."""
    if target == "WEBP" or (target == "BMP" and mode == "LA"):
        return {"L": "RGB", "LA": "RGBA"}.get(mode, mode)
    return mode


def _write_png(
    decoded: DecodedImage, pixels: Pixels, options: Mapping[str, Any]
) -> tuple[bytes, tuple[str, ...]]:
    if decoded.format == "PNG":
        return png.with_carried(
            png_writing.write(_stored_array(decoded, pixels)), decoded.metadata.carried
        ), ()
    kept = _travelling(decoded, "PNG")
    xmp = kept.pop("xmp", None)
    if kept:
        data = _save(_stored(decoded, pixels), "PNG", {**options, **kept})
    else:
        data = png_writing.write(_stored_array(decoded, pixels))
    return (data if xmp is None else png.with_carried(data, (data[24:26], png.xmp_chunk(xmp)))), ()


def _write_jpeg(
    decoded: DecodedImage, pixels: Pixels, options: Mapping[str, Any]
) -> tuple[bytes, tuple[str, ...]]:
    if decoded.format == "JPEG":
        return jpeg.with_carried(
            _save(_stored(decoded, pixels), "JPEG", options), decoded.metadata.carried
        ), ()
    kept = _travelling(decoded, "JPEG")
    for what in ("exif", "xmp"):
        if len(kept.get(what, b"")) > jpeg.MAX_SEGMENT_BYTES - 64:
            name = label(decoded.filename)
            raise InvalidOptions(
                sentence(f"{name} has more {what.upper()} data than JPEG can hold; ask for png.")
            )
    return _save(_stored(decoded, pixels), "JPEG", {**options, **kept}), ()


def _write_webp(
    decoded: DecodedImage, pixels: Pixels, options: Mapping[str, Any]
) -> tuple[bytes, tuple[str, ...]]:
    kept = _travelling(decoded, "WEBP")
    if decoded.format == "WEBP" and decoded.metadata.carried:
        kept["exif"] = jpeg.EXIF_PREFIX + decoded.metadata.carried[0]  # Pillow cuts one prefix off
    kept.pop("dpi", None)
    return _save(_stored(decoded, pixels), "WEBP", {**options, **kept}), ()


def _write_tiff(
    decoded: DecodedImage, pixels: Pixels, options: Mapping[str, Any]
) -> tuple[bytes, tuple[str, ...]]:
    data = _save(_stored(decoded, pixels), "TIFF", options)
    if decoded.format == "TIFF":
        block = decoded.metadata.carried[0] if decoded.metadata.carried else None
    else:
        _refuse_lost_profile(decoded, "TIFF")
        block = tiff.block_of(decoded.metadata)
    return (data if block is None else tiff.with_tags(data, block)), ()


def _write_bmp(
    decoded: DecodedImage, pixels: Pixels, options: Mapping[str, Any]
) -> tuple[bytes, tuple[str, ...]]:
    """BMP has no orientation, so it gets the upright picture; EXIF, ICC profile and XMP have no place in
    it.
    """
    metadata = decoded.metadata
    named = (
        ("EXIF", metadata.exif),
        ("ICC profile", metadata.icc or metadata.icc_problem),
        ("XMP", metadata.xmp),
    )
    lost = [what for what, value in named if value is not None]
    notes = (f"BMP cannot hold the {' and '.join(lost)}.",) if lost else ()
    if decoded.alpha is None:
        dpi = {} if metadata.dpi is None else {"dpi": metadata.dpi}
        picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
        return _save(picture, "BMP", {**options, **dpi}), notes
    rgb = np.broadcast_to(pixels, (*pixels.shape[:2], 3))
    rgba = np.dstack([rgb, decoded.alpha]).astype(np.uint8, copy=False)
    return bmp.write_rgba(rgba, metadata.dpi), notes


_Writer = Callable[[DecodedImage, Pixels, Mapping[str, Any]], tuple[bytes, tuple[str, ...]]]
_WRITERS: dict[FormatName, _Writer] = {
    "PNG": _write_png, "JPEG": _write_jpeg, "WEBP": _write_webp, "TIFF": _write_tiff, "BMP": _write_bmp,
}  # fmt: skip


def _travelling(decoded: DecodedImage, target: FormatName) -> dict[str, Any]:
    """EXIF, ICC profile, XMP and resolution as Pillow's keywords."""
    _refuse_lost_profile(decoded, target)
    metadata = decoded.metadata
    kept: dict[str, Any] = {"icc_profile": metadata.icc, "xmp": metadata.xmp, "dpi": metadata.dpi}
    if metadata.exif is not None:
        kept["exif"] = jpeg.EXIF_PREFIX + metadata.exif
    return {key: value for key, value in kept.items() if value is not None}


def _refuse_lost_profile(decoded: DecodedImage, target: FormatName) -> None:
    problem = decoded.metadata.icc_problem
    if problem is not None:
        name = label(decoded.filename)
        raise InvalidOptions(
            f"The ICC profile of {name} {problem}, so it cannot be carried into {target}; keep PNG."
        )


def _stored(decoded: DecodedImage, pixels: Pixels) -> Image.Image:
    stored = _stored_array(decoded, pixels)
    return Image.fromarray(stored[:, :, 0] if stored.shape[2] == 1 else stored)


def _stored_array(decoded: DecodedImage, pixels: Pixels) -> Pixels:
    """[H, W, channels, alpha included] in stored orientation."""
    orientation = decoded.metadata.orientation
    stored = turn_back(pixels, orientation)
    if decoded.alpha is None:
        return stored
    return np.dstack([stored, turn_back(decoded.alpha, orientation)])


def _save(picture: Image.Image, target: FormatName, options: Mapping[str, Any]) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, target, **options)
    return buffer.getvalue()
