"""Places: folders and buckets behave alike; links, permissions and times of folders are kept or refused."""

import hashlib
import os
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.datasets import folder_place
from app.datasets.folder_place import FolderPlace
from app.datasets.place import Place, copy, digest_of
from app.datasets.remote_place import RemotePlace
from app.errors import InvalidRequest, NoSuchPlace, PlaceRefused

MakePlace = Callable[[str], Place]


class BrokenError(Exception):
    """What goes wrong in a block."""


@pytest.fixture(params=["folder", "s3"])
def make_place(request: pytest.FixtureRequest, tmp_path: Path) -> MakePlace:
    if request.param == "folder":
        return lambda name: FolderPlace(tmp_path / name)
    bucket, endpoint = request.getfixturevalue("bucket"), request.getfixturevalue("s3_endpoint")
    return lambda name: RemotePlace(f"s3://{bucket}/{name}", endpoint)


@pytest.fixture
def place(make_place: MakePlace) -> Place:
    return make_place("set")


NAMES = ["a.png", "deep/er/b.txt", "ünï cödé/ %20+&?#=.json", "deep/c"]


def test_what_is_written_is_listed_and_read(place: Place) -> None:
    for name in NAMES:
        place.write(name, name.encode())
    place.settle(NAMES)

    assert sorted(place.names()) == sorted(NAMES)
    assert [place.read(name) for name in NAMES] == [name.encode() for name in NAMES]


def test_a_file_is_there_a_folder_is_not(place: Place) -> None:
    place.write("deep/c", b"")
    assert place.exists("deep/c")
    assert not place.exists("deep")
    assert not place.exists("d")


def test_what_is_not_there_has_a_sentence(place: Place) -> None:
    place.write("a", b"")
    with pytest.raises(FileNotFoundError) as missing:
        place.read("b")
    assert missing.value.strerror
    with pytest.raises(FileNotFoundError) as missing, place.open("b"):
        pass
    assert missing.value.strerror


def test_a_file_can_be_read_piece_by_piece(place: Place) -> None:
    data = os.urandom(100_000)
    place.write("a", data)
    with place.open("a") as file:
        assert b"".join(iter(lambda: file.read(30_000), b"")) == data


def test_lines_can_be_read(place: Place) -> None:
    place.write("a", b"one\ntwo\n")
    with place.open("a") as file:
        assert list(file) == [b"one\n", b"two\n"]


def test_a_file_appears_at_the_end_of_the_block(place: Place) -> None:
    place.write("other", b"")
    with place.writing("deep/a") as file:
        file.write(b"one, ")
        file.write(b"two")
        assert list(place.names()) == ["other"]
    assert place.read("deep/a") == b"one, two"


@pytest.mark.parametrize("size", [10, 40 << 20], ids=["small", "large"])
def test_a_block_that_fails_changes_nothing(place: Place, size: int) -> None:
    place.write("a", b"old")
    for name in ("a", "b"):
        with pytest.raises(BrokenError), place.writing(name) as file:  # noqa: PT012
            file.write(bytes(size))
            raise BrokenError
    assert place.read("a") == b"old"
    assert list(place.names()) == ["a"]


def test_a_file_of_that_name_is_replaced(place: Place) -> None:
    place.write("a", b"old")
    place.write("a", b"new")
    with place.writing("b") as file:
        file.write(b"newer")
    copy(place, "b", place, "a")
    assert place.read("a") == b"newer"


def test_an_empty_file_is_a_file(place: Place) -> None:
    with place.writing("a"):
        pass
    with place.open("a") as file:
        assert file.read() == b""
    assert list(place.names()) == ["a"]


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../a", "a/../../b", "a//b", "a/", "./a", "a\0b", ".."])
def test_a_path_that_leads_elsewhere_is_refused(place: Place, name: str) -> None:
    for use in (place.read, place.exists, lambda name: place.write(name, b"")):
        with pytest.raises(InvalidRequest, match="is no path of a file in a set"):
            use(name)


def test_a_place_can_be_sent_to_another_process(place: Place) -> None:
    place.write("a", b"1")
    sent = pickle.loads(pickle.dumps(place))
    assert (sent, sent.read("a")) == (place, b"1")


def test_several_threads_can_use_a_place(place: Place) -> None:
    names = [f"{number % 3}/{number}" for number in range(60)]
    with ThreadPoolExecutor(12) as threads:
        list(threads.map(lambda name: place.write(name, name.encode()), names))
        assert list(threads.map(place.read, names)) == [name.encode() for name in names]
    assert sorted(place.names()) == sorted(names)


def test_several_threads_can_write_one_file(place: Place) -> None:
    contents = [bytes([number]) * 50_000 for number in range(12)]
    with ThreadPoolExecutor(12) as threads:
        list(threads.map(lambda data: place.write("a", data), contents))
    assert place.read("a") in contents
    assert list(place.names()) == ["a"]


def test_a_copy_has_the_bytes_and_their_digest(make_place: MakePlace) -> None:
    source, target = make_place("one"), make_place("two")
    data = os.urandom(3 << 20)
    source.write("a", data)

    assert copy(source, "a", target, "b/c") == (hashlib.sha256(data).hexdigest(), len(data))
    assert target.read("b/c") == data


def test_a_copy_of_nothing_writes_nothing(make_place: MakePlace) -> None:
    source, target = make_place("one"), make_place("two")
    source.write("a", b"")
    target.write("a", b"")
    with pytest.raises(FileNotFoundError):
        copy(source, "b", target, "b")
    assert list(target.names()) == ["a"]


def test_files_of_a_bucket_can_be_copied_into_a_folder_and_back(
    tmp_path: Path, bucket: str, s3_endpoint: str
) -> None:
    folder, remote = FolderPlace(tmp_path), RemotePlace(f"s3://{bucket}", s3_endpoint)
    folder.write("a", b"1")
    copy(folder, "a", remote, "b")
    copy(remote, "b", folder, "c")
    assert (tmp_path / "c").read_bytes() == b"1"


def test_only_a_folder_is_on_this_machine(tmp_path: Path, bucket: str) -> None:
    assert FolderPlace(tmp_path).local("a/b") == tmp_path / "a/b"
    assert RemotePlace(f"s3://{bucket}").local("a/b") is None


def test_the_address_of_a_folder_is_percent_encoded(tmp_path: Path) -> None:
    assert FolderPlace(tmp_path / "a b").uri == f"file://{tmp_path}/a%20b"


def test_a_folder_that_is_not_there_is_no_place(tmp_path: Path) -> None:
    with pytest.raises(NoSuchPlace, match="There is no folder"):
        list(FolderPlace(tmp_path / "set").names())


def test_links_to_files_are_followed_and_links_to_folders_are_told(tmp_path: Path) -> None:
    place = FolderPlace(tmp_path / "set")
    place.write("a", b"1")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/file").write_bytes(b"2")
    (tmp_path / "set/file").symlink_to(tmp_path / "elsewhere/file")
    (tmp_path / "set/folder").symlink_to(tmp_path / "elsewhere")

    assert sorted(place.names()) == ["a", "file", "folder"]
    assert place.read("file") == b"2"
    assert not place.exists("folder")
    with pytest.raises(IsADirectoryError, match="It is a link to a folder, which is not followed"):
        place.read("folder")


def test_links_that_lead_nowhere_or_in_circles_fail_when_they_are_read(tmp_path: Path) -> None:
    (tmp_path / "nowhere").symlink_to("missing")
    (tmp_path / "circle").symlink_to("circle")
    place = FolderPlace(tmp_path)
    for name in place.names():
        assert not place.exists(name)
        with pytest.raises(OSError, match=r"No such file|symbolic links"):
            place.read(name)


def test_what_is_not_finished_is_not_listed(tmp_path: Path) -> None:
    place = FolderPlace(tmp_path)
    with place.writing("a" * 255):
        assert len(list(tmp_path.iterdir())) == 1
        assert list(place.names()) == []


@pytest.mark.timeout(20)
def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    place = FolderPlace(tmp_path)
    assert not place.exists("pipe")
    with pytest.raises(OSError, match="It is no regular file"):
        place.read("pipe")


def test_names_that_are_not_unicode_survive(tmp_path: Path) -> None:
    place = FolderPlace(tmp_path)
    (tmp_path / os.fsdecode(b"\xff.png")).write_bytes(b"1")
    (name,) = place.names()
    place.write(f"copy of {name}", place.read(name))
    assert (tmp_path / os.fsdecode(b"copy of \xff.png")).read_bytes() == b"1"


def test_a_copy_keeps_time_and_permissions_but_no_rights_of_its_owner(tmp_path: Path) -> None:
    place = FolderPlace(tmp_path)
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "a").chmod(0o6751)
    os.utime(tmp_path / "a", ns=(10**18, 10**18 + 12345))
    copy(place, "a", place, "b")

    written = (tmp_path / "b").stat()
    assert (written.st_mtime_ns, written.st_mode & 0o7777) == (10**18 + 12345, 0o751)


def test_what_is_written_has_the_permissions_it_is_told_else_those_of_any_new_file(tmp_path: Path) -> None:
    place = FolderPlace(tmp_path)
    (tmp_path / "plain").touch()
    (tmp_path / "told").touch(mode=0o600)
    place.write("a", b"")
    place.write("b", b"", mode_of=tmp_path / "told")

    modes = {name: (tmp_path / name).stat().st_mode for name in place.names()}
    assert (modes["a"], modes["b"]) == (modes["plain"], modes["told"])


def test_a_folder_settles_every_file_and_every_folder_above_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled: list[str] = []

    def fsync(descriptor: int) -> None:
        settled.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))

    place = FolderPlace(tmp_path / "set")
    place.write("other", b"")
    for name in ("a/b/1", "a/b/2", "3"):
        place.write(name, b"")
    monkeypatch.setattr(folder_place.os, "fsync", fsync)
    place.settle(["a/b/1", "a/b/2", "3"])

    wanted = ["set", "set/3", "set/a", "set/a/b", "set/a/b/1", "set/a/b/2"]
    assert sorted(settled) == [str(tmp_path / name) for name in wanted]


def test_settling_nothing_is_nothing(place: Place) -> None:
    place.settle([])


@pytest.fixture
def fenced(tmp_path: Path) -> FolderPlace:
    """A place with links inside its root, beside another root, and out of both."""
    for name in ("root/set/a", "root/b", "second/c", "secret/d"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    for name in ("root/b", "second/c", "secret/d", "secret/missing"):
        (tmp_path / "root/set" / f"to_{Path(name).name}").symlink_to(tmp_path / name)
    (tmp_path / "root/set/out").symlink_to(tmp_path / "secret")
    return FolderPlace(tmp_path / "root/set", (tmp_path / "root", tmp_path / "second"))


def test_links_between_allowed_folders_are_followed(fenced: FolderPlace, tmp_path: Path) -> None:
    assert [fenced.read(name) for name in ("a", "to_b", "to_c")] == [b"root/set/a", b"root/b", b"second/c"]
    assert fenced.local("to_c") == tmp_path / "second/c"


@pytest.mark.parametrize("name", ["to_d", "out", "out/d"])
def test_links_out_of_the_allowed_folders_are_refused(fenced: FolderPlace, name: str) -> None:
    assert not fenced.exists(name)
    for use in (fenced.read, fenced.local):
        with pytest.raises(PlaceRefused, match=r"leads .* out of the folders that may be used"):
            use(name)


def test_a_link_that_changes_between_looking_and_opening_gains_nothing(
    fenced: FolderPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check looks at what was opened, so the name may lead inside at every other moment."""
    opened = os.open
    link = fenced.folder / "flips"

    def flipping(path: Path, flags: int) -> int:
        link.symlink_to(fenced.folder.parents[1] / "secret/d")
        try:
            return opened(path, flags)
        finally:
            link.unlink()
            link.symlink_to("a")

    monkeypatch.setattr(folder_place.os, "open", flipping)
    with pytest.raises(PlaceRefused):
        fenced.read("flips")


def test_nothing_is_written_through_a_link_that_leads_out(fenced: FolderPlace, tmp_path: Path) -> None:
    with pytest.raises(PlaceRefused):
        fenced.write("out/e", b"")
    with pytest.raises(PlaceRefused):
        fenced.write("out/new/e", b"")
    fenced.write("to_d", b"mine")  # takes the place of the link
    assert sorted(path.name for path in (tmp_path / "secret").iterdir()) == ["d"]
    assert (tmp_path / "secret/d").read_bytes() == b"secret/d"


def test_the_digest_of_a_file_is_that_of_its_copy(tmp_path: Path) -> None:
    source, target = FolderPlace(tmp_path / "source"), FolderPlace(tmp_path / "target")
    source.write("deep/a", b"text")

    digest = digest_of(source, "deep/a")

    assert digest == (hashlib.sha256(b"text").hexdigest(), 4)
    assert digest == copy(source, "deep/a", target, "a")
    with pytest.raises(FileNotFoundError):
        digest_of(source, "none")
