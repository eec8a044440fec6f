"""What macOS puts beside the files of others, under their names: neither pictures nor annotations."""

from __future__ import annotations

from pathlib import PurePosixPath


def is_shadow(path: PurePosixPath) -> bool:
    """Whether the file at this path of a set holds what another disk has no place for."""
    return path.name.startswith("._") or "__MACOSX" in path.parts
