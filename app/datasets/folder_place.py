"""FolderPlace: a folder on this machine, or one that it shares with others."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from app.datasets.place import checked, keep_permissions
from app.errors import NoSuchPlace, PlaceRefused
from model.files import PARTIAL_SUFFIX, make_folder, named_at_the_end, sync_folder

LINK_TO_FOLDER: Final = "it is a link to a folder, which is not followed; put the folder itself there"
_SETTLING_THREADS: Final = 16
"""256 files of 60 kB on ext4: one by one 1.4 s, by 16 threads 0.07 s, by syncfs 0.02 s; but beside 1 GB that
somebody else had just written, by 16 threads still 0.07 s and by syncfs 0.5 s."""


@dataclass(frozen=True)
class FolderPlace:
    """The files below a folder, through symbolic links to files, but not to folders: those are listed and
    cannot be read, so that what lies behind them is not lost in silence.

    within: resolved folders; what lies outside of all of them, behind symbolic links, is neither read nor
    written (PlaceRefused). None where whoever put the links there is trusted.
    """

    folder: Path
    within: tuple[Path, ...] | None = None

    @property
    def uri(self) -> str:
        """`file:///…`, percent-encoded."""
        return self.folder.absolute().as_uri()

    def names(self) -> Iterator[str]:
        """Every file that is whole; memory grows with the depth only."""
        return (name for name in self._files() if not name.endswith(PARTIAL_SUFFIX))

    def partials(self) -> Iterator[Path]:
        """Files that are being written, or never became whole because their writer was killed."""
        if not self.folder.is_dir():
            return iter(())
        return (self.folder / name for name in self._files() if name.endswith(PARTIAL_SUFFIX))

    def _files(self) -> Iterator[str]:
        try:
            open_folders = [(os.scandir(self.folder), "")]
        except (FileNotFoundError, NotADirectoryError):
            raise NoSuchPlace(f"There is no folder {self.folder}.") from None
        try:
            while open_folders:
                entries, above = open_folders[-1]
                entry = next(entries, None)
                if entry is None:
                    open_folders.pop()[0].close()
                elif entry.is_dir(follow_symlinks=False):
                    open_folders.append((os.scandir(entry.path), f"{above}{entry.name}/"))
                else:
                    yield above + entry.name
        finally:
            for entries, _ in open_folders:
                entries.close()

    def read(self, name: str) -> bytes:
        """All bytes of a file."""
        with self.open(name) as file:
            return file.read()

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """A regular file; nothing else is read, and nothing outside of `within`."""
        path = self._path(name)
        if path.is_dir():
            self._refuse_outside(path, name)
            raise OSError(errno.EISDIR, LINK_TO_FOLDER.capitalize(), str(path))
        with open(path, "rb", opener=_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise OSError(errno.EINVAL, "It is no regular file", file.name)
            if self.within is not None:
                self._refuse_outside(_path_of_opened(file), name)
            yield file

    def exists(self, name: str) -> bool:
        """Whether there is a regular file of this name, inside of `within`."""
        path = self._path(name)
        return path.is_file() and self._is_inside(path)

    @contextmanager
    def writing(self, name: str) -> Iterator[IO[bytes]]:
        """A file that appears when the block ends well."""
        path = self._path(name)
        self._refuse_outside(path.parent, name)
        if not path.parent.is_dir():
            make_folder(self.folder)
            path.parent.mkdir(parents=True, exist_ok=True)
        with named_at_the_end(path) as file:
            yield file

    def write(self, name: str, data: bytes, *, mode_of: Path | None = None) -> None:
        """A whole file at once, with the permissions of `mode_of`."""
        with self.writing(name) as file:
            file.write(data)
            if mode_of is not None:
                keep_permissions(mode_of, file)

    def settle(self, names: Sequence[str]) -> None:
        """Bring files and the names of their folders to the disk."""
        folders = {
            folder for name in _one_in_each_folder(names) for folder in self._folders_of(self._path(name))
        }
        parts = [names[start::_SETTLING_THREADS] for start in range(min(_SETTLING_THREADS, len(names)))]
        with ThreadPoolExecutor(max(len(parts), 1)) as threads:
            for _ in threads.map(self._sync_files, parts):
                pass
            for _ in threads.map(sync_folder, folders):
                pass

    def local(self, name: str) -> Path:
        """The path, resolved where `within` says how far links may lead."""
        path = self._path(name)
        if self.within is None:
            return path
        self._refuse_outside(path, name)
        return path.resolve()

    def _sync_files(self, names: Sequence[str]) -> None:
        for name in names:
            _sync_file(self._path(name))

    def _path(self, name: str) -> Path:
        return self.folder / checked(name)

    def _folders_of(self, path: Path) -> Iterator[Path]:
        """From the file's own folder up to the place."""
        for folder in path.parents:
            yield folder
            if folder == self.folder:
                return

    def _refuse_outside(self, path: Path, name: str) -> None:
        if not self._is_inside(path):
            raise PlaceRefused(f"A symbolic link leads {name!r} out of the folders that may be used.")

    def _is_inside(self, path: Path) -> bool:
        return self.within is None or is_below(path, self.within)


def is_below(path: Path, folders: Sequence[Path]) -> bool:
    """Whether a path, with its symbolic links resolved, is one of these resolved folders or below one."""
    real = Path(os.path.realpath(path))
    return any(real.is_relative_to(folder) for folder in folders)


def _one_in_each_folder(names: Sequence[str]) -> Iterable[str]:
    return {name.rpartition("/")[0]: name for name in names}.values()


def _at_once(path: str, flags: int) -> int:
    """Open without waiting for the other end of a pipe."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _path_of_opened(file: IO[bytes]) -> Path:
    """Where an open file really is: a link that is changed between looking and opening gains nothing."""
    try:
        return Path(f"/proc/self/fd/{file.fileno()}").readlink()
    except OSError:  # no Linux: the name that was opened, looked at again
        return Path(file.name)


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
