"""A folder that is packed while it is sent: its length is known before, and it does not change meanwhile."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from app.client.folder_stream import FolderStream
from app.errors import InvalidRequest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A set as it lies on somebody's disk."""
    files = {"a.bin": bytes(3000), "deep/" * 20 + "ü" * 60 + ".txt": b"long and not ASCII", "empty.txt": b""}
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    (tmp_path / "link.bin").symlink_to(tmp_path / "a.bin")
    return tmp_path


def test_a_packed_folder_is_a_tar_archive_of_the_length_that_was_told(folder: Path) -> None:
    stream = FolderStream(folder)

    packed = b"".join(stream)

    assert len(packed) == stream.bytes
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        names = set(archive.getnames())
    assert names == {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("change", ["grows", "shrinks", "comes"])
def test_a_folder_that_changes_while_it_is_sent_is_not_sent(tmp_path: Path, change: str) -> None:
    (tmp_path / "a.bin").write_bytes(bytes(3000))
    stream = FolderStream(tmp_path)
    if change == "comes":
        (tmp_path / "b.bin").write_bytes(b"new")
    else:
        (tmp_path / "a.bin").write_bytes(bytes(5000 if change == "grows" else 100))

    with pytest.raises(InvalidRequest, match="changed while they were sent"):
        list(stream)


def test_what_is_no_file_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(InvalidRequest, match="no regular file"):
        FolderStream(tmp_path)


def test_a_link_to_a_folder_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set/a.txt").write_bytes(b"a")
    (tmp_path / "set/images").symlink_to(tmp_path)

    with pytest.raises(InvalidRequest, match="images cannot be sent: it is a link to a folder"):
        FolderStream(tmp_path / "set")


def test_a_folder_of_any_size_takes_little_memory(tmp_path: Path) -> None:
    import tracemalloc

    for number in range(8):
        with (tmp_path / f"{number}.bin").open("wb") as file:
            file.truncate(32 << 20)
    tracemalloc.start()
    sent = sum(map(len, FolderStream(tmp_path)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert sent > 256 << 20
    assert peak < 8 << 20
