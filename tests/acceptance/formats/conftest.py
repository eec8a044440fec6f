"""Sets of drawn scenes in every format, refined once through the command line, and what our readers find."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.annotations.shapes import ImageRef, Shape
from app.cli import cli
from app.datasets.annotation_index import index_annotations
from app.datasets.folder_place import FolderPlace
from trainer.simulators.scene_sets import write_set
from trainer.simulators.scenes import HEIGHT, WIDTH, Scene

SCENES = 6
SEED = 4


@dataclass(frozen=True)
class RefinedSet:
    """A set before and after; `scenes` is the truth about its images, `manifest` a line per file."""

    before: Path
    after: Path
    scenes: dict[str, Scene]
    manifest: dict[str, dict[str, Any]]

    def shapes(self) -> dict[str, tuple[Shape, ...]]:
        """What our readers find in the refined set, per image; no image has a problem."""
        names = [path.relative_to(self.after).as_posix() for path in self.after.rglob("*") if path.is_file()]
        index = index_annotations(names, list(self.scenes), FolderPlace(self.after))
        assert index.problems == []
        found = {}
        for image in self.scenes:
            source = index.of(image)
            assert source is not None
            geometry = source.read(ImageRef(Path(image).name, WIDTH, HEIGHT), FolderPlace(self.after))
            assert geometry.problems == ()
            found[image] = geometry.shapes
        return found


Refined = Callable[[str], RefinedSet]


@pytest.fixture(scope="session")
def refined(model_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Refined:
    """The function refined(format) -> RefinedSet; each set is drawn and refined once."""
    done: dict[str, RefinedSet] = {}

    def of(name: str) -> RefinedSet:
        if name not in done:
            done[name] = _refine(name, tmp_path_factory.mktemp(name), model_root)
        return done[name]

    return of


def _refine(name: str, place: Path, model_root: Path) -> RefinedSet:
    before, after, manifest = place / "before", place / "after", place / "manifest.jsonl"
    scenes = write_set(name, before, count=SCENES, seed=SEED)
    flags = ["--models", str(model_root), "--device", "cpu", "--model", "rgb", "--manifest", str(manifest)]
    result = CliRunner().invoke(cli, ["refine", str(before), str(after), *flags])
    logging.getLogger().handlers.clear()  # the command configures logging, which is for a process of its own
    for logger in ("simtrue", "app"):
        logging.getLogger(logger).setLevel(logging.NOTSET)
    assert result.exit_code == 0, result.output
    _, *lines = [json.loads(line) for line in manifest.read_bytes().splitlines()]
    return RefinedSet(before, after, scenes, {line["path"]: line for line in lines})


@pytest.fixture
def boxes_of() -> Callable[[Scene], list[tuple[float, ...]]]:
    """The corners of all things of a scene, in their order."""
    return lambda scene: [thing.box for thing in scene.things]
