"""Annotations of a request to the geometry of its images, whether one document or one for each image."""

from __future__ import annotations

from collections.abc import Sequence

from app.annotations.json_text import parse
from app.annotations.reading import read_geometry
from app.annotations.shapes import ImageGeometry, ImageRef


def geometry_of(documents: Sequence[bytes], images: Sequence[ImageRef]) -> list[ImageGeometry | None]:
    """What the documents (none, one for all, or one per image) say about each image.

    Sentences about a whole document stand with its first image. None for every image without a document.
    Raises InvalidJson.
    """
    if not documents:
        return [None] * len(images)
    if len(documents) == 1:
        return list(_read(documents[0], images, "The annotations"))
    assert len(documents) == len(images), (len(documents), len(images))
    return [
        _read(document, [image], f"The annotations of image {index}")[0]
        for index, (document, image) in enumerate(zip(documents, images, strict=True))
    ]


def _read(document: bytes, images: Sequence[ImageRef], what: str) -> list[ImageGeometry]:
    geometry = read_geometry(parse(document, what=what), images)
    first, *others = geometry.images
    return [ImageGeometry(first.shapes, (*geometry.problems, *first.problems)), *others]
