"""`simtrue refine` does for files what the service does for requests, and never spoils one."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import itertools
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from app.cli import cli
from app.datasets.archive import unpack
from app.datasets.manifest import ManifestWriter

Picture = Callable[..., bytes]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    """The commands configure logging, which is for a process of their own."""
    yield
    logging.getLogger().handlers.clear()
    for name in ("simtrue", "app", "uvicorn", "python_multipart"):
        logging.getLogger(name).setLevel(logging.NOTSET)


@pytest.fixture
def source(tmp_path: Path, picture: Picture) -> Path:
    """A folder with images of several kinds, annotations and other files."""
    files = {
        "a.png": picture(seed=1),
        "a.json": b'{"objects": [{"bbox": [2.50, 2, 12, 1.2e1]}]}\n',
        "deep/b.TIFF": picture("I;16", kind="TIFF"),
        "deep/er/c.jpg": picture("RGB", (32, 32), "JPEG"),
        "masks/a.png": picture(seed=3),
        "labels.txt": b"a 1\r\n",
        ".hidden": b"\0\1",
    }
    for name, data in files.items():
        path = tmp_path / "src" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "src"


def run(model_root: Path, *words: object, model: str = "grey") -> Result:
    flags = ["--models", str(model_root), "--device", "cpu", "--model", model]
    return CliRunner().invoke(cli, ["refine", *map(str, words), *flags])


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def format_of(path: Path) -> str | None:
    return Image.open(io.BytesIO(path.read_bytes())).format


def levels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(path.read_bytes()))).astype(int)


def test_the_module_is_the_command(model_root: Path) -> None:
    command = [sys.executable, "-m", "app.cli", "models", "--models", str(model_root)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "grey" in done.stdout


def test_a_folder_is_refined_and_everything_else_copied(
    model_root: Path, source: Path, tmp_path: Path
) -> None:
    target = tmp_path / "dst"

    result = run(model_root, source, target)

    assert result.exit_code == 0, result.output
    before, after = contents(source), contents(target)
    assert set(after) == set(before)
    changed = {name for name in before if after[name] != before[name]}
    assert changed == {"a.png", "deep/b.TIFF", "deep/er/c.jpg"}
    assert np.array_equal(levels(target / "a.png"), levels(source / "a.png") + 10)
    assert np.array_equal(levels(target / "deep/b.TIFF"), levels(source / "deep/b.TIFF") + 2570)
    assert "3 refined (1 accepted, 2 unchecked), 4 copied, 0 failed" in result.output
    assert "1 copied, taken for label images, because it lies in 'masks'" in result.output


def test_a_set_is_measured_by_its_own_labels_which_stay_as_they_are(
    model_root: Path, tmp_path: Path, picture: Picture
) -> None:
    files = {
        "data.yaml": b"names: [cat]\n",
        "images/train/a.png": picture(seed=1),
        "images/train/b.png": picture(seed=2),
        "labels/train/a.txt": b"0 0.500 0.5000 0.50 5e-1\r\n",
        "labels/train/b.txt": b"0 0.5 0.5 0.5 0.5\n0 7 7 0.1 0.1\n",
    }
    for name, data in files.items():
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    result = run(model_root, tmp_path / "set", tmp_path / "out")

    after = contents(tmp_path / "out")
    assert "2 refined (2 accepted), 3 copied, 0 failed" in result.output
    assert "1 problem in the annotations" in result.output
    assert "images/train/b.png: Annotation 1 ('cat') lies outside its 24 x 16 image" in result.output
    assert {name for name in files if after[name] == files[name]} == {
        "data.yaml", "labels/train/a.txt", "labels/train/b.txt",
    }  # fmt: skip


def test_the_manifest_has_a_line_per_file_with_digests_and_measures(
    model_root: Path, source: Path, tmp_path: Path
) -> None:
    (source / "bad.png").write_bytes(b"text")
    target, manifest = tmp_path / "dst", tmp_path / "manifest.jsonl"

    run(model_root, source, target, "--manifest", manifest, "--seed", 5, "--format", "webp")

    about, *files = [json.loads(line) for line in manifest.read_bytes().splitlines()]
    assert about["model"] == {"name": "grey", "version": 1}
    assert about["options"]["seed"] == 5
    assert [one["path"] for one in files] == sorted(contents(source), key=Path)
    found = {one["path"]: one for one in files}
    assert found["bad.png"]["action"] == "failed"
    assert "is a text file" in found["bad.png"]["reason"]
    assert found["masks/a.png"]["action"] == "copied"
    assert "taken for a label image" in found["masks/a.png"]["reason"]
    for name, entry in found.items():
        if entry["action"] == "failed":
            continue
        written = target / entry.get("written_as", name)
        for key, path in (("in", source / name), ("out", written)):
            data = path.read_bytes()
            assert entry[key] == {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    refined = found["a.png"]
    assert (refined["action"], refined["written_as"], refined["verdict"]) == ("refined", "a.webp", "accepted")
    assert refined["annotations"] == "a.json"
    assert refined["preservation"][0]["structure_kept"] == pytest.approx(1.0, abs=0.05)


def test_the_manifest_names_annotations_by_their_positions_in_the_document_of_the_set(
    model_root: Path, tmp_path: Path, picture: Picture
) -> None:
    (tmp_path / "set").mkdir()
    for number in range(8):
        (tmp_path / "set" / f"{number}.png").write_bytes(picture(seed=number))
    document = {
        "images": [{"id": number, "file_name": f"{number}.png"} for number in range(8)],
        "annotations": [{"image_id": place // 3, "bbox": [2, 2, 12, 12]} for place in range(24)],
    }
    (tmp_path / "set" / "ann.json").write_text(json.dumps(document))

    run(model_root, tmp_path / "set", tmp_path / "out", "--manifest", tmp_path / "m.jsonl")

    lines = [json.loads(line) for line in (tmp_path / "m.jsonl").read_bytes().splitlines()]
    (last,) = (line for line in lines if line.get("path") == "7.png")
    assert [one["annotation"] for one in last["preservation"]] == [21, 22, 23]


def test_shadows_of_macos_are_copied(model_root: Path, tmp_path: Path, picture: Picture) -> None:
    shadow = b"\0\5\x16\7\0\2\0\0Mac OS X        \xff\xfe"
    files = {
        "a.png": picture(),
        "._a.png": shadow,
        "in/._b.jpg": shadow,
        "__MACOSX/a.png": shadow,
        "__MACOSX/in/._ann.json": shadow,
    }
    for name, data in files.items():
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    result = run(model_root, tmp_path / "set", tmp_path / "out", "--include", "*.png")

    assert result.exit_code == 0, result.output
    assert "1 refined (1 unchecked), 4 copied, 0 failed" in result.output
    assert "not read as annotations" not in result.output
    after = contents(tmp_path / "out")
    assert {name for name in files if after[name] == files[name]} == files.keys() - {"a.png"}


def test_the_report_shows_the_worst_first_and_escapes_what_comes_from_outside(
    model_root: Path, tmp_path: Path, picture: Picture
) -> None:
    source, report = tmp_path / "set", tmp_path / "report.html"
    source.mkdir()
    for index in range(30):
        (source / f"{index:02}.png").write_bytes(picture(size=(64, 48), seed=index))
        box = {"label": "<b>cat</b>", "bbox": [8, 8, 40, 30]}
        (source / f"{index:02}.json").write_text(json.dumps({"objects": [box]}))
    (source / "05.json").write_text(json.dumps({"objects": [{"bbox": [0, 0, -5, 5]}]}))
    (source / "<i>.png").write_bytes(b"text")
    (source / "a_mask.png").write_bytes(picture())
    (source / "odd.png").write_bytes(picture())
    (source / "odd.pkl").write_bytes(b"annotations of another kind")

    run(model_root, source, tmp_path / "out", "--report", report, model="noisy")

    page = report.read_text()
    assert "<b>cat" not in page
    assert "<i>" not in page
    assert "&lt;b&gt;cat&lt;/b&gt;" in page
    assert page.count('class="pair"') == 24
    assert "29 annotations were measured" in page
    assert "1 images are unchecked" in page
    assert "is named &#x27;a_mask.png&#x27;" in page
    assert "has a box of negative size" in page
    assert "<script" not in page
    assert not re.search(r'(?:src|href)="(?!data:)', page)
    shown = re.findall(r"(\d+)% left, (\d+)% where most was lost, moved ([\d.]+) px", page)
    badness = [  # by the thresholds
        max((100 - int(left)) / 40, (100 - int(least)) / 60, float(moved)) for left, least, moved in shown
    ]
    assert len(badness) == 24
    assert all(one >= other - 0.03 for one, other in itertools.pairwise(badness))  # rounded to 1 %
    assert badness[0] > badness[-1]
    assert report.stat().st_size < 2 << 20


def test_the_same_run_writes_the_same_manifest(model_root: Path, source: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        run(model_root, source, tmp_path / name, "--manifest", tmp_path / f"{name}.jsonl")
    assert (tmp_path / "one.jsonl").read_bytes() == (tmp_path / "two.jsonl").read_bytes()


@pytest.mark.parametrize("place", ["src/a.png", "dst/a.png", "there.jsonl"])
def test_a_manifest_replaces_nothing(model_root: Path, source: Path, tmp_path: Path, place: str) -> None:
    (tmp_path / "there.jsonl").write_bytes(b"mine")
    result = run(model_root, source, tmp_path / "dst", "--manifest", tmp_path / place)
    assert result.exit_code == 1
    assert any(said in result.output for said in ("of the set itself", "exists already"))
    assert (tmp_path / "there.jsonl").read_bytes() == b"mine"
    assert not (tmp_path / "dst").exists()


def test_a_manifest_that_cannot_be_written_is_one_sentence(
    model_root: Path, source: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"")
    result = run(model_root, source, tmp_path / "dst", "--manifest", tmp_path / "file/manifest.jsonl")
    assert result.exit_code == 1
    assert result.output.splitlines()[-1].startswith("simtrue: ")


def test_a_disk_that_is_full_for_the_manifest_is_one_sentence(
    model_root: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_writer: ManifestWriter, number: int, _entry: object) -> None:
        if number > 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ManifestWriter, "put", full)
    result = run(model_root, source, tmp_path / "dst", "--manifest", tmp_path / "m.jsonl")
    assert result.exit_code == 1
    assert result.output.splitlines()[-1] == "simtrue: No space left on device"
    assert not (tmp_path / "m.jsonl").exists()


@pytest.mark.parametrize("out", ["out", "out.zip", "out.tar", "out.tar.gz", "out.tar.zst"])
def test_a_set_may_come_and_go_in_an_archive(
    model_root: Path, source: Path, tmp_path: Path, out: str
) -> None:
    archive = shutil.make_archive(str(tmp_path / "set"), "gztar", source)

    first = run(model_root, archive, tmp_path / "box" / out)
    again = run(model_root, archive, tmp_path / "box" / out, "--overwrite")

    assert (first.exit_code, again.exit_code) == (0, 0), first.output
    target = tmp_path / "box" / out
    assert [path.name for path in (tmp_path / "box").iterdir()] == [out]
    if target.is_file():
        (tmp_path / "open").mkdir()
        unpack(target, tmp_path / "open")
        target = tmp_path / "open"
    run(model_root, source, tmp_path / "plain")
    assert contents(target) == contents(tmp_path / "plain")


def test_packing_the_same_set_twice_gives_the_same_bytes(
    model_root: Path, source: Path, tmp_path: Path
) -> None:
    for kind in ("zip", "tar.gz", "tar.zst"):
        one, two = (tmp_path / f"{name}.{kind}" for name in ("one", "two"))
        for target in (one, two):
            run(model_root, source, target)
        assert one.read_bytes() == two.read_bytes()


def test_an_archive_that_is_there_is_only_replaced_when_asked(
    model_root: Path, source: Path, tmp_path: Path
) -> None:
    (tmp_path / "out.zip").write_bytes(b"mine")
    result = run(model_root, source, tmp_path / "out.zip")
    assert (result.exit_code, (tmp_path / "out.zip").read_bytes()) == (1, b"mine")


def test_a_dry_run_into_an_archive_writes_none(model_root: Path, source: Path, tmp_path: Path) -> None:
    assert run(model_root, source, tmp_path / "out.zip", "--dry-run").exit_code == 0
    assert not (tmp_path / "out.zip").exists()
    (tmp_path / "out.zip").write_bytes(b"mine")
    assert run(model_root, source, tmp_path / "out.zip", "--dry-run").exit_code == 1
    assert run(model_root, source, tmp_path / "out.zip", "--dry-run", "--overwrite").exit_code == 0
    assert (tmp_path / "out.zip").read_bytes() == b"mine"


def test_a_hostile_archive_is_one_sentence_and_leaves_nothing(model_root: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("a.txt", b"1")
        archive.writestr("../../evil.txt", b"2")
    (tmp_path / "box").mkdir()
    result = run(model_root, tmp_path / "set.zip", tmp_path / "box" / "out")
    assert result.exit_code == 1
    assert "'set.zip' has a path that leads out of it: '../../evil.txt'" in result.output
    assert list((tmp_path / "box").iterdir()) == []


def test_images_to_keep_are_copied(model_root: Path, source: Path, tmp_path: Path) -> None:
    target = tmp_path / "dst"
    assert run(model_root, source, target, "--exclude", "deep/*").exit_code == 0
    assert (target / "deep/er/c.jpg").read_bytes() == (source / "deep/er/c.jpg").read_bytes()
    assert (target / "a.png").read_bytes() != (source / "a.png").read_bytes()


def test_label_images_are_refined_when_asked(model_root: Path, source: Path, tmp_path: Path) -> None:
    target = tmp_path / "dst"
    assert run(model_root, source, target, "--include", "masks/*").exit_code == 0
    assert np.array_equal(levels(target / "masks/a.png"), levels(source / "masks/a.png") + 10)


def test_a_dry_run_says_what_would_become_of_every_file_and_writes_nothing(
    model_root: Path, source: Path, tmp_path: Path
) -> None:
    os.mkfifo(source / "pipe")
    result = run(model_root, source, tmp_path / "dst", "--dry-run")
    assert result.exit_code == 0
    assert "copy      masks/a.png: taken for a label image, because it lies in 'masks'" in result.output
    assert "refine    a.png, annotations in a.json" in result.output
    assert "left out  pipe: it is no regular file" in result.output
    assert "4 copy, 1 left out, 3 refine" in result.output
    assert not (tmp_path / "dst").exists()


def in_terminal(*words: object) -> str:
    """What a command in a process of its own prints to a terminal."""
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "app.cli", *map(str, words)]
    with subprocess.Popen(command, cwd=ROOT, stdout=theirs, stderr=subprocess.DEVNULL) as process:
        os.close(theirs)
        said = b""
        with contextlib.suppress(OSError):  # Linux says EIO when the other end was closed
            while part := os.read(ours, 1 << 16):
                said += part
        os.close(ours)
    assert process.returncode == 0
    return said.decode().replace("\r\n", "\n")


def test_of_many_files_a_dry_run_shows_the_first_in_a_terminal_and_all_in_a_pipe(
    model_root: Path, source: Path, tmp_path: Path
) -> None:
    words = ("refine", source, tmp_path / "dst", "--dry-run", "--models", model_root)
    assert " more " not in in_terminal(*words), "there are few"
    for number in range(50):
        shutil.copy(source / "a.png", source / f"{number:02d}.png")

    shown, piped = in_terminal(*words), run(model_root, *words[1:4]).stdout

    assert [line for line in shown.splitlines() if line.startswith("refine")] == [
        *(f"refine    {number:02d}.png" for number in range(5)),
        "refine    a.png, annotations in a.json",
    ]
    assert "\n          and 47 more\n" in shown
    assert shown.endswith("4 copy, 53 refine\n")
    assert "copy      masks/a.png: taken for a label image" in shown
    assert sum(line.startswith("refine  ") for line in piped.splitlines()) == 53
    assert " more " not in piped


def test_a_folder_behind_a_link_is_not_lost_in_silence(
    model_root: Path, source: Path, tmp_path: Path
) -> None:
    (source / "linked").symlink_to(source / "deep")

    result = run(model_root, source, tmp_path / "dst")

    assert result.exit_code == 1
    assert "linked: Left out: it is a link to a folder, which is not followed" in result.output


def test_strength_zero_copies_every_byte(model_root: Path, source: Path, tmp_path: Path) -> None:
    assert run(model_root, source, tmp_path / "dst", "--strength", 0).exit_code == 0
    assert contents(tmp_path / "dst") == contents(source)


def test_files_that_fail_are_listed_and_the_others_finished(
    model_root: Path, source: Path, tmp_path: Path, picture: Picture
) -> None:
    (source / "bad.png").write_bytes(b"text")
    (source / "odd.png").write_bytes(picture())
    (source / "odd.json").write_bytes(b"{")
    os.mkfifo(source / "pipe")

    result = run(model_root, source, tmp_path / "dst")

    assert result.exit_code == 1
    assert "3 refined" in result.output
    assert "3 failed" in result.output
    assert "bad.png: 'bad.png' is a text file" in result.output
    assert "odd.png: The annotations are not valid JSON" in result.output
    assert "pipe: Left out: it is no regular file." in result.output
    for name in ("bad.png", "odd.png"):  # a set must not lose a file that its annotations name
        assert (tmp_path / "dst" / name).read_bytes() == (source / name).read_bytes()
    assert not list((tmp_path / "dst").rglob("*.simtrue-partial"))


def test_what_exists_is_only_replaced_when_asked(model_root: Path, source: Path, tmp_path: Path) -> None:
    target = tmp_path / "dst"
    target.mkdir()
    (target / "a.png").write_bytes(b"mine")

    refused = run(model_root, source, target)

    assert refused.exit_code == 1
    assert "--overwrite replaces it" in refused.output
    assert (target / "a.png").read_bytes() == b"mine"
    assert run(model_root, source, target, "--overwrite").exit_code == 0
    assert np.array_equal(levels(target / "a.png"), levels(source / "a.png") + 10)


def test_a_result_that_cannot_take_its_place_leaves_nothing_behind(
    model_root: Path, source: Path, tmp_path: Path
) -> None:
    (tmp_path / "dst/a.png").mkdir(parents=True)

    result = run(model_root, source, tmp_path / "dst", "--overwrite")

    assert result.exit_code == 1
    assert "a.png: Is a directory." in result.output
    assert set(contents(tmp_path / "dst")) == set(contents(source)) - {"a.png"}


def test_a_format_renames_images_and_a_clash_is_refused(
    model_root: Path, source: Path, tmp_path: Path, picture: Picture
) -> None:
    (source / "a.bmp").write_bytes(picture(kind="BMP"))

    result = run(model_root, source, tmp_path / "dst", "--format", "png")

    assert result.exit_code == 1
    assert "a.bmp is written as a.png already" in result.output
    told = "3 images get another name with their format, such as 'a.bmp'; what names them in annotations"
    assert told in " ".join(result.output.split())
    assert format_of(tmp_path / "dst/deep/er/c.png") == "PNG"
    assert format_of(tmp_path / "dst/deep/b.png") == "PNG"


@pytest.mark.parametrize("target", ["out.webp", "folder/x/out.png"])
def test_a_single_image_is_written_in_the_format_of_its_destination(
    model_root: Path, source: Path, tmp_path: Path, target: str
) -> None:
    result = run(model_root, source / "a.png", tmp_path / target)
    assert result.exit_code == 0, result.output
    assert format_of(tmp_path / target) == Path(target).suffix[1:].upper()


@pytest.mark.parametrize(
    ("target", "sentence"),
    [("src", "are both"), ("src/inside", "lies inside the source"), (".", "lies inside the destination")],
)
def test_a_destination_that_would_mix_with_the_source_is_refused(
    model_root: Path, source: Path, target: str, sentence: str
) -> None:
    before = contents(source)
    result = run(model_root, source, source.parent / target)
    assert result.exit_code == 1
    assert sentence in result.stderr.replace("\n", " ")
    assert contents(source) == before


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--strength", "2"], "The option strength is 2.0"),
        (["--models", "/nowhere"], "/nowhere"),
        (["--model", "nope"], "There is no model 'nope'"),
    ],
)
def test_a_wrong_flag_gets_one_sentence(
    model_root: Path, source: Path, tmp_path: Path, words: list[str], sentence: str
) -> None:
    flags = ["--models", str(model_root), "--device", "cpu"]
    result = CliRunner().invoke(cli, ["refine", str(source), str(tmp_path / "dst"), *flags, *words])
    assert result.exit_code == 1
    assert sentence in result.stderr
    assert "Traceback" not in result.output


def test_models_are_listed_with_what_is_refused(tmp_path: Path, write_model: Callable[..., Path]) -> None:
    write_model(tmp_path, "good")
    write_model(tmp_path, "bad").write_bytes(b"x")

    result = CliRunner().invoke(cli, ["models", "--models", str(tmp_path), "--device", "cpu"])

    assert result.exit_code == 0
    assert "good" in result.output
    assert "a refiner for tests" in result.output
    assert "refused" in result.output
