"""The children of a job: what they lay down, and what they remove that a killed one left."""

from __future__ import annotations

import io
import json
import re
import zipfile
from base64 import b64decode
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from app.datasets.archive import ArchiveLimits, Kind, unpack
from app.datasets.folder_place import FolderPlace
from app.datasets.manifest import Action, Entry, Measured, Refined
from app.datasets.place import Digest
from app.errors import InvalidArchive
from app.jobs.bundle import Bundle, bundle_of
from app.jobs.finish import finish
from app.jobs.folder import JobFolder
from app.jobs.order import place_to_json
from app.jobs.prepare import prepare
from app.jobs.request import JobRequest, PinnedModel
from app.options import JobOptions, JobThresholds
from model.files import PARTIAL_SUFFIX

MODEL = PinnedModel(name="tiny", version=1, sha256="0" * 64)
LONG = "a" * 60 + ".txt"
MEASURED = Refined(None, 0, 0, 1.0, 8, 8, "L", "image/png", True, "below_thresholds", None, (), ())
DROPPED = Entry("b", "dropped", before=Digest("0", 1), refined=MEASURED)


def order_of_preparation(folder: JobFolder, **more: Any) -> dict[str, Any]:
    request = JobRequest(model=MODEL, archive="set.zip").model_dump_json()
    limits = {"max_files": 100, "max_bytes": 1 << 20, "chunk_files": 2}
    return {"folder": str(folder.root), "request": request, "source": None, **limits, **more}


def order_of_finish(folder: JobFolder, target: Path, **asked: Any) -> dict[str, Any]:
    request = JobRequest(model=MODEL, archive="set.zip", **asked).model_dump_json()
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


def entry(name: str, action: Action = "copied", before: int = 4, after: int = 4) -> Entry:
    return Entry(name, action, before=Digest("0", before), after=Digest("0", after))


def copied(folder: JobFolder, target: Path, *names: str) -> None:
    """Record a chunk of copies."""
    folder.source.mkdir(parents=True)
    for name in names:
        FolderPlace(target).write(name, b"text")
    folder.write_done(0, list(map(entry, names)))


def png(grey: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (8, 8), grey).save(file, "PNG")
    return file.getvalue()


def bundled(folder: JobFolder, number: int, **files: bytes) -> None:
    with Bundle(bundle_of(folder.result, number)) as bundle:
        for name, data in files.items():
            bundle.write(name, data)
        bundle.settle(())


@pytest.mark.parametrize("kind", ["zip", "tar.zst"])
def test_a_result_is_packed_from_bundles_and_from_what_was_unpacked(tmp_path: Path, kind: Kind) -> None:
    folder = JobFolder(tmp_path / "job")
    copied(folder, folder.source, "a.txt", "list.txt")
    folder.write_done(0, [entry("a", "refined", 1, 7), entry("a.txt"), DROPPED])
    folder.write_done(1, [entry("c", "refined", 1, 6), entry("list.txt")])
    FolderPlace(folder.source).write("list.txt", b"a\nb\nc\n")
    bundled(folder, 0, a=b"refined")
    bundled(folder, 1, c=b"better")
    options = JobOptions(archive=kind, lists=("*.txt",), thresholds=JobThresholds(below="drop"))

    finish({**order_of_finish(folder, folder.result, options=options), "chunks": 2})

    unpack(folder.archive(kind), tmp_path / "out", ArchiveLimits(10, 100))
    found = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert found == {"a": b"refined", "a.txt": b"text", "c": b"better", "list.txt": b"a\nc\n"}


def test_the_report_finds_the_pictures_of_every_chunk(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path / "job")
    region = Measured(0, None, (0, 0, 4, 4), 0.0, 0.0, 0.1, 0.5, 0.3)
    measured = replace(MEASURED, verdict="accepted", preservation=(region,))
    for number, names in enumerate((("a.png", "b.png"), ("c.png",), ("d.png", "e.png"))):
        for name in names:
            FolderPlace(folder.source).write(name, png(0))
        told = [replace(entry(name, "refined"), refined=measured) for name in names]
        folder.write_done(number, told)
        bundled(folder, number, **{name: png(ord(name[0])) for name in names})

    finish({**order_of_finish(folder, folder.result), "chunks": 3})

    page = folder.page.read_text()
    afters = re.findall(r'alt="after" src="data:image/png;base64,([^"]*)', page)
    shown = [Image.open(io.BytesIO(b64decode(one))).getpixel((0, 0)) for one in afters]
    assert sorted(map(int, shown)) == [ord(name) for name in "abcde"]


def test_a_record_from_before_the_least_kept_was_measured_is_still_read(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path / "job")
    region = Measured(0, "eye", (0.0, 0.0, 4.0, 4.0), 0.0, 0.0, 0.1, 0.5)
    told = replace(entry("a.png", "refined"), refined=replace(MEASURED, preservation=(region,)))
    folder.write_done(0, [told])
    record = folder.done(0).read_text()
    assert ', "least_kept": null' in record

    folder.done(0).write_text(record.replace(', "least_kept": null', ""))

    assert list(folder.read_done(0)) == [told]


def test_a_result_without_one_of_its_bundles_is_not_packed(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path / "job")
    copied(folder, folder.source, "a.txt")
    folder.write_done(0, [entry("a", "refined")])

    with pytest.raises(FileNotFoundError, match="bundle of its chunk is gone"):
        finish(order_of_finish(folder, folder.result))
    assert not folder.archive("zip").exists()


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
