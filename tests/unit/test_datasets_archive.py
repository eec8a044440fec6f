"""Archives come out whole or are refused by name; nothing is ever written outside the folder."""

from __future__ import annotations

import gzip
import io
import resource
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest
import zstandard

from app.datasets.archive import ArchiveLimits, kind_of, unpack
from app.errors import InvalidArchive

FILES = {"a.png": b"\x89PNG" * 100, "images/train/ä b.png": b"x" * 3_000_000, "labels/empty.txt": b""}


def make_zip(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images/", b"")
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def make_tar(files: dict[str, bytes], kind: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=kind) as archive:
        folder = tarfile.TarInfo("./images")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def make_gz(files: dict[str, bytes]) -> bytes:
    return gzip.compress(make_tar(files))


def make_zst(files: dict[str, bytes]) -> bytes:
    return zstandard.compress(make_tar(files, tarfile.GNU_FORMAT))


MAKERS = {"zip": make_zip, "tar": make_tar, "tar.gz": make_gz, "tar.zst": make_zst}


def unpacked(tmp_path: Path, data: bytes, limits: ArchiveLimits | None = None) -> dict[str, bytes]:
    archive, into = tmp_path / "set.bin", tmp_path / "jail" / "into"
    archive.write_bytes(data)
    into.mkdir(parents=True)
    count = unpack(archive, into, limits)
    found = {p.relative_to(into).as_posix(): p.read_bytes() for p in into.rglob("*") if p.is_file()}
    assert count == len(found)
    return found


def refusal(tmp_path: Path, data: bytes, limits: ArchiveLimits | None = None) -> str:
    """The sentence, after which nothing lies outside the folder and nothing but files and folders inside."""
    with pytest.raises(InvalidArchive) as refused:
        unpacked(tmp_path, data, limits)
    assert {path.name for path in tmp_path.iterdir()} == {"set.bin", "jail"}
    assert [path.name for path in (tmp_path / "jail").iterdir()] == ["into"]
    inside = list((tmp_path / "jail").rglob("*"))
    assert all((path.is_file() or path.is_dir()) and not path.is_symlink() for path in inside)
    return refused.value.detail


@pytest.mark.parametrize("kind", MAKERS)
def test_every_file_comes_out_as_it_went_in(tmp_path: Path, kind: str) -> None:
    data = MAKERS[kind](FILES)
    assert unpacked(tmp_path, data) == FILES
    assert kind_of(tmp_path / "set.bin") == kind


def test_bytes_that_are_no_archive_are_refused(tmp_path: Path) -> None:
    assert "is no zip, tar, tar.gz or tar.zst archive" in refusal(tmp_path, b"\x89PNG\r\n")


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("../evil", "leads out of it: '../evil'"),
        ("a/../../evil", "leads out of it"),
        ("/etc/evil", "absolute path: '/etc/evil'"),
        ("C:/evil", "absolute path"),
        ("a\\..\\evil", "backslash"),
        ("a\nb", r"control characters: 'a\nb'"),
        ("x" * 300, "too long"),
        ("/".join("d" * 70) + "/a", "too long"),
    ],
)
def test_names_that_lead_elsewhere_are_refused_by_name(
    tmp_path: Path, kind: str, name: str, sentence: str
) -> None:
    assert sentence in refusal(tmp_path, MAKERS[kind]({"good.png": b"1", name: b"2"}))


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["a.png", "A.PNG"], "differ only in case"),
        (["A/a.png", "a/b.png"], "differ only in case"),
        (["a", "a/b"], "both as a file and as a folder"),
        (["a/b", "a"], "both as a file and as a folder"),
        (["a/b", "a/./b"], "twice"),
    ],
)
def test_names_that_collide_are_refused(tmp_path: Path, kind: str, names: list[str], sentence: str) -> None:
    assert sentence in refusal(tmp_path, MAKERS[kind](dict.fromkeys(names, b"1")))


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_the_same_name_twice_is_refused(tmp_path: Path, kind: str) -> None:
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("a.png", b"1")
            archive.writestr("a.png", b"2")
    else:
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for _ in range(2):
                tar.addfile(tarfile.TarInfo("a.png"))
    assert "has 'a.png' twice" in refusal(tmp_path, buffer.getvalue())


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_in_a_tar_are_refused(tmp_path: Path, kind: bytes) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("link.png")
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    assert "neither a file nor a folder: 'link.png'" in refusal(tmp_path, buffer.getvalue())


def test_links_in_a_zip_are_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo("link.png")
        info.create_system, info.external_attr = 3, 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    assert "neither a file nor a folder: 'link.png'" in refusal(tmp_path, buffer.getvalue())


def test_encrypted_entries_are_refused(tmp_path: Path) -> None:
    data = bytearray(make_zip({"a.png": b"1"}))
    central = data.rindex(b"PK\x01\x02")
    data[central + 8] |= 1
    assert "encrypted entry: 'a.png'" in refusal(tmp_path, bytes(data))


def test_names_that_are_not_utf8_are_refused_and_those_that_only_do_not_say_so_are_read(
    tmp_path: Path,
) -> None:
    def named(raw: bytes) -> bytes:
        return make_zip({"x" * len(raw): b"1"}).replace(b"x" * len(raw), raw)

    assert list(unpacked(_folder(tmp_path / "one"), named("ä.png".encode()), None)) == ["ä.png"]
    assert "not UTF-8" in refusal(_folder(tmp_path / "two"), named(b"\xe4\xe4\xe4.png"))
    tar = make_tar({"xxx.png": b"1"}, tarfile.GNU_FORMAT)
    header = tar.index(b"xxx.png")
    broken = bytearray(tar)
    broken[header : header + 3] = b"\xe4\xff\xe4"
    start = header
    broken[start + 148 : start + 156] = b" " * 8
    broken[start + 148 : start + 156] = b"%06o\0 " % sum(broken[start : start + 512])
    assert "not UTF-8" in refusal(_folder(tmp_path / "three"), bytes(broken))


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


@pytest.mark.parametrize("kind", MAKERS)
def test_an_archive_that_is_cut_off_is_refused(tmp_path: Path, kind: str) -> None:
    whole = MAKERS[kind]({"a.png": bytes(range(256)) * 40, "b.png": bytes(range(256)) * 40})
    # Tars end in padding; what is cut must be more than that.
    length = len(whole) if kind != "tar" else 512 + 2 * (512 + 10240)
    for number, part in enumerate((0.3, 0.6, 0.95)):
        folder = _folder(tmp_path / str(number))
        said = refusal(folder, whole[: int(length * part)])
        assert "broken or cut off" in said or "its end is missing" in said or "is no zip" in said


def test_a_tar_cut_between_two_entries_is_refused(tmp_path: Path) -> None:
    whole = make_tar({"a.png": b"1" * 512, "b.png": b"2" * 512})
    assert "its end is missing" in refusal(tmp_path, whole[: 512 + 1024])


@pytest.mark.parametrize("kind", MAKERS)
def test_bombs_are_refused_before_they_fill_the_disk(tmp_path: Path, kind: str) -> None:
    limits = ArchiveLimits(max_bytes=5_000_000)
    assert "unpacks to more than 5000000 bytes, at 'b.png'" in refusal(
        tmp_path, MAKERS[kind]({"a.png": b"0" * 3_000_000, "b.png": b"0" * 3_000_000}), limits
    )
    assert sum(path.stat().st_size for path in (tmp_path / "jail").rglob("*") if path.is_file()) <= 5_000_000


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.zst"])
def test_what_unpacks_to_far_more_than_it_is_is_refused(tmp_path: Path, kind: str) -> None:
    data = MAKERS[kind]({"a.png": bytes(100_000_000)})
    assert "unpacks to more than" in refusal(tmp_path, data)


@pytest.mark.parametrize("kind", MAKERS)
def test_too_many_entries_are_refused(tmp_path: Path, kind: str) -> None:
    data = MAKERS[kind]({f"{index}.txt": b"" for index in range(50)})
    assert "more than 20 entries" in refusal(tmp_path, data, ArchiveLimits(max_entries=20))


def test_a_sparse_tar_counts_with_all_its_zeros(tmp_path: Path) -> None:
    info = tarfile.TarInfo("a.png")
    info.type, info.size = tarfile.GNUTYPE_SPARSE, 0
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[483:495] = b"%011o\0" % (4 << 30)  # the size it claims
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    assert "unpacks to more than" in refusal(tmp_path, bytes(header) + bytes(1024))


def test_long_headers_are_refused_before_they_are_read(tmp_path: Path) -> None:
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 5 << 30
    said = refusal(tmp_path, info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    assert f"has a header of {5 << 30} bytes" in said


def test_a_zip_whose_directory_claims_to_be_huge_is_refused(tmp_path: Path) -> None:
    data = bytearray(make_zip({"a.png": b"1"}))
    end = data.rindex(b"PK\x05\x06")
    data[end + 12 : end + 16] = struct.pack("<I", 1 << 31)
    assert "broken" in refusal(tmp_path, bytes(data))


def test_archives_inside_the_archive_stay_closed(tmp_path: Path) -> None:
    inner = make_zip({"../evil": b"1"})
    assert unpacked(tmp_path, make_zip({"inner.zip": inner})) == {"inner.zip": inner}


def test_memory_stays_flat_however_large_the_files(tmp_path: Path) -> None:
    small, large = (make_gz({"a.bin": bytes(range(256)) * (count * 4096)}) for count in (1, 60))
    limits = ArchiveLimits(max_ratio=1e6)
    unpacked(_folder(tmp_path / "small"), small, limits)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    archive, into = tmp_path / "large.bin", _folder(tmp_path / "large")
    archive.write_bytes(large)
    unpack(archive, into, limits)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < 30  # MiB, of 60
