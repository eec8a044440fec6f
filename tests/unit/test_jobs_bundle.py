"""Bundles: many results in one file, all of them or none."""

from __future__ import annotations

import errno
import os
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.datasets.folder_place import FolderPlace
from app.datasets.place import copy
from app.errors import InvalidRequest, PlaceUnavailable
from app.jobs.bundle import IN_MEMORY_BYTES, Bundle, bundle_of, open_member


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return bundle_of(tmp_path / "result", 7)


@pytest.mark.parametrize("name", ["a.png", "deep/ä b%20.png", os.fsdecode(b"no \xff unicode/\xfe.png")])
def test_what_goes_in_comes_out(path: Path, name: str) -> None:
    with Bundle(path) as bundle:
        bundle.write("before", b"1")
        bundle.write(name, b"data")
        bundle.settle([])

    settled = Bundle(path)
    assert settled.read(name) == b"data"
    assert (settled.exists(name), settled.exists("other")) == (True, False)
    with zipfile.ZipFile(path) as packed, open_member(packed, "before") as file:
        assert file.read() == b"1"


def test_nothing_is_seen_before_it_is_settled_and_nothing_left_if_it_is_not(path: Path) -> None:
    with Bundle(path) as bundle:
        bundle.write("a", b"data")
        assert not path.exists()
        assert not bundle.exists("a")

    assert list(path.parent.iterdir()) == []


def test_a_bundle_that_is_written_again_replaces_the_other(path: Path) -> None:
    for data in (b"first", b"second"):
        with Bundle(path) as bundle:
            bundle.write("a", data)
            bundle.settle([])

    assert Bundle(path).read("a") == b"second"
    assert list(path.parent.iterdir()) == [path]


def test_without_files_there_is_no_bundle(path: Path) -> None:
    with Bundle(path) as bundle:
        bundle.settle([])

    assert not path.parent.exists()


def test_many_threads_write_at_once(path: Path) -> None:
    files = {f"{number}": bytes([number % 251]) * 1000 * (number % 7) for number in range(200)}
    with Bundle(path) as bundle, ThreadPoolExecutor(8) as threads:
        for _ in threads.map(bundle.write, files, files.values()):
            pass
        bundle.settle([])

    assert {name: Bundle(path).read(name) for name in files} == files


@pytest.mark.parametrize("size", [10, IN_MEMORY_BYTES + 10])
def test_a_file_is_copied_piece_by_piece(tmp_path: Path, path: Path, size: int) -> None:
    source = FolderPlace(tmp_path / "source")
    source.write("a", os.urandom(size))
    with Bundle(path) as bundle:
        digest = copy(source, "a", bundle, "below/a")
        bundle.settle([])

    assert (Bundle(path).read("below/a"), digest.bytes) == (source.read("a"), size)


def test_a_file_whose_copying_fails_is_not_in_the_bundle(path: Path) -> None:
    def write_and_fail(bundle: Bundle) -> None:
        with bundle.writing("half") as file:
            file.write(b"da")
            raise LookupError

    with Bundle(path) as bundle:
        with pytest.raises(LookupError):
            write_and_fail(bundle)
        bundle.write("whole", b"data")
        bundle.settle([])

    assert (Bundle(path).exists("half"), Bundle(path).exists("whole")) == (False, True)


def test_a_late_thread_cannot_write_into_a_bundle_that_is_over(path: Path) -> None:
    with Bundle(path) as bundle:
        bundle.write("a", b"data")
    with pytest.raises(PlaceUnavailable):
        bundle.write("b", b"data")
    with Bundle(path) as settled:
        settled.settle([])
        with pytest.raises(PlaceUnavailable):
            settled.write("a", b"data")

    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("code", "error"), [(errno.ENOSPC, OSError), (errno.EDQUOT, OSError), (errno.EIO, PlaceUnavailable)]
)
def test_a_bundle_that_cannot_be_written_is_no_fault_of_an_image(
    path: Path, monkeypatch: pytest.MonkeyPatch, code: int, error: type[Exception]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    with Bundle(path) as bundle:
        bundle.write("a", b"data")
        monkeypatch.setattr(os, "fsync", refuse)
        with pytest.raises(error) as raised:
            bundle.settle([])

    assert os.strerror(code) in str(raised.value)
    assert list(path.parent.iterdir()) == []


def test_a_name_that_leads_out_is_refused(path: Path) -> None:
    with Bundle(path) as bundle, pytest.raises(InvalidRequest):
        bundle.write("../a", b"data")


def test_a_damaged_bundle_is_noticed(path: Path) -> None:
    with Bundle(path) as bundle:
        bundle.write("a", b"data" * 100)
        bundle.settle([])
    path.write_bytes(path.read_bytes().replace(b"datadata", b"dattdata", 1))

    with pytest.raises(OSError, match="damaged"):
        Bundle(path).read("a")
    with pytest.raises(OSError, match="damaged"):
        Bundle(path).read("none")
