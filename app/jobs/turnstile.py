"""The turnstile before SQLite's one writer: whoever waits to write is next, however fast others come back."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.errors import LedgerUnavailable

_POLL_S = 0.002


class Turnstile:
    """A lock on a file, which one holds from when one begins to wait until one writes, not while one does.

    SQLite lets waiting writers look every tenth of a second whether nobody writes. A process that writes
    without pause, as one that refines does, would leave them a millisecond in which to look, and they would
    give up after half a minute. Here it has to wait itself until the one that holds the turnstile has begun.
    """

    def __init__(self, path: Path, timeout_s: float) -> None:
        self._path = path
        self._timeout_s = timeout_s

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Be the one that waits. Raises LedgerUnavailable when others wait too long, or there is no file."""
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise _unavailable(f"{self._path} cannot be opened: {error.strerror}") from error
        try:
            self._lock(descriptor)
            yield
        finally:
            os.close(descriptor)

    def _lock(self, descriptor: int) -> None:
        until = time.monotonic() + self._timeout_s
        while time.monotonic() <= until:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(_POLL_S)
            else:
                return
        raise _unavailable(f"others waited to write for {self._timeout_s:g} s")


def _unavailable(reason: str) -> LedgerUnavailable:
    return LedgerUnavailable("The ledger of jobs cannot be written right now; try again.", reason)
