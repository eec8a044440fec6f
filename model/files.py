"""Files that appear whole or not at all, and that a power cut does not take back."""

import ctypes
import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

DISK_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
"""Codes of an OSError that goes away when somebody makes room."""
PARTIAL_SUFFIX: Final = ".simtrue-partial"
"""Ends the name of everything that is not finished; such files are never read."""
_RANDOM_BYTES: Final = 8


@contextmanager
def appearing(target: Path) -> Iterator[IO[bytes]]:
    """A file that takes its name when the block ends well, and is then on the disk together with its name.

    Folders are made as needed. After any error nothing is left and a file of that name is as it was. Raises
    OSError.
    """
    make_folder(target.parent)
    with named_at_the_end(target) as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    sync_folder(target.parent)


@contextmanager
def named_at_the_end(target: Path) -> Iterator[IO[bytes]]:
    """As `appearing`, in a folder that is there, but a power cut soon after may take the file back or cut it.

    Several processes may write the same file at once: one of them comes last.
    """
    partial = target.with_name(f"{partial_key(target)[1]}{secrets.token_hex(_RANDOM_BYTES)}{PARTIAL_SUFFIX}")
    try:
        with partial.open("wb") as file:
            yield file
        partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def partial_key(path: Path) -> tuple[Path, str]:
    """The same for a file and for what a killed writer of it may have left."""
    if path.name.endswith(PARTIAL_SUFFIX):
        return path.parent, path.name[: -len(PARTIAL_SUFFIX) - 2 * _RANDOM_BYTES]
    return path.parent, f".{path.name[:40]}."


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, so that a power cut does not take them back."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file_system(folder: Path) -> None:
    """Bring all that is on the file system of a folder to the disk, many files at once. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
        if syncfs is None:  # no Linux
            os.sync()
        elif syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(folder))
    finally:
        os.close(descriptor)
