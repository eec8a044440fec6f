"""The children of a job: what they lay down, and what they remove that a killed one left."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from app.datasets.folder_place import FolderPlace
from app.datasets.manifest import Entry
from app.datasets.place import Digest
from app.errors import InvalidArchive
from app.jobs.finish import finish
from app.jobs.folder import JobFolder
from app.jobs.order import place_to_json
from app.jobs.prepare import prepare
from app.jobs.request import JobRequest, PinnedModel
from model.files import PARTIAL_SUFFIX

MODEL = PinnedModel(name="tiny", version=1, sha256="0" * 64)
LONG = "a" * 60 + ".txt"


def order_of_preparation(folder: JobFolder, **more: Any) -> dict[str, Any]:
    request = JobRequest(model=MODEL, archive="set.zip").model_dump_json()
    limits = {"max_files": 100, "max_bytes": 1 << 20, "chunk_files": 2}
    return {"folder": str(folder.root), "request": request, "source": None, **limits, **more}


def order_of_finish(folder: JobFolder, target: Path, destination: str | None = None) -> dict[str, Any]:
    request = JobRequest(model=MODEL, archive="set.zip", destination=destination).model_dump_json()
    places = {"source": folder.source, "target": target}
    return {
        "folder": str(folder.root),
        "request": request,
        "chunks": 1,
        "max_pixels": 1000,
        "problems": [],
        "about": {},
        **{name: place_to_json(FolderPlace(place)) for name, place in places.items()},
    }


def copied(folder: JobFolder, target: Path, *names: str) -> None:
    """Record a chunk of copies."""
    folder.source.mkdir(parents=True)
    for name in names:
        FolderPlace(target).write(name, b"text")
    folder.write_done(
        0, [Entry(name, "copied", before=Digest("0", 4), after=Digest("0", 4)) for name in names]
    )


def test_what_a_killed_writer_left_is_not_packed(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path / "job")
    copied(folder, folder.result, "one.txt", "two.txt")
    left = folder.result / f".one.txt.0123456789abcdef{PARTIAL_SUFFIX}"
    left.write_bytes(b"te")

    finish(order_of_finish(folder, folder.result))

    with zipfile.ZipFile(folder.archive("zip")) as packed:
        assert packed.namelist() == ["one.txt", "two.txt"]


def test_what_a_killed_writer_left_at_a_destination_is_removed_and_nobody_elses(tmp_path: Path) -> None:
    folder, target = JobFolder(tmp_path / "job"), tmp_path / "target"
    copied(folder, target, "one.txt", f"below/{LONG}")
    ours = [
        target / f".one.txt.{1:016x}{PARTIAL_SUFFIX}",
        target / "below" / f".{LONG[:40]}.{2:016x}{PARTIAL_SUFFIX}",
    ]
    theirs = target / f".three.txt.{3:016x}{PARTIAL_SUFFIX}"
    for path in (*ours, theirs):
        path.write_bytes(b"te")

    finish(order_of_finish(folder, target, destination=str(target)))

    assert [path.exists() for path in (*ours, theirs)] == [False, False, True]
    assert (target / "below" / LONG).read_bytes() == b"text"


def test_a_refused_archive_leaves_nothing_unpacked(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    with zipfile.ZipFile(folder.upload, "w") as archive:
        archive.writestr("whole.txt", "text")
        archive.writestr("../out.txt", "text")

    with pytest.raises(InvalidArchive):
        prepare(order_of_preparation(folder))

    assert list(tmp_path.iterdir()) == [folder.upload]


def test_a_preparation_that_was_killed_is_begun_again(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    with zipfile.ZipFile(folder.upload, "w") as archive:
        for name in ("one.txt", "three.txt", "two.txt"):
            archive.writestr(name, "text")
    (tmp_path / "unfinished-1").mkdir()
    (tmp_path / "unfinished-1" / "one.txt").write_text("te")

    assert prepare(order_of_preparation(folder))["chunks"] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "chunks",
        "plan.jsonl",
        "prepared.json",
        "source",
    ]
    assert [file.name for file in folder.read_chunk(1)] == ["two.txt"]
    assert json.loads(folder.prepared.read_bytes())["files"] == 3


def test_the_work_that_is_removed_includes_what_is_half_done(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    (tmp_path / "unfinished-1").mkdir()
    (tmp_path / f".manifest.jsonl.{1:016x}{PARTIAL_SUFFIX}").write_bytes(b"te")
    folder.manifest.write_bytes(b"text")

    folder.remove_work()

    assert list(tmp_path.iterdir()) == [folder.manifest]


def test_an_archive_goes_only_when_what_was_in_it_survives_a_power_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = JobFolder(tmp_path)
    with zipfile.ZipFile(folder.upload, "w") as archive:
        archive.writestr("one.txt", "text")
    brought: list[tuple[list[str], bool]] = []

    def bring(below: Path) -> None:
        names = sorted(path.name for path in below.rglob("*") if path.is_file())
        brought.append((names, folder.upload.exists() or folder.prepared.exists()))

    monkeypatch.setattr("app.jobs.prepare.sync_file_system", bring)
    prepare(order_of_preparation(folder))

    assert brought == [(["one.txt"], True), (["00000000.jsonl", "one.txt"], False)]
