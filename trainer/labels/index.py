"""Owns what is known about the images of a source without decoding them: names and sizes, in order."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainer.errors import DataError
from trainer.npz import NpzArray
from trainer.sources import UNREADABLE, Source, image_files

ORIENTATION = 0x0112
SIDEWAYS = frozenset({5, 6, 7, 8})


@dataclass(frozen=True, eq=False)
class ImageIndex:
    """The N images of one source, in the order in which they are read."""

    source: str
    names: tuple[str, ...] | None
    """Paths relative to the folder, with `/`; None for arrays, which have no names."""
    sizes: NDArray[np.int64]
    """[N, 2]: height and width in px as stored, upright."""

    def __len__(self) -> int:
        return len(self.sizes)

    @cached_property
    def places(self) -> dict[str, int]:
        """Index by name, and by the bare file name where only one image has it; DataError without names."""
        if self.names is None:
            raise DataError(f"labels by file name need a folder of images; {self.source} is an array")
        bare = [name.rpartition("/")[2] for name in self.names]
        once = {name for name, times in zip(*np.unique(bare, return_counts=True), strict=True) if times == 1}
        short = {name: place for place, name in enumerate(bare) if name in once}
        return short | {name: place for place, name in enumerate(self.names)}

    def require_all(self, found: NDArray[np.bool_], labels: str) -> None:
        """DataError unless every image was found among the labels."""
        missing = np.flatnonzero(~found)
        if len(missing):
            assert self.names is not None
            raise DataError(
                f"{labels} says nothing about {len(missing)} of the {len(self)} images of {self.source}, the "
                f"first is {self.names[missing[0]]}"
            )


def index_images(source: Source) -> ImageIndex:
    """Read the headers of a source; DataError when one cannot be read."""
    if source.key is not None:
        with NpzArray.open(source.path, source.key) as stored:
            if len(stored.shape) not in (3, 4):
                raise DataError(f"{source} has the shape {stored.shape}, not [N, H, W] or [N, H, W, C]")
            count, height, width = stored.shape[:3]
        return ImageIndex(str(source), None, np.tile(np.array([[height, width]], np.int64), (count, 1)))
    files = image_files(source)
    names = tuple(file.relative_to(source.path).as_posix() for file in files)
    sizes = np.empty((len(files), 2), np.int64)
    for place, file in enumerate(files):
        try:
            with Image.open(file) as opened:
                upright = opened.getexif().get(ORIENTATION, 1) not in SIDEWAYS
                sizes[place] = (opened.height, opened.width) if upright else (opened.width, opened.height)
        except UNREADABLE as error:
            raise DataError(f"cannot read the image {file}: {error}") from error
    return ImageIndex(str(source), names, sizes)
