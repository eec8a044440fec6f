"""Bundle: the results of a chunk in one file.

A file of its own is made, written, renamed and brought to the disk for each image; for a small one that
costs up to as much as refining it, and the disk may run out of room for names.
"""

from __future__ import annotations

import io
import os
import tempfile
import threading
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Final, Self
from urllib.parse import quote

from app.datasets.place import COPIED_AT_ONCE, checked
from app.errors import PlaceUnavailable
from model.files import DISK_FULL, appearing

IN_MEMORY_BYTES: Final = 1 << 20
"""What is written piece by piece is kept in memory up to so much, and beyond that in a file."""


class Bundle:
    """A place whose files are members of one zip, stored as they are; the zip appears when it is settled.

    Without files there is none. For several threads at once. A context manager: what was not settled is gone.
    Raises OSError when the disk is full, and PlaceUnavailable when the bundle cannot be written otherwise.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._open = ExitStack()
        self._zip: zipfile.ZipFile | None = None
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock, suppress(_Discarded):
            self._closed = True
            with self._open:
                raise _Discarded

    @property
    def uri(self) -> str:
        """Of the zip."""
        return self._path.absolute().as_uri()

    def names(self) -> Iterator[str]:
        """Not to be asked: records tell what is in a bundle."""
        raise NotImplementedError

    def read(self, name: str) -> bytes:
        """All bytes of a file of a settled bundle."""
        with self.open(name) as file:
            return file.read()

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """A file of a settled bundle."""
        with zipfile.ZipFile(self._path) as bundle, open_member(bundle, name) as file:
            yield file

    def exists(self, name: str) -> bool:
        """Whether a settled bundle has the file."""
        if not self._path.exists():
            return False
        with zipfile.ZipFile(self._path) as bundle:
            return _member(name) in bundle.NameToInfo

    @contextmanager
    def writing(self, name: str) -> Iterator[IO[bytes]]:
        """A file that is in the bundle when the block ends well."""
        with tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES) as file:
            yield file
            size = file.tell()
            file.seek(0)
            self._add(name, file, size)

    def write(self, name: str, data: bytes, *, mode_of: Path | None = None) -> None:  # noqa: ARG002
        """A whole file at once; permissions are not kept in a bundle."""
        self._add(name, io.BytesIO(data), len(data))

    def settle(self, names: Sequence[str]) -> None:  # noqa: ARG002
        """Bring the whole bundle to the disk under its name, and take nothing more."""
        with self._lock, self._telling():
            self._closed = True
            self._open.close()

    def local(self, name: str) -> None:
        """No file of its own."""

    def _add(self, name: str, file: IO[bytes], size: int) -> None:
        info = zipfile.ZipInfo(_member(checked(name)))
        info.file_size = size  # decides whether the member needs 64-bit sizes
        with self._lock, self._telling(), self._begun().open(info, "w") as member:
            while part := file.read(COPIED_AT_ONCE):
                member.write(part)

    def _begun(self) -> zipfile.ZipFile:
        if self._closed:
            raise PlaceUnavailable("The results of this chunk are closed.")
        if self._zip is None:
            file = self._open.enter_context(appearing(self._path))
            self._zip = self._open.enter_context(zipfile.ZipFile(file, "w"))
        return self._zip

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """What goes wrong here is no fault of the image that is written."""
        try:
            yield
        except OSError as error:
            if error.errno in DISK_FULL:
                raise
            said = error.strerror or str(error)
            raise PlaceUnavailable(f"Results cannot be written to {self._path}: {said}.") from error


class _Discarded(Exception):  # noqa: N818 (it says what happened)
    """Makes a file that was not finished go."""


def bundle_of(results: Path, chunk: int) -> Path:
    """Where the bundle of a chunk is, if that wrote anything."""
    return results / f"{chunk:08}.zip"


@contextmanager
def open_member(bundle: zipfile.ZipFile, name: str) -> Iterator[IO[bytes]]:
    """A file of a bundle. Raises OSError when the bundle does not have it as it was written."""
    try:
        with bundle.open(_member(name)) as file:
            yield file
    except (KeyError, zipfile.BadZipFile) as error:
        raise OSError(None, f"Its bundle is damaged: {error}") from error


def _member(name: str) -> str:
    """Names of files may be no Unicode, those in a zip must be."""
    return quote(os.fsencode(name))
