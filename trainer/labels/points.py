"""Owns which numbers of a file are which keypoint: pairs of columns, and names in any order."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from trainer.errors import DataError

_AXIS = re.compile(r"(?<![a-z])[xy](?![a-z])", re.IGNORECASE)
"""An x or a y that is a word of its own: `snout_x`, `x1`, `left ear.y`."""


def names_of_pairs(path: Path, columns: Sequence[str]) -> tuple[str, ...]:
    """What the points are called whose x and y these columns are, in their order.

    DataError where the columns are no pairs, or say that they are other ones than x, y, x, y, …; empty where
    they do not say what they are.
    """
    if len(columns) % 2:
        raise DataError(f"{path} has {len(columns)} columns of numbers; keypoints are x, y pairs")
    axes = [_axis(column) for column in columns]
    if not any(axes):
        return ()
    for place, (column, axis) in enumerate(zip(columns, axes, strict=True)):
        wanted = "xy"[place % 2]
        if axis != wanted:
            raise DataError(
                f"{path}: keypoints are x, y pairs, but the column {column!r} stands where one of {wanted} "
                "should be"
            )
    names = tuple(_AXIS.sub("", column).strip(" _.-:") for column in columns[::2])
    return names if len(set(names)) == len(names) else ()


def in_order(points: NDArray[Any], names: Sequence[str], wanted: Sequence[str]) -> NDArray[Any]:
    """Points [N, K, 2] with these names in the wanted order; as they are where the names are not the same."""
    if len(names) != points.shape[1] or len(set(names)) < len(names) or set(names) != set(wanted):
        return points
    return points[:, [list(names).index(name) for name in wanted]]


def _axis(column: str) -> str | None:
    """`x` or `y`, the last that a column's name holds."""
    found = _AXIS.findall(column)
    return found[-1].lower() if found else None
