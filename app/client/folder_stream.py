"""A folder as a tar archive that is made while it is sent: nothing is stored, and memory does not grow."""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from app.datasets.folder_place import LINK_TO_FOLDER, FolderPlace
from app.errors import InvalidRequest

PIECE_BYTES: Final = 1 << 20
_BLOCK: Final = 512
_END: Final = bytes(2 * _BLOCK)


class FolderStream:
    """The files below a folder; links to files are followed, those to folders are refused.

    bytes: of the whole archive, known before it is made, so that a service can refuse what is too large for
    it. Iterating makes it anew each time, and raises InvalidRequest when the folder has changed meanwhile.
    """

    def __init__(self, folder: Path) -> None:
        """Look at every file once. Raises InvalidRequest for what cannot be sent, and OSError."""
        self._folder = folder
        self._place = FolderPlace(folder)
        self.files, self.bytes = 0, len(_END)
        for name in self._place.names():
            size = self._size(name)
            self.files += 1
            self.bytes += len(_header(name, size)) + size + -size % _BLOCK
        if not self.files:
            raise InvalidRequest(f"There are no files in {folder}.")

    def __iter__(self) -> Iterator[bytes]:
        left = self.bytes
        for piece in self._pieces():
            left -= len(piece)
            if left < 0:
                raise self._changed()
            yield piece
        if left:
            raise self._changed()

    def _pieces(self) -> Iterator[bytes]:
        for name in self._place.names():
            with self._place.open(name) as file:
                size = left = os.fstat(file.fileno()).st_size
                yield _header(name, size)
                while left:
                    piece = file.read(min(PIECE_BYTES, left))
                    if not piece:
                        raise self._changed()
                    left -= len(piece)
                    yield piece
                yield bytes(-size % _BLOCK)
        yield _END

    def _size(self, name: str) -> int:
        status = (self._folder / name).stat()
        if stat.S_ISDIR(status.st_mode):
            raise InvalidRequest(f"{self._folder / name} cannot be sent: {LINK_TO_FOLDER}.")
        if not stat.S_ISREG(status.st_mode):
            raise InvalidRequest(f"{self._folder / name} is no regular file and cannot be sent.")
        return status.st_size

    def _changed(self) -> InvalidRequest:
        return InvalidRequest(f"Files in {self._folder} changed while they were sent; no job was made.")


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    try:
        name.encode()
    except UnicodeEncodeError:
        raise InvalidRequest(f"The name {name!a} is not UTF-8, and cannot be sent.") from None
    return info.tobuf(tarfile.PAX_FORMAT)
