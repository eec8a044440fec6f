"""COCO, VOC, KITTI and YOLO sets mean to datumaro what they meant before, and what was drawn."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trainer.simulators.layouts.markup import pixels_of
from trainer.simulators.scenes import CLASSES, Thing

Refined = Callable[[str], Any]
Found = dict[str, list[list[Any]]]
READER = Path(__file__).with_name("datumaro_reader.py")
HUNDREDTH = 0.005 + 1e-5
"""What most formats write two decimals of; datumaro keeps float32."""


@pytest.fixture
def load(tmp_path: Path) -> Callable[[str, Path], Found]:
    """The function load(format, folder): all annotations of each image, as datumaro has them."""
    python = os.environ.get("DATUMARO_PYTHON")
    if python is None:
        pytest.skip("DATUMARO_PYTHON names no Python that has datumaro")

    def loaded(name: str, folder: Path) -> Found:
        scratch = tmp_path / folder.name
        scratch.mkdir()
        command = [python, str(READER), name, str(folder), str(scratch), *CLASSES]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        found: Found = json.loads(done.stdout)
        return found

    return loaded


def counted_from_one(thing: Thing) -> tuple[float, ...]:
    """VOC numbers its pixels from 1 and names the last one inside; datumaro takes the numbers as they are."""
    x1, y1, x2, y2 = pixels_of(thing)
    return x1 + 1, y1 + 1, x2, y2


def exact(thing: Thing) -> tuple[float, ...]:
    return thing.box


@pytest.mark.parametrize(
    ("name", "box_of"), [("coco", exact), ("voc", counted_from_one), ("kitti", exact), ("yolo-detect", exact)]
)
def test_datumaro_finds_the_same_before_and_after_and_what_was_drawn(
    refined: Refined,
    load: Callable[[str, Path], Found],
    name: str,
    box_of: Callable[[Thing], tuple[float, ...]],
) -> None:
    done = refined(name)
    before, after = load(name, done.before), load(name, done.after)
    assert before == after

    for image, scene in done.scenes.items():
        found = [(one[0], one[2]) for one in before[Path(image).stem] if one[1] == "bbox"]
        left = list(found)
        for thing in scene.things:
            match = [one for one in left if one[0] == thing.label and near(one[1], box_of(thing))]
            assert match, (image, thing.label, box_of(thing), found)
            left.remove(match[0])


def near(one: list[float], other: tuple[float, ...]) -> bool:
    return one == pytest.approx(other, abs=HUNDREDTH)
