"""Files that appear whole or not at all, and that a power cut does not take back."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final

TEMPORARY: Final = ".tmp-"
"""Begins the name of everything that is not finished; such files are never read."""


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a temporary file beside `path`, bring it to the disk, then name it.

    After any error nothing is left and a file of that name is as it was. Raises OSError, and as `write` does.
    """
    temporary = path.with_name(f"{TEMPORARY}{path.name}")
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
