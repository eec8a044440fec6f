"""Owns what is known about the images of a source without decoding them: names and sizes, in order."""

from collections import Counter
from collections.abc import Iterable
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
MOST_NAMED = 200
"""Characters of a name that a sentence shows."""


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

    def places(self, names: Iterable[str]) -> dict[str, int]:
        """Index of the image that each of these names means, as a file of labels writes them; others are left
        out. DataError for images without names.

        A name is an image's path, or the bare file name where only one image has it. Any other means the one
        image whose path ends in the longest end of it, unless another name means that image, too.
        """
        found: dict[str, int] = {}
        claims: dict[str, int] = {}
        for name in dict.fromkeys(names):
            path = name.replace("\\", "/")
            if path in self._known:
                found[name] = self._known[path]
            elif (end := next((end for end in _ends(path) if end in self._ends), None)) is not None:
                claims[name] = self._ends[end]
        times = Counter(claims.values())
        times.update(set(found.values()))
        return found | {name: place for name, place in claims.items() if times[place] == 1}

    @cached_property
    def _known(self) -> dict[str, int]:
        if self.names is None:
            raise DataError(f"labels by file name need a folder of images; {self.source} is an array")
        bare = [name.rpartition("/")[2] for name in self.names]
        times = Counter(bare)
        short = {name: place for place, name in enumerate(bare) if times[name] == 1}
        return short | {name: place for place, name in enumerate(self.names)}

    @cached_property
    def _ends(self) -> dict[str, int]:
        """Index by path, and by every end of one that only one image has."""
        assert self.names is not None
        times = Counter(end for name in self.names for end in _ends(name))
        places = enumerate(self.names)
        once = {end: place for place, name in places for end in _ends(name) if times[end] == 1}
        return once | {name: place for place, name in enumerate(self.names)}

    def require_all(self, found: NDArray[np.bool_], labels: str, names: Iterable[str]) -> None:
        """DataError unless every image was found among the labels; it shows one of the `names` in there."""
        missing = np.flatnonzero(~found)
        if len(missing):
            assert self.names is not None
            example = next((f"; it names {name[:MOST_NAMED]}" for name in names), "")
            raise DataError(
                f"{labels} says nothing about {len(missing)} of the {len(self)} images of {self.source}, the "
                f"first is {self.names[missing[0]]}{example}"
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


def _ends(path: str) -> list[str]:
    """What a path may end in, the longest first: `a/b/c` → `a/b/c`, `b/c`, `c`."""
    parts = path.split("/")
    return ["/".join(parts[start:]) for start in range(len(parts))]
