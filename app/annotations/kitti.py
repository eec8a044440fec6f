"""KITTI label files: a line per object, 15 columns (16 with a score): class, truncated, occluded, alpha, then
the box left, top, right, bottom in px of the image, counted from 0, and the object in space."""

from __future__ import annotations

from itertools import islice

from app.annotations.shapes import Collector, add_shape

NAME = "kitti"
COLUMNS = (15, 16)
LINES_LOOKED_AT = 100
"""To know the format by: one broken line does not hide the others."""
UNLABELLED = "DontCare"
"""The class of regions in which nothing was labelled."""


def recognises(text: str) -> bool:
    """Whether one of the first lines has KITTI's columns: a word, then numbers."""
    lines = (line.split() for line in text.splitlines() if line.strip())
    return any(
        len(columns) in COLUMNS and not is_number(columns[0]) and all(map(is_number, columns[1:]))
        for columns in islice(lines, LINES_LOOKED_AT)
    )


def read(text: str, into: Collector) -> None:
    """A box per line; what is no object is reported by its line, which counts from 0."""
    for source, line in enumerate(text.splitlines()):
        columns = line.split()
        if not columns or columns[0] == UNLABELLED:
            continue
        if len(columns) not in COLUMNS or not all(map(is_number, columns[1:])):
            into.report(f"Line {source} is no object of {COLUMNS[0]} columns.")
            continue
        left, top, right, bottom = map(float, columns[4:8])
        add_shape(into, source, label=columns[0][:200], box=(left, top, right, bottom))


def is_number(word: str) -> bool:
    """Whether a word is a number, as Python writes it."""
    try:
        float(word)
    except ValueError:
        return False
    return True
