"""Owns writing to the disk: files that appear whole or not at all, and a full disk told in a sentence."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from trainer.errors import DiskFullError, RunFolderError

TEMPORARY = ".tmp-"


@contextmanager
def telling(path: Path) -> Iterator[None]:
    """Turn the operating system's refusal to write `path` into DiskFullError or RunFolderError."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(
                f"no space left on the disk for {path}; nothing written before is lost: free some space, "
                "then simtrue-train resume goes on from the last checkpoint"
            ) from error
        raise RunFolderError(f"cannot write {path}: {error.strerror or error}") from error


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a temporary file, bring it to the disk, then name it; on failure nothing stays."""
    temporary = path.with_name(f"{TEMPORARY}{path.name}")
    with telling(path):
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
