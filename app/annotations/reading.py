"""Which reader understands a document, and what one reader is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from app.annotations import coco, labelme, plain, solo, unityeyes
from app.annotations.json_text import JsonValue
from app.annotations.matching import Matching
from app.annotations.shapes import ImageGeometry, ImageRef


class Reader(Protocol):
    """A format: a module of this package with these three names."""

    NAME: str

    def recognises(self, document: JsonValue) -> bool:
        """Whether the document is of this format, told from its keys."""
        ...

    def read(self, document: JsonValue, matching: Matching) -> None:
        """Adds every shape of the document to the image it belongs to."""
        ...


READERS: tuple[Reader, ...] = (coco, labelme, unityeyes, solo, plain)
"""In this order; the last one takes what is left. A new format is one file and one entry here."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """What one document says about the images of one request.

    format: the reader that found geometry, None if none did (then nothing can be measured, which is no
    error). images: one entry per image, in the request's order. problems: sentences about the document as a
    whole.
    """

    format: str | None
    images: tuple[ImageGeometry, ...]
    problems: tuple[str, ...] = ()


def read_geometry(parsed: JsonValue, images: Sequence[tuple[str, int, int]]) -> Geometry:
    """The shapes that a parsed document has for these images (file name, width, height; upright, in px).

    Never raises for what a document says: unknown documents give no shapes, and annotations that cannot be
    used are left out with a sentence. Annotations are matched to images by file name; where the document
    names none, by order.
    """
    matching = Matching([ImageRef(*image) for image in images])
    reader = next((reader for reader in READERS if reader.recognises(parsed)), None)
    if reader is not None:
        reader.read(parsed, matching)
    found = tuple(collector.finish() for collector in matching.collectors)
    name = (
        reader.NAME if reader is not None and any(image.shapes or image.problems for image in found) else None
    )
    return Geometry(name, found, matching.finish())


def read_part(part: JsonValue, image: tuple[str, int, int]) -> ImageGeometry:
    """The shapes in a document that `split` of a reader made: it is about this image alone."""
    matching = Matching([ImageRef(*image)])
    if plain.is_part(part):
        plain.read_part(part, matching)
    elif coco.recognises(part):
        coco.read_part(part, matching)
    elif solo.recognises(part):
        solo.read(part, matching)
    else:
        labelme.read(part, matching)
    return matching.collectors[0].finish()
