"""Place: a tree of files that can be listed, read and written, wherever it is."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Final, NamedTuple, Protocol

from app.errors import InvalidRequest

COPIED_AT_ONCE: Final = 1 << 20
_PERMISSIONS: Final = 0o777
"""Kept of a file's mode: a copy that belongs to the service must not run as the service for everybody."""
_READABLE: Final = 0o400
"""What we wrote we can read, whatever the mode of its source."""


class Place(Protocol):
    """A tree of files, named by their paths below it: parts joined with "/", none of them ".", ".." or empty.

    A place can be pickled, and used by several threads at once. Its methods raise OSError with a `strerror`
    for a sentence about this file, InvalidRequest for what is no such path, PlaceRefused for what a symbolic
    link leads out of the places that may be used, and PlaceUnavailable when nothing in it can be had now.
    """

    @property
    def uri(self) -> str:
        """Where it is, for people and for records."""
        ...

    def names(self) -> Iterator[str]:
        """Every file that is whole, in any order, listed as it is asked for."""
        ...

    def read(self, name: str) -> bytes:
        """All bytes of a file."""
        ...

    def open(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """A file for reading piece by piece."""
        ...

    def exists(self, name: str) -> bool:
        """Whether there is a file of this name."""
        ...

    def writing(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """A file that appears when the block ends well and replaces one of its name; else nothing changes.

        Folders are made as needed. It survives a power cut once it is settled.
        """
        ...

    def write(self, name: str, data: bytes, *, mode_of: Path | None = None) -> None:
        """A whole file at once, as `writing`; in a folder it gets the permissions of the file `mode_of`."""
        ...

    def settle(self, names: Sequence[str]) -> None:
        """Make these files, written before, survive a power cut."""
        ...

    def local(self, name: str) -> Path | None:
        """Where the file is, or would be, on this machine's disk; None when it is elsewhere."""
        ...


class Digest(NamedTuple):
    """Of a file's bytes."""

    sha256: str
    bytes: int


def copy(source: Place, name: str, target: Place, target_name: str) -> Digest:
    """Copy a file piece by piece; between folders it keeps its times and permissions.

    Raises what the two places raise. After any error the target is as it was.
    """
    hashing, count = hashlib.sha256(), 0
    with source.open(name) as reading, target.writing(target_name) as writing:
        while part := reading.read(COPIED_AT_ONCE):
            hashing.update(part)
            count += writing.write(part)
        original = source.local(name)
        if original is not None and target.local(target_name) is not None:
            writing.flush()  # or it would change the time when it is closed
            keep_permissions(original, writing)
            _keep_times(original, writing)
    return Digest(hashing.hexdigest(), count)


def digest_of(place: Place, name: str) -> Digest:
    """Read a file piece by piece. Raises what the place raises."""
    hashing, count = hashlib.sha256(), 0
    with place.open(name) as reading:
        while part := reading.read(COPIED_AT_ONCE):
            hashing.update(part)
            count += len(part)
    return Digest(hashing.hexdigest(), count)


def keep_permissions(original: Path, written: IO[bytes]) -> None:
    """Give a file that is being written here the permissions of another one. Raises OSError."""
    wanted = original.stat().st_mode & _PERMISSIONS | _READABLE
    if os.fstat(written.fileno()).st_mode & _PERMISSIONS != wanted:  # a change costs more than a look
        Path(written.name).chmod(wanted)


def _keep_times(original: Path, written: IO[bytes]) -> None:
    seen = original.stat()
    os.utime(written.name, ns=(seen.st_atime_ns, seen.st_mtime_ns))


def checked(name: str) -> str:
    """The name, which must be a path below a place. Raises InvalidRequest."""
    if "\0" in name or not {"", ".", ".."}.isdisjoint(name.split("/")):
        raise InvalidRequest(f"{name!r} is no path of a file in a set.")
    return name
