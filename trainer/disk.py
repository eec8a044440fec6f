"""Owns writing to the disk: files that appear whole or not at all, and a full disk told in a sentence."""

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from model.files import appearing
from trainer.errors import DiskFullError, RunFolderError


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


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Let `write` fill a file that appears when it is whole; what the operating system refuses is told."""
    with telling(path), appearing(path) as file:
        write(file)
