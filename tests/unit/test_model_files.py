"""Files that appear: whole or not at all, with the permissions of any new file, and on the disk."""

import os
from pathlib import Path

import pytest

from model import files
from model.files import appearing, make_folder


def test_a_file_appears_at_the_end_of_the_block_and_its_folders_with_it(tmp_path: Path) -> None:
    with appearing(tmp_path / "a/b/file") as file:
        file.write(b"1")
        assert not (tmp_path / "a/b/file").exists()
    assert (tmp_path / "a/b/file").read_bytes() == b"1"
    assert len(list((tmp_path / "a/b").iterdir())) == 1


def test_after_an_error_everything_is_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(KeyError), appearing(tmp_path / "file") as file:  # noqa: PT012
        file.write(b"new")
        raise KeyError
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"file": b"old"}


def test_two_writers_of_one_file_do_not_mix(tmp_path: Path) -> None:
    with appearing(tmp_path / "file") as one:
        one.write(b"one")
        with appearing(tmp_path / "file") as other:
            other.write(b"other")
        one.write(b", whole")
    assert (tmp_path / "file").read_bytes() == b"one, whole"


def test_it_has_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    with appearing(tmp_path / "file"):
        pass
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_the_file_its_name_and_new_folders_are_brought_to_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []

    def fsync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink().relative_to(tmp_path)
        synced.append("partial" if path.name.endswith(files.PARTIAL_SUFFIX) else str(path))

    monkeypatch.setattr(os, "fsync", fsync)
    with appearing(tmp_path / "a/b/file"):
        pass
    assert synced == [".", "a", "partial", "a/b"]


def test_a_name_may_be_as_long_as_the_file_system_takes(tmp_path: Path) -> None:
    name = "ü" * 127
    with appearing(tmp_path / name):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    make_folder(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        make_folder(tmp_path / "file")
