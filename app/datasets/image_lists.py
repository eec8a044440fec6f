"""Text files that list images, a line each (train.txt, VOC's ImageSets), without those that were dropped."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Self

from app.datasets.manifest import Entry

_FIRST = re.compile(rb"[^\s,;]+")


@dataclass(frozen=True)
class Dropped:
    """How the dropped images of each variant may be named, where no image that was kept is named so.

    names: ends of their paths below the set. paths: those paths themselves, which a list may give the end of.
    """

    names: tuple[frozenset[str], ...]
    paths: tuple[frozenset[str], ...]

    def has(self, named: str, variant: int) -> bool:
        """Whether a list of this variant names a dropped image."""
        return named in self.names[variant] or not self.paths[variant].isdisjoint(_ends(named))

    @classmethod
    def among(cls, entries: Iterable[Entry], variants: int) -> Self:
        """Of all entries of a set; an image may be named by any end of its path, with suffix or without."""
        dropped: list[set[str]] = [set() for _ in range(variants)]
        kept: list[set[str]] = [set() for _ in range(variants)]
        whole: list[set[str]] = [set() for _ in range(variants)]
        for entry in entries:
            if entry.refined is None:
                continue
            variant = entry.refined.variant
            (dropped if entry.action == "dropped" else kept)[variant].update(_ends(entry.path))
            if entry.action == "dropped":
                whole[variant].update((entry.path, PurePosixPath(entry.path).with_suffix("").as_posix()))
        names = tuple(frozenset(gone - left) for gone, left in zip(dropped, kept, strict=True))
        return cls(names, tuple(map(frozenset, whole)))


def without_dropped(text: bytes, entry: Entry, dropped: Dropped) -> tuple[bytes, int]:
    """The list without the lines that name a dropped image, whole or by their first word, and how many those
    are.

    entry: of the list itself; its folder `variant-i` tells which variant's images are meant. All other bytes
    stay as they are.
    """
    variant = _variant(entry, len(dropped.names))
    lines = text.splitlines(keepends=True)
    left = [line for line in lines if not any(dropped.has(named, variant) for named in _named(line))]
    return b"".join(left), len(lines) - len(left)


def _named(line: bytes) -> Iterator[str]:
    """What a line may name: a path may have spaces, and behind it labels may stand."""
    whole = line.removeprefix(codecs.BOM_UTF8).strip()
    word = _FIRST.search(whole)
    if word is None:
        return
    for named in {whole, word.group()}:
        text = named.decode("utf-8", "surrogateescape").strip("\"'").replace("\\", "/")
        yield text.removeprefix("./")


def _variant(entry: Entry, variants: int) -> int:
    return int(entry.result.partition("/")[0].removeprefix("variant-")) if variants > 1 else 0


def _ends(path: str) -> Iterable[str]:
    """`a/b/c.png` → itself, `b/c.png`, `c.png`, and each without its suffix."""
    parts = PurePosixPath(path.lstrip("/")).parts
    for start in range(len(parts)):
        end = PurePosixPath(*parts[start:])
        yield end.as_posix()
        yield end.with_suffix("").as_posix()
