"""Sets in archives: unpacked before they are refined, packed after, through folders that are gone then."""

from __future__ import annotations

import gzip
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Final, NamedTuple, cast

import zstandard

from app.datasets.archive import COPIED_AT_ONCE, Kind, kind_of, unpack
from app.errors import InvalidRequest
from model.files import PARTIAL_SUFFIX, appearing

_KIND_OF_SUFFIX: Final[dict[str, Kind]] = {
    ".zip": "zip",
    ".tar": "tar",
    ".tar.gz": "tar.gz",
    ".tgz": "tar.gz",
    ".tar.zst": "tar.zst",
    ".tzst": "tar.zst",
}
_PACKED_ALREADY: Final = frozenset({".png", ".jpg", ".jpeg", ".webp", ".zip", ".gz", ".zst", ".npz"})
"""Files that do not get smaller."""
_LONG_AGO: Final = (1980, 1, 1, 0, 0, 0)
"""The time of every entry, so that the same files give the same archive."""


def kind_for(name: Path) -> Kind | None:
    """The kind of archive that a file of this name should be; None for no archive."""
    lower = name.name.lower()
    return next((kind for suffix, kind in _KIND_OF_SUFFIX.items() if lower.endswith(suffix)), None)


@contextmanager
def opened_set(source: Path, near: Path) -> Iterator[Path]:
    """The folder of a set: itself, or what is in an archive, below `near` (its nearest folder that exists).

    A single image is itself. Raises InvalidArchive, OSError.
    """
    if not source.is_file() or kind_of(source) is None:
        yield source
        return
    with tempfile.TemporaryDirectory(prefix=".simtrue-", dir=_existing(near)) as folder:
        unpack(source, Path(folder))
        yield Path(folder)


@contextmanager
def packed_set(target: Path, *, overwrite: bool, dry_run: bool = False) -> Iterator[Path]:
    """A folder for the results: the target itself, or for an archive's name one that is packed at the end.

    The archive appears when it is whole; after an error in the block there is none. Raises InvalidRequest
    when it exists and is not to be replaced, and OSError. A dry run gets the path of a folder that is not
    there, and nothing is packed.
    """
    kind = None if target.is_dir() else kind_for(target)
    if kind is None:
        yield target
        return
    if target.exists() and not overwrite:
        raise InvalidRequest(f"{target} exists already; --overwrite replaces it.")
    if dry_run:
        yield target.with_name(f".{target.name}.simtrue")
        return
    with tempfile.TemporaryDirectory(prefix=".simtrue-", dir=_existing(target.parent)) as folder:
        yield Path(folder)
        pack(members_of(Path(folder)), target, kind)


class Member(NamedTuple):
    """A file to be packed, `size` in bytes; without `open`, an empty folder."""

    name: str
    size: int = 0
    open: Callable[[], AbstractContextManager[IO[bytes]]] | None = None


def pack(members: Iterable[Member], archive: Path, kind: Kind) -> None:
    """Write files into an archive, in their order; same files, same bytes."""
    with appearing(archive) as file:
        if kind == "zip":
            _pack_zip(members, file)
        else:
            _pack_tar(members, file, kind)


def members_of(folder: Path) -> Iterator[Member]:
    """Files that are whole and empty folders below a folder, in the order of their paths."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not path.name.endswith(PARTIAL_SUFFIX):
            yield Member(name, path.stat().st_size, _opening(path))
        elif path.is_dir() and not any(path.iterdir()):
            yield Member(name)


def _opening(path: Path) -> Callable[[], IO[bytes]]:
    return lambda: path.open("rb")


def _pack_zip(members: Iterable[Member], file: IO[bytes]) -> None:
    with zipfile.ZipFile(file, "w", allowZip64=True) as archive:
        for member in members:
            if member.open is None:
                archive.writestr(zipfile.ZipInfo(f"{member.name}/", _LONG_AGO), b"")
                continue
            info = zipfile.ZipInfo(member.name, _LONG_AGO)
            info.external_attr = 0o100644 << 16
            packed = PurePosixPath(member.name).suffix.lower() in _PACKED_ALREADY
            info.compress_type = zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED
            info.file_size = member.size  # decides whether the entry needs 64-bit sizes
            with member.open() as reading, archive.open(info, "w") as writing:
                while part := reading.read(COPIED_AT_ONCE):
                    writing.write(part)


def _pack_tar(members: Iterable[Member], file: IO[bytes], kind: Kind) -> None:
    with ExitStack() as stack:
        if kind == "tar.gz":
            file = cast(IO[bytes], stack.enter_context(gzip.GzipFile("", "wb", 6, file, mtime=0)))
        elif kind == "tar.zst":
            compressor = zstandard.ZstdCompressor().stream_writer(file, closefd=False)
            file = cast(IO[bytes], stack.enter_context(compressor))
        archive = stack.enter_context(tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT))
        for member in members:
            info = tarfile.TarInfo(member.name)
            if member.open is None:
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(info)
                continue
            with member.open() as reading:
                info.size = member.size
                archive.addfile(info, reading)
            archive.members = []  # type: ignore[attr-defined]


def _existing(folder: Path) -> Path:
    folder = folder.absolute()
    return next(place for place in (folder, *folder.parents) if place.is_dir())
