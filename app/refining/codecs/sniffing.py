"""Which format some bytes are, told from their first bytes and nothing else."""

from __future__ import annotations

from app.refining.codecs.container import FormatName

_TIFF_MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_TEXT_CONTROLS = frozenset(b"\t\n\r\f\x1b")
_KNOWN_STRANGERS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\0\0\1\0", "a Windows icon"),
    (0, b"8BPS", "a Photoshop document"),
    (0, b"\0\0\0\x0cjP  ", "a JPEG 2000 image"),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000 image"),
    (0, b"\xff\x0a", "a JPEG XL image"),
    (0, b"\0\0\0\x0cJXL ", "a JPEG XL image"),
    (4, b"ftypavi", "an AVIF image"),
    (4, b"ftyphei", "a HEIC image"),
    (4, b"ftypmif", "a HEIF image"),
    (4, b"ftyp", "a video or HEIF file"),
    (0, b"v/1\x01", "an OpenEXR image"),
    (0, b"#?RADIANCE", "a Radiance HDR image"),
    (0, b"\x93NUMPY", "a NumPy array file"),
    (0, b"PK\3\4", "a zip archive"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"%PDF", "a PDF document"),
    (0, b"DDS ", "a DDS texture"),
    (0, b"SIMPLE  =", "a FITS file"),
    (128, b"DICM", "a DICOM file"),
)


def sniff(data: bytes) -> FormatName | None:
    """The supported format whose signature the bytes start with, or None."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    if data.startswith(_TIFF_MAGICS):
        return "TIFF"
    if data.startswith(b"BM"):
        return "BMP"
    return None


def describe(data: bytes) -> str:
    """What unsupported bytes look like, as a noun phrase ("an animated GIF", "a text file")."""
    if not data:
        return "an empty file"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "an animated GIF" if _is_animated_gif(data) else "a GIF image"
    for offset, magic, noun in _KNOWN_STRANGERS:
        if data.startswith(magic, offset):
            return noun
    if _is_text(data[:512]):
        return _text_kind(data[:512])
    return f"a file of unknown format (it starts with the bytes {data[:8].hex(' ')})"


def _is_animated_gif(data: bytes) -> bool:
    return b"NETSCAPE2.0" in data[:4096] or data.count(b"\x21\xf9\x04") > 1


def _is_text(head: bytes) -> bool:
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # a character cut off at the end of the window is still text
            return False
    return all(byte >= 32 or byte in _TEXT_CONTROLS for byte in head)


def _text_kind(head: bytes) -> str:
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:200].lower()
    if b"<svg" in start:
        return "an SVG drawing"
    if start.startswith((b"<!doctype html", b"<html")):
        return "an HTML page"
    if start.startswith((b"{", b"[")):
        return "JSON text"
    if start.startswith((b"p1", b"p2", b"p3")) and start[2:3].isspace():
        return "a text NetPBM image"
    return "a text file"
