"""Sets in archives: unpacked before they are refined, packed after, through folders that are gone then."""

from __future__ import annotations

import gzip
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Final, cast

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
        pack(Path(folder), target, kind)


def pack(folder: Path, archive: Path, kind: Kind) -> None:
    """Write all files and empty folders below a folder into an archive; same files, same bytes."""
    with appearing(archive) as file:
        if kind == "zip":
            _pack_zip(folder, file)
        else:
            _pack_tar(folder, file, kind)


def _pack_zip(folder: Path, file: IO[bytes]) -> None:
    with zipfile.ZipFile(file, "w", allowZip64=True) as archive:
        for path in _contents(folder):
            name = path.relative_to(folder).as_posix()
            if path.is_dir():
                archive.writestr(zipfile.ZipInfo(f"{name}/", _LONG_AGO), b"")
                continue
            info = zipfile.ZipInfo(name, _LONG_AGO)
            info.external_attr = 0o100644 << 16
            packed = path.suffix.lower() in _PACKED_ALREADY
            info.compress_type = zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED
            info.file_size = path.stat().st_size  # decides whether the entry needs 64-bit sizes
            with path.open("rb") as reading, archive.open(info, "w") as writing:
                while part := reading.read(COPIED_AT_ONCE):
                    writing.write(part)


def _pack_tar(folder: Path, file: IO[bytes], kind: Kind) -> None:
    with ExitStack() as stack:
        if kind == "tar.gz":
            file = cast(IO[bytes], stack.enter_context(gzip.GzipFile("", "wb", 6, file, mtime=0)))
        elif kind == "tar.zst":
            compressor = zstandard.ZstdCompressor().stream_writer(file, closefd=False)
            file = cast(IO[bytes], stack.enter_context(compressor))
        archive = stack.enter_context(tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT))
        for path in _contents(folder):
            info = tarfile.TarInfo(path.relative_to(folder).as_posix())
            if path.is_dir():
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(info)
                continue
            with path.open("rb") as reading:
                info.size = path.stat().st_size
                archive.addfile(info, reading)
            archive.members = []  # type: ignore[attr-defined]


def _contents(folder: Path) -> Iterator[Path]:
    """Files that are whole and empty folders, in the order of their paths."""
    for path in sorted(folder.rglob("*")):
        if not path.name.endswith(PARTIAL_SUFFIX) and (path.is_file() or not any(path.iterdir())):
            yield path


def _existing(folder: Path) -> Path:
    folder = folder.absolute()
    return next(place for place in (folder, *folder.parents) if place.is_dir())
