"""Locked regions: from the option `lock` and an image's annotations to the pixels that must not change."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.annotations.masks import rasterise
from app.annotations.shapes import Shape
from app.options import Lock, LockAnnotations, LockBox, LockPolygon


def lock_mask(
    locks: Sequence[Lock], shapes: Sequence[Shape], height: int, width: int
) -> NDArray[np.bool_] | None:
    """True [height, width] wherever a lock touches a pixel; None when nothing is locked."""
    regions = [region for lock in locks for region in _regions(lock, shapes)]
    return rasterise(regions, height, width) if regions else None


def unmatched_labels(locks: Sequence[Lock], shapes: Sequence[Shape]) -> list[str]:
    """Labels that locks name but that no annotation of this image has."""
    wanted = {label for lock in locks if isinstance(lock, LockAnnotations) for label in _labels(lock)}
    return sorted(wanted - {shape.label for shape in shapes if shape.label is not None})


def _regions(lock: Lock, shapes: Sequence[Shape]) -> list[Shape]:
    if isinstance(lock, LockBox):
        return [Shape(None, "box", *lock.box)]
    if isinstance(lock, LockPolygon):
        return [_polygon(lock)]
    return [shape for shape in shapes if lock.annotations == "all" or shape.label in lock.annotations]


def _polygon(lock: LockPolygon) -> Shape:
    across, down = zip(*lock.polygon, strict=True)
    bounds = (min(across), min(down), max(across), max(down))
    return Shape(None, "polygon", *bounds, polygons=(lock.polygon,))


def _labels(lock: LockAnnotations) -> tuple[str, ...]:
    return () if lock.annotations == "all" else lock.annotations
