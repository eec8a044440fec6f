"""Archives from outside, unpacked where they can do no harm: zip, tar, tar.gz, tar.zst, told by their bytes.

Whatever could leave the folder, fill the disk or exhaust memory is refused by name, before or while it is
unpacked: nothing but plain files and folders ever comes out, none of them outside, and what was unpacked
until a refusal is the caller's to throw away. Archives inside the archive are files like any other.
"""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Literal, Self, cast

import zstandard

from app.errors import InvalidArchive

Kind = Literal["zip", "tar", "tar.gz", "tar.zst"]

COPIED_AT_ONCE: Final = 1 << 20
LONGEST_NAME_BYTES: Final = 1024
LONGEST_PART_BYTES: Final = 255
DEEPEST: Final = 64
MOST_READ_AT_ONCE: Final = 128 << 20
"""Bytes of a zip's directory, which is held in memory: some million entries."""
LONGEST_TAR_TABLE_BYTES: Final = 1 << 20
UNSUSPECTED_BYTES: Final = 64 << 20
"""Unpacked size up to which no ratio is suspicious."""


@dataclass(frozen=True)
class ArchiveLimits:
    """How large what comes out may be."""

    max_entries: int = 2_000_000
    max_bytes: int = 1 << 40
    """Of all files together, unpacked."""
    max_ratio: float = 200.0
    """Unpacked over packed; images hardly shrink, and even flat masks stay below it as a set."""


@dataclass(frozen=True)
class _Entry:
    """One entry before it is unpacked: its name as it stands there, and how to read it."""

    name: str
    is_folder: bool
    open: Callable[[], IO[bytes]]


def kind_of(path: Path) -> Kind | None:
    """What kind of archive a file is, by its first bytes; None for no archive. Raises OSError."""
    with path.open("rb") as file:
        start = file.read(512)
    if start[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return "zip"
    if start[:2] == b"\x1f\x8b":
        return "tar.gz"
    if start[:4] == b"\x28\xb5\x2f\xfd":
        return "tar.zst"
    return "tar" if start[257:262] == b"ustar" else None


def unpack(
    archive: Path, into: Path, limits: ArchiveLimits | None = None, *, called: str | None = None
) -> int:
    """Unpack an archive into an empty folder; returns how many files came out.

    called: its name for people, where that of the file is another.
    Memory stays flat whatever the sizes. Raises InvalidArchive with a sentence that names the entry, and
    OSError (a full disk).
    """
    limits, name = limits or ArchiveLimits(), _shown(called or archive.name)
    kind = kind_of(archive)
    if kind is None:
        raise InvalidArchive(f"{name} is no zip, tar, tar.gz or tar.zst archive.")
    unpacking = _Unpacking(into, limits, archive.stat().st_size)
    try:
        with _entries(archive, kind) as entries:
            for entry in entries:
                unpacking.take(entry)
    except _RefusedError as refused:
        raise InvalidArchive(f"The archive {name} {refused}.") from refused
    except (
        zipfile.BadZipFile,
        tarfile.TarError,
        zlib.error,
        zstandard.ZstdError,
        EOFError,
        gzip.BadGzipFile,
        NotImplementedError,
        RuntimeError,
        UnicodeError,
        ValueError,
    ) as error:
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise InvalidArchive(f"The archive {name} is broken or cut off: {said}.") from error
    return unpacking.files


class _RefusedError(Exception):
    """Why an archive is refused, as the rest of a sentence about it."""


class _Unpacking:
    """Writes entries below a folder and counts what came out."""

    def __init__(self, into: Path, limits: ArchiveLimits, packed_bytes: int) -> None:
        self.files = 0
        self._into, self._limits = into, limits
        self._entries = self._bytes = 0
        self._most = min(limits.max_bytes, UNSUSPECTED_BYTES + int(limits.max_ratio * packed_bytes))
        self._seen: dict[int, int] = {}
        """Hash of a case-folded path → hash of it as spelled, with 1 in its lowest bit for a folder. Two
        paths of one hash would be refused wrongly: once in 10^6 archives of two million entries."""

    def take(self, entry: _Entry) -> None:
        self._entries += 1
        if self._entries > self._limits.max_entries:
            raise _RefusedError(f"has more than {self._limits.max_entries} entries")
        parts = _parts(entry.name)
        if not parts:
            return  # the folder itself, which tar likes to list
        for depth in range(1, len(parts)):
            self._claim(parts[:depth], entry.name, is_folder=True)
        self._claim(parts, entry.name, is_folder=entry.is_folder)
        target = self._into.joinpath(*parts)
        if entry.is_folder:
            target.mkdir(parents=True, exist_ok=True)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as writing, entry.open() as reading:
            while part := reading.read(COPIED_AT_ONCE):
                self._bytes += len(part)
                if self._bytes > self._most:
                    raise _RefusedError(f"unpacks to more than {self._most} bytes, at {_shown(entry.name)}")
                writing.write(part)
        self.files += 1

    def _claim(self, parts: tuple[str, ...], name: str, *, is_folder: bool) -> None:
        """Refuse a second file of one name, also where only the case differs; folders may be named often."""
        path = "/".join(parts)
        spelled = (hash(path) & ~1) | is_folder
        known = self._seen.setdefault(hash(path.casefold()), spelled)
        if (known | 1) != (spelled | 1):
            raise _RefusedError(f"has two names that differ only in case: {_shown(name)} is one")
        if known != spelled:
            raise _RefusedError(f"has {_shown(name)} both as a file and as a folder")
        if not is_folder and self._into.joinpath(*parts).exists():
            raise _RefusedError(f"has {_shown(name)} twice")


def _parts(name: str) -> tuple[str, ...]:
    """The parts of a path below the folder; refuses whatever is none."""
    if "\0" in name or any(ord(letter) < 32 or ord(letter) == 127 for letter in name):
        raise _RefusedError(f"has a name with control characters: {_shown(name)}")
    try:
        size = len(name.encode("utf-8"))
    except UnicodeEncodeError:
        raise _RefusedError(f"has a name that is not UTF-8: {_shown(name)}") from None
    if "\\" in name:
        raise _RefusedError(f"has a name with a backslash: {_shown(name)}")
    if name.startswith("/") or (len(name) > 1 and name[1] == ":" and name[0].isalpha()):
        raise _RefusedError(f"has an absolute path: {_shown(name)}")
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if ".." in parts:
        raise _RefusedError(f"has a path that leads out of it: {_shown(name)}")
    longest = max((len(part.encode()) for part in parts), default=0)
    if size > LONGEST_NAME_BYTES or longest > LONGEST_PART_BYTES or len(parts) > DEEPEST:
        raise _RefusedError(f"has a path that is too long: {_shown(name)}")
    return parts


def _shown(name: str) -> str:
    """A name for a sentence, escaped and cut."""
    return ascii(name if len(name) <= 100 else name[:97] + "...")


@contextmanager
def _entries(archive: Path, kind: Kind) -> Iterator[Iterator[_Entry]]:
    with ExitStack() as stack:
        file: IO[bytes] = stack.enter_context(archive.open("rb"))
        if kind == "zip":
            reader = stack.enter_context(zipfile.ZipFile(_Bounded(file)))
            yield _zip_entries(reader)
            return
        if kind == "tar.gz":
            file = cast(IO[bytes], stack.enter_context(gzip.GzipFile(fileobj=file)))
        elif kind == "tar.zst":
            file = stack.enter_context(
                zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(
                    file, read_across_frames=True
                )
            )
        tar = stack.enter_context(tarfile.open(fileobj=file, mode="r|", tarinfo=_TarInfo))
        yield _tar_entries(tar)


def _zip_entries(archive: zipfile.ZipFile) -> Iterator[_Entry]:
    for info in archive.infolist():
        name = _zip_name(info)
        kind = (info.external_attr >> 16) & 0o170000
        if info.flag_bits & 0x1:
            raise _RefusedError(f"has an encrypted entry: {_shown(name)}")
        if kind not in (0, 0o100000, 0o040000):
            raise _RefusedError(f"has an entry that is neither a file nor a folder: {_shown(name)}")
        yield _Entry(name, info.is_dir(), lambda info=info: archive.open(info))  # type: ignore[misc]


def _zip_name(info: zipfile.ZipInfo) -> str:
    """The name: UTF-8 where the entry says so, and also where its bytes happen to be, else refused."""
    if info.flag_bits & 0x800 or info.orig_filename.isascii():
        return info.orig_filename
    try:
        return info.orig_filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        raise _RefusedError(f"has a name that is not UTF-8: {_shown(info.orig_filename)}") from None


def _tar_entries(archive: tarfile.TarFile) -> Iterator[_Entry]:
    for info in archive:
        archive.members = []  # type: ignore[attr-defined]  # otherwise every header read so far stays in memory
        if not (info.isreg() or info.isdir()):
            raise _RefusedError(f"has an entry that is neither a file nor a folder: {_shown(info.name)}")
        yield _Entry(info.name, info.isdir(), lambda info=info: _opened(archive, info))  # type: ignore[misc]


class _TarInfo(tarfile.TarInfo):
    """A header that is refused where tarfile would read a long one into memory, or take a cut for the end."""

    _TABLES: Final = frozenset(
        {
            tarfile.GNUTYPE_LONGNAME,
            tarfile.GNUTYPE_LONGLINK,
            tarfile.XHDTYPE,
            tarfile.XGLTYPE,
            tarfile.SOLARIS_XHDTYPE,
        }
    )

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tarfile_)
        except (tarfile.EmptyHeaderError, tarfile.TruncatedHeaderError):  # type: ignore[attr-defined]
            raise _RefusedError("is cut off: its end is missing") from None

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in self._TABLES and self.size > LONGEST_TAR_TABLE_BYTES:
            raise _RefusedError(f"has a header of {self.size} bytes, too large to be read")
        return super()._proc_member(archive)  # type: ignore[misc,no-any-return]


def _opened(archive: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    file = archive.extractfile(info)
    assert file is not None, info.name
    return file


class _Bounded(io.RawIOBase):
    """A file of which no more than MOST_READ_AT_ONCE bytes are read at once: headers lie about sizes."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        self._file = file

    def read(self, size: int = -1, /) -> bytes:
        data = self._file.read(min(size, MOST_READ_AT_ONCE + 1) if size >= 0 else MOST_READ_AT_ONCE + 1)
        if len(data) > MOST_READ_AT_ONCE:
            raise _RefusedError(f"has a table of more than {MOST_READ_AT_ONCE} bytes, too large to be read")
        return data

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._file.seekable()

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()
