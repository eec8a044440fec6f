"""Owns reading a .csv of labels: one column `file`, the others numbers, rows found by image name."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainer.errors import DataError
from trainer.labels.index import ImageIndex

FILE = "file"
MOST_ROWS_PER_IMAGE = 1000


@dataclass(frozen=True, eq=False)
class Table:
    """The numbers of N images."""

    path: Path
    names: tuple[str, ...]
    values: NDArray[np.float64]
    """[N, K, D]: K rows of an image (NaN where it has fewer), D columns."""

    def columns(self, names: Sequence[str]) -> NDArray[np.float64]:
        """[N, K, len(names)]: some columns, in this order; DataError when one is missing."""
        missing = [name for name in names if name not in self.names]
        if missing:
            raise DataError(f"{self.path} has no column {missing[0]!r}; it has: {', '.join(self.names)}")
        return self.values[:, :, [self.names.index(name) for name in names]]


def read_csv(path: Path, index: ImageIndex, column: str | None, *, several: bool) -> Table:
    """Rows in the order of the images; `several` rows an image are allowed, or none. Rows of other images are
    passed over, an empty cell is NaN. DataError names the row that is wrong.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            header = tuple(name.strip() for name in reader.fieldnames or ())
            reader.fieldnames = header
            if FILE not in header:
                raise DataError(f"{path} has no column {FILE!r}; it has: {', '.join(header) or 'none'}")
            names = tuple(name for name in header if name != FILE)
            lines = [((row[FILE] or "").strip(), reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    places = index.places(file for file, _, _ in lines)
    rows: list[list[list[float]]] = [[] for _ in range(len(index))]
    for name, line, row in lines:
        if name in places:
            rows[places[name]].append(_numbers(path, line, row, names))
    if not several:
        others = (name for name, _, _ in lines if name not in places)
        index.require_all(np.array([len(image) > 0 for image in rows]), str(path), others)
    table = Table(path, names, _stacked(path, index, rows, len(names), several=several))
    return table if column is None else Table(path, (column,), table.columns((column,)))


def _numbers(path: Path, line: int, row: dict[str, str | None], names: Sequence[str]) -> list[float]:
    try:
        return [float((row[name] or "").strip() or "nan") for name in names]
    except (ValueError, TypeError):
        raise DataError(f"{path}, line {line}: not all columns beside {FILE!r} are numbers") from None


def _stacked(
    path: Path, index: ImageIndex, rows: list[list[list[float]]], columns: int, *, several: bool
) -> NDArray[np.float64]:
    counts = np.array([len(image) for image in rows])
    if not several and counts.max() > 1:
        assert index.names is not None
        raise DataError(f"{path} has {counts.max()} rows of {index.names[int(counts.argmax())]}")
    if counts.max() > MOST_ROWS_PER_IMAGE:
        raise DataError(f"{path} has {counts.max()} rows of one image, more than {MOST_ROWS_PER_IMAGE}")
    values = np.full((len(index), max(1, int(counts.max())), columns), np.nan)
    for place, image in enumerate(rows):
        for row, numbers in enumerate(image):
            values[place, row] = numbers
    return values
