"""Which picture of a set a document means by a name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath

_WORD = re.compile(r"[a-z]+|[0-9]+")


class PictureNames:
    """The pictures of a set, by their paths below it."""

    def __init__(self, pictures: Iterable[str]) -> None:
        self._by_base: dict[str, list[str]] = {}
        self._all = set(pictures)
        for picture in sorted(self._all):
            self._by_base.setdefault(picture.rpartition("/")[2], []).append(picture)

    def alike(self, named: str) -> Sequence[str]:
        """All pictures of this name in whatever folder."""
        return self._by_base.get(_path(named).name, ())

    def meant(self, named: str, document: str) -> str | None:
        """The picture that a document at this path means, None if it is not there or cannot be told.

        The one at this path from the document's folder, or from one above it; else of those whose path ends
        so the only one, or the only one in a folder that shares most words with the document's name
        (`instances_train.json`, `train/0001.png`).
        """
        asked = _path(named)
        below = next((place for place in _places(asked, document) if place in self._all), None)
        if below is not None:
            return below
        same = self.alike(named)
        end = f"/{asked.as_posix().lstrip('./')}"
        ending = [picture for picture in same if f"/{picture}".endswith(end)] or same
        if len(ending) > 1:
            words = _words(document.rpartition(".")[0])
            shared = [len(_words(picture.rpartition("/")[0]) & words) for picture in ending]
            ending = [picture for picture, count in zip(ending, shared, strict=True) if count == max(shared)]
        return ending[0] if len(ending) == 1 else None


def _path(named: str) -> PurePosixPath:
    return PurePosixPath(named.replace("\\", "/"))


def _places(asked: PurePosixPath, document: str) -> Iterator[str]:
    """Beside the document; for a name with folders, also below each folder above it."""
    above = PurePosixPath(document).parents
    for folder in above if len(asked.parts) > 1 else above[:1]:
        yield (folder / asked).as_posix()


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.lower()))
