"""Whatever format a set has, refining it changes the pixels of its pictures and nothing else at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from trainer.simulators.scene_sets import FORMATS, write_set

Refined = Callable[[str], Any]

STRIPS = {273, 279}
WITHOUT_LABELS = {"depth"}
ALSO_PICTURES = {"images/val/empty.jpg"}
"""Of the YOLO sets: a picture without a thing, hence of no scene."""


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def exif(image: Image.Image) -> dict[int, Any]:
    """Without a TIFF's own table of where its pixels are."""
    return {tag: value for tag, value in image.getexif().items() if tag not in STRIPS}


@pytest.mark.parametrize("name", FORMATS)
def test_every_file_is_there_and_all_but_the_pictures_have_their_bytes(refined: Refined, name: str) -> None:
    done = refined(name)

    before, after = contents(done.before), contents(done.after)

    assert set(after) == set(before)
    changed = {path for path in before if after[path] != before[path]}
    assert changed == set(done.scenes) | (ALSO_PICTURES & set(before))


@pytest.mark.parametrize("name", FORMATS)
def test_pictures_keep_all_but_their_pixels(refined: Refined, name: str) -> None:
    done = refined(name)

    for path in done.scenes:
        with Image.open(done.before / path) as before, Image.open(done.after / path) as after:
            assert (after.format, after.mode, after.size) == (before.format, before.mode, before.size)
            assert exif(after) == exif(before)
            assert after.info.get("icc_profile") == before.info.get("icc_profile")
            rise = np.asarray(after).astype(int) - np.asarray(before)
            levels = 257 if before.mode == "I;16" else 1
            if before.mode == "RGBA":
                assert (rise[..., 3] == 0).all()
                rise = rise[..., :3]
            lossy = before.format in {"JPEG", "WEBP"}
            assert rise.mean() == pytest.approx(10 * levels, abs=0.5 if lossy else 0)


@pytest.mark.parametrize("name", sorted(FORMATS.keys() - WITHOUT_LABELS))
def test_what_was_drawn_is_measured_by_the_labels_of_the_set(refined: Refined, name: str) -> None:
    done = refined(name)

    for path, scene in done.scenes.items():
        line = done.manifest[path]
        assert line["annotations"] is not None
        assert line["verdict"] == "accepted"
        assert len(line["preservation"]) >= min(3, len(scene.things))


def test_masks_depth_and_other_pixels_of_labels_are_told_from_pictures(refined: Refined) -> None:
    kinds = {"voc": 2 * 6, "solo": 2 * 6, "depth": 2 * 6, "panoptic": 6}
    for name, count in kinds.items():
        told = [line for line in refined(name).manifest.values() if "label image" in line.get("reason", "")]
        assert len(told) == count


def test_a_set_is_drawn_twice_with_the_same_bytes(tmp_path: Path) -> None:
    for name in FORMATS:
        for place in ("one", "two"):
            write_set(name, tmp_path / place / name, count=3, seed=9)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_pictures_that_only_a_document_knows_to_be_labels_are_copied_and_it_says_so(refined: Refined) -> None:
    line = refined("panoptic").manifest["pan/0000.png"]
    reason = "taken for a label image, because pan.json names it as a panoptic segmentation"
    assert (line["action"], line["reason"]) == ("copied", reason)
