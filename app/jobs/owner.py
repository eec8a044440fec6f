"""Who drives jobs: a name of its own for every process, and a lock by which others here see it die."""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def _host() -> str:
    return socket.gethostname().replace("/", "-")[:200]


@contextmanager
def owner_name(folder: Path) -> Iterator[str]:
    """A name that no other process ever has; its file in `folder` is locked as long as this process lives."""
    name = f"{_host()}:{os.getpid()}:{secrets.token_hex(8)}"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    with path.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            yield name
        finally:
            path.unlink(missing_ok=True)


def is_known_dead(folder: Path, name: str) -> bool:
    """Whether an owner is gone for certain: one of this machine whose lock is free. Others may be, too.

    The kernel frees the lock at the very end of a process, however it ends.
    """
    if name.partition(":")[0] != _host():
        return False
    try:
        with (folder / name).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    (folder / name).unlink(missing_ok=True)
    return True
