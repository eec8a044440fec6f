"""Owns reading one array of an .npz file in blocks, so that it never has to fit in memory twice."""

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from trainer.errors import DataError

BLOCK_BYTES = 16 << 20


@dataclass(frozen=True)
class NpzArray:
    """An array inside an open .npz file: its shape and type are known, its values still compressed."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    stream: IO[bytes]

    @staticmethod
    @contextmanager
    def open(path: Path, key: str) -> Iterator["NpzArray"]:
        """Open `key` of `path`; DataError when the file is broken or has no such array."""
        try:
            with zipfile.ZipFile(path) as archive, archive.open(_member(archive, path, key)) as stream:
                yield NpzArray._read_header(f"{path}:{key}", stream)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError) as error:
            raise DataError(f"cannot read {path}:{key}: {error}") from error

    @staticmethod
    def _read_header(name: str, stream: IO[bytes]) -> "NpzArray":
        version = npy.read_magic(stream)
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read_header(stream)
        if fortran and len(shape) > 1:
            raise ValueError("its array is stored in Fortran order; save it with numpy.ascontiguousarray")
        return NpzArray(name, shape, dtype, stream)

    def blocks(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield (index of the first row, rows) until the array is complete; raises on truncation."""
        row_bytes = int(np.prod(self.shape[1:])) * self.dtype.itemsize
        rows = max(1, BLOCK_BYTES // row_bytes)
        for start in range(0, self.shape[0], rows):
            count = min(rows, self.shape[0] - start)
            data = self.stream.read(count * row_bytes)
            if len(data) < count * row_bytes:
                raise EOFError(f"it ends in row {start + len(data) // row_bytes} of {self.shape[0]}")
            yield start, np.frombuffer(data, self.dtype).reshape(count, *self.shape[1:])


def _member(archive: zipfile.ZipFile, path: Path, key: str) -> str:
    names = archive.namelist()
    if f"{key}.npy" not in names:
        known = ", ".join(sorted(name.removesuffix(".npy") for name in names))
        raise DataError(f"{path} has no array {key!r}; it has: {known}")
    return f"{key}.npy"
