"""Files that go through the threads together become what each would alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.datasets.folder_place import FolderPlace
from app.datasets.manifest import Entry
from app.datasets.set_plan import Choice, PlannedFile, plan_set
from app.errors import ShuttingDown
from app.options import RefineOptions
from app.pixel_budget import PixelBudget
from app.services import Services, open_services
from app.set_groups import refine_group
from app.set_refining import SetRun, refine_file
from app.settings import Settings


@pytest.fixture
def services(tmp_path: Path, write_model: Callable[..., Path]) -> Iterator[Services]:
    write_model(tmp_path / "models", noise=(1, 0))
    settings = Settings(models=tmp_path / "models", device="cpu", threads=1, max_pixels=1 << 18)
    with open_services(settings) as opened:
        yield opened


@pytest.fixture
def source(tmp_path: Path) -> FolderPlace:
    """Small and large images, labels, a broken image, one beyond the limit, and a text."""
    chance = np.random.default_rng(0)
    place = FolderPlace(tmp_path / "source")
    for folder in ("images", "labels"):
        (place.folder / folder).mkdir(parents=True)
    for name, side in {"a": 32, "b": 300, "c": 24, "d": 600, "e": 128, "f": 129}.items():
        pixels = chance.integers(20, 200, (side, side), dtype=np.uint8)
        Image.fromarray(pixels).save(place.folder / "images" / f"{name}.png")
        (place.folder / "labels" / f"{name}.txt").write_text("0 0.5 0.5 0.4 0.4\n")
    place.write("images/broken.png", b"\x89PNG\r\n\x1a\nnothing")
    place.write("notes.txt", b"copied")
    return place


def run_into(services: Services, source: FolderPlace, target: Path, **options: object) -> SetRun:
    chosen = RefineOptions.model_validate(options)
    return SetRun(services, services.models.get(), chosen, source, FolderPlace(target), background=True)


def planned(source: FolderPlace) -> list[PlannedFile]:
    return list(plan_set(source.names(), source, Choice()).files)


def files_below(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.mark.parametrize("variants", [1, 2])
def test_a_group_becomes_what_each_of_its_files_does_alone(
    services: Services, source: FolderPlace, tmp_path: Path, variants: int
) -> None:
    files = planned(source)

    async def alone(run: SetRun) -> list[Entry]:
        budget = PixelBudget(1 << 20)
        return [entry for file in files for entry in await refine_file(run, file, budget)]

    one_by_one = asyncio.run(alone(run_into(services, source, tmp_path / "alone", variants=variants)))
    together = asyncio.run(
        refine_group(
            run_into(services, source, tmp_path / "group", variants=variants), files, PixelBudget(1 << 20)
        )
    )

    assert together == one_by_one
    assert files_below(tmp_path / "group") == files_below(tmp_path / "alone")
    assert {entry.path for entry in together if entry.action == "failed"} == {
        "images/broken.png",
        "images/d.png",
    }
    assert {entry.refined.verdict for entry in together if entry.refined} != {"unchecked"}


def test_a_service_that_stops_ends_the_group_and_not_its_files(
    services: Services, source: FolderPlace, tmp_path: Path
) -> None:
    services.engine.close()
    run = run_into(services, source, tmp_path / "group")

    with pytest.raises(ShuttingDown):
        asyncio.run(refine_group(run, planned(source), PixelBudget(1 << 20)))

    assert "images/a.png" not in files_below(tmp_path)


@pytest.mark.parametrize(("quality", "action"), [(1, "dropped"), (90, "refined")])
def test_an_image_that_losses_bring_below_the_thresholds_is_dropped(
    services: Services, tmp_path: Path, quality: int, action: str
) -> None:
    """What a job is asked for with `below: drop`; strength 0 leaves the losses alone to be measured."""
    place = FolderPlace(tmp_path / "drawn")
    rows, columns = np.mgrid[0:48, 0:64]
    levels = np.where(np.hypot(rows - 20, columns - 20) < 8, 95, 80).astype(np.uint8)
    place.folder.mkdir()
    Image.fromarray(levels).save(place.folder / "a.png")
    place.write("a.json", b'{"objects": [{"box": [8, 8, 32, 32]}]}')
    options = {"strength": 0, "output": {"format": "jpeg", "quality": quality}}
    run = run_into(services, place, tmp_path / "into", **options, thresholds={"below": "report"})
    files = plan_set(place.names(), place, Choice(output_format="jpeg")).files
    (file,) = (one for one in files if one.action == "refine")

    (entry,) = asyncio.run(refine_file(replace(run, drop_below=True), file, PixelBudget(1 << 20)))

    assert entry.action == action, entry
