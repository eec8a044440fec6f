"""Locked regions: from the option `lock` and an image's annotations to the pixels that must not change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from app.annotations.masks import rasterise
from app.annotations.shapes import Shape
from app.options import Lock, LockAnnotations, LockBox, LockPolygon


def lock_mask(
    locks: Sequence[Lock], shapes: Sequence[Shape], height: int, width: int
) -> NDArray[np.bool_] | None:
    """True [height, width] wherever a lock touches a pixel; None when nothing is locked."""
    if not locks:
        return None
    regions = [*_drawn(locks), *_annotated(locks, shapes)]
    return rasterise(regions, height, width) if regions else None


def unmatched_labels(locks: Sequence[Lock], shapes: Sequence[Shape]) -> list[str]:
    """Labels that locks name but that no annotation of this image has."""
    if not locks:
        return []
    wanted = {label for lock in locks if isinstance(lock, LockAnnotations) for label in _labels(lock)}
    return sorted(wanted - {shape.label for shape in shapes if shape.label is not None})


def outside(locks: Sequence[Lock], height: int, width: int) -> int:
    """How many drawn locks touch nothing of an image of this size."""
    return sum(
        shape.x2 <= 0 or shape.y2 <= 0 or shape.x1 >= width or shape.y1 >= height for shape in _drawn(locks)
    )


def _drawn(locks: Sequence[Lock]) -> Iterator[Shape]:
    for lock in locks:
        if isinstance(lock, LockBox):
            yield Shape(None, "box", *lock.box)
        elif isinstance(lock, LockPolygon):
            yield _polygon(lock)


def _annotated(locks: Sequence[Lock], shapes: Sequence[Shape]) -> Iterator[Shape]:
    """Every shape that a lock names, once, however many locks name it."""
    chosen = [lock for lock in locks if isinstance(lock, LockAnnotations)]
    everything = any(lock.annotations == "all" for lock in chosen)
    labels = {label for lock in chosen for label in _labels(lock)}
    return (shape for shape in shapes if everything or shape.label in labels)


def _polygon(lock: LockPolygon) -> Shape:
    across, down = zip(*lock.polygon, strict=True)
    bounds = (min(across), min(down), max(across), max(down))
    return Shape(None, "polygon", *bounds, polygons=(lock.polygon,))


def _labels(lock: LockAnnotations) -> tuple[str, ...]:
    return () if lock.annotations == "all" else lock.annotations
