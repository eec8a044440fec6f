"""Names of files in an answered archive, made from names that clients claim: safe, distinct, recognisable."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from app.delivery import RefinedImage

MAX_STEM = 100
_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]')
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)", re.IGNORECASE)
_RESERVED = ("report.json", "annotations.json", "annotations")


def names_in_archive(images: Sequence[RefinedImage]) -> list[str]:
    """One name per refined image, distinct also where case does not count.

    `../a/b.PNG` becomes `b.PNG`; a changed format changes the extension; variants are numbered.
    """
    variants = {image.index for image in images if image.variant}
    return distinct(
        _safe_stem(image.filename)
        + (f"-variant-{image.variant}" if image.index in variants else "")
        + _extension(image)
        for image in images
    )


def distinct(names: Iterable[str]) -> list[str]:
    """The names, with -2, -3 … before the extension of those that came before."""
    taken = {name.casefold() for name in _RESERVED}
    result = []
    for name in names:
        stem, dot, extension = name.rpartition(".")
        candidate, count = name, 1
        while candidate.casefold() in taken:
            count += 1
            candidate = f"{stem}-{count}{dot}{extension}"
        taken.add(candidate.casefold())
        result.append(candidate)
    return result


def stem_of(name: str) -> str:
    """The name without its extension."""
    return name.rpartition(".")[0] or name


def _safe_stem(filename: str) -> str:
    last = re.split(r"[/\\]", filename)[-1]
    stem = _UNSAFE.sub("_", stem_of(last)).strip(". ")[:MAX_STEM]
    return f"_{stem}" if _DEVICES.fullmatch(stem) else stem or "image"


def _extension(image: RefinedImage) -> str:
    """The client's own spelling (.JPG, .jpeg) where the format stayed, else the usual one."""
    claimed = f".{image.filename.rpartition('.')[2]}" if "." in image.filename else ""
    same = claimed.lower() in _SPELLINGS.get(image.extension, (image.extension,))
    return claimed if same else image.extension


_SPELLINGS = {".jpg": (".jpg", ".jpeg", ".jpe", ".jfif"), ".tif": (".tif", ".tiff"), ".bmp": (".bmp", ".dib")}
