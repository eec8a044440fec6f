"""Blocks of rows, so that temporaries of a large image stay small."""

from __future__ import annotations

from collections.abc import Iterator

_PIXELS = 1 << 18


def blocks_of_rows(height: int, width: int) -> Iterator[slice]:
    """Slices that cover all rows in their order, each about a quarter of a megapixel, or a row."""
    rows = max(1, _PIXELS // max(1, width))
    return (slice(start, min(start + rows, height)) for start in range(0, height, rows))
