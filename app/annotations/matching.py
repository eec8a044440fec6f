"""Which image of the request an annotation belongs to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

from app.annotations.json_text import JsonValue
from app.annotations.shapes import MAX_PROBLEMS, Collector, ImageRef

FILE_KEYS = ("file_name", "filename", "image", "imagePath", "file", "image_path", "path", "name")


class Matching:
    """The request's images, found by the names that documents use for them; it owns their collectors."""

    def __init__(self, images: Sequence[ImageRef]) -> None:
        self.collectors = [Collector(image) for image in images]
        names = [image.filename for image in images]
        self._by_name = _unique(names)
        self._by_base = _unique([_base(name) for name in names])
        self._several = {name for name in names if name not in self._by_name}
        self._unmatched: dict[str, None] = {}
        self._problems: list[str] = []

    def named(self, filename: JsonValue) -> Collector | None:
        """The image sent under this name, or under the same name without its folders; None (and noted) if
        none was.
        """
        if not isinstance(filename, str):
            return None
        index = self._by_name.get(filename, self._by_base.get(_base(filename)))
        if index is not None:
            return self.collectors[index]
        if filename in self._several:
            self.report(f"Several images were sent as '{filename[:200]}', so it is not clear which is meant.")
        else:
            self._unmatched.setdefault(filename[:200])
        return None

    def knows(self, filename: str) -> bool:
        """Whether an image was sent under this name (nothing is noted)."""
        return filename in self._by_name or filename in self._several or _base(filename) in self._by_base

    def only(self) -> Collector | None:
        """The one image of the request, if it has one."""
        return self.collectors[0] if len(self.collectors) == 1 else None

    def of_entry(self, entry: dict[str, JsonValue], position: int, entries: int) -> Collector | None:
        """The image of one per-image entry: by its file name, else the only one, else by equal order.

        Of several that were sent under one name, the one at its place, if all are named in their order.
        """
        for key in FILE_KEYS:
            if isinstance(name := entry.get(key), str):
                if name in self._several and entries == len(self.collectors):
                    there = self.collectors[position]
                    return there if there.image.filename == name else self.named(name)
                return self.named(name)
        if len(self.collectors) == 1:
            return self.collectors[0]
        if entries == len(self.collectors):
            return self.collectors[position]
        self.report(f"Entry {position} of the annotations names no file, so its image is unknown.")
        return None

    def report(self, problem: str) -> None:
        """Keeps a sentence about the whole document, the first 50 of them."""
        if len(self._problems) < MAX_PROBLEMS:
            self._problems.append(problem)

    def finish(self) -> tuple[str, ...]:
        """The document's problems; images it names that were not sent are one sentence."""
        if not self._unmatched:
            return tuple(self._problems)
        names = list(self._unmatched)
        shown = ", ".join(f"'{name}'" for name in names[:3]) + (", …" if len(names) > 3 else "")
        return (
            *self._problems,
            f"Of the images that the annotations name, {len(names)} were not sent: {shown}.",
        )


def _unique(names: Sequence[str]) -> dict[str, int]:
    """The places of the names that stand there once."""
    counts = Counter(names)
    return {name: index for index, name in enumerate(names) if counts[name] == 1}


def _base(filename: str) -> str:
    if "/" not in filename and "\\" not in filename and filename != ".":
        return filename
    return PurePosixPath(filename.replace("\\", "/")).name
