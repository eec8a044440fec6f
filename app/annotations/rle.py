"""Run-length masks, COCO's way: plain lists of counts, and the compressed strings of its tools."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from app.annotations.json_text import JsonValue
from app.annotations.shapes import ImageRef, Mask

_FIRST_CHARACTER = 48
_VALUE_BITS, _MORE, _SIGN = 5, 0x20, 0x10
_MAX_GROUPS = 7  # 35 bits: more than any image has pixels
_MAX_RUNS = 4_000_000


class RleError(ValueError):
    """The mask cannot be used; the message is the rest of a sentence about it."""


def read_mask(value: JsonValue, image: ImageRef) -> Mask:
    """The mask of {"size": [height, width], "counts": [..] or "..."}, checked against its image. Raises
    RleError.
    """
    if not isinstance(value, dict) or not isinstance(value.get("counts"), list | str):
        raise RleError("has a mask that is no run-length code with 'size' and 'counts'")
    if value.get("size") != [image.height, image.width]:
        expected = f"[{image.height}, {image.width}]"
        raise RleError(f"has a mask of size {str(value.get('size'))[:40]} (height, width), not {expected}")
    counts = value["counts"]
    runs = _from_string(counts) if isinstance(counts, str) else _from_list(counts)
    if runs.size and int(runs.min()) < 0:
        raise RleError("has a mask with a negative count")
    if int(runs.sum()) != image.height * image.width:
        raise RleError(
            f"has a mask whose counts add up to {int(runs.sum())}, not {image.height * image.width}"
        )
    return Mask(image.height, image.width, tuple(runs.tolist()))


def to_array(mask: Mask) -> NDArray[np.bool_]:
    """bool [height, width], True inside."""
    inside = np.arange(len(mask.counts)) % 2 == 1
    return np.repeat(inside, mask.counts).reshape(mask.width, mask.height).T


def bounds(mask: Mask) -> tuple[float, float, float, float] | None:
    """x1, y1, x2, y2 of the mask in px; None if it is empty."""
    ends = np.cumsum(np.array(mask.counts, np.int64))[1::2]
    starts = ends - np.array(mask.counts[1::2], np.int64)
    filled = ends > starts
    if not filled.any():
        return None
    first, last = starts[filled], ends[filled] - 1
    (left, top), (right, bottom) = np.divmod(first, mask.height), np.divmod(last, mask.height)
    wraps = bool((left < right).any())  # a run that goes on in the next column touches both borders
    low, high = (0, mask.height - 1) if wraps else (top.min(), bottom.max())
    return float(left[0]), float(low), float(right[-1] + 1), float(high + 1)


def _from_list(counts: JsonValue) -> NDArray[np.int64]:
    assert isinstance(counts, list)
    if len(counts) > _MAX_RUNS or not all(type(count) is int and abs(count) < 2**40 for count in counts):
        raise RleError("has a mask whose counts are not all reasonable integers")
    return np.array(counts, np.int64)


def _from_string(text: str) -> NDArray[np.int64]:
    """Numbers in groups of 5 bits, least first, 6th bit = more; from the 4th on as differences to the last
    but one.
    """
    if len(text) > _MAX_RUNS or not text.isascii():
        raise RleError("has a mask whose counts are no run-length string")
    codes = np.frombuffer(text.encode("ascii"), np.uint8).astype(np.int64) - _FIRST_CHARACTER
    ends = np.flatnonzero((codes & _MORE) == 0)
    if codes.size == 0 or codes.min() < 0 or codes.max() > 63 or ends.size == 0 or ends[-1] != codes.size - 1:
        raise RleError("has a mask whose counts are no run-length string")
    starts = np.concatenate(([0], ends[:-1] + 1))
    lengths = ends - starts + 1
    if int(lengths.max()) > _MAX_GROUPS:
        raise RleError("has a mask with a count of more than 35 bits")
    place = np.arange(codes.size) - np.repeat(starts, lengths)
    values = np.add.reduceat((codes & 0x1F) << (_VALUE_BITS * place), starts)
    values -= np.where(codes[ends] & _SIGN, np.int64(1) << (_VALUE_BITS * lengths), 0)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values
