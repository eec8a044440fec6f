"""Preservation is measured under every annotation, and what it decides is what comes back."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

SHAPES = {"objects": [{"label": "disc", "box": [10, 10, 30, 30]}, {"label": "sky", "box": [40, 2, 60, 12]}]}


@pytest.fixture(scope="module")
def disc() -> bytes:
    """A bright disc with a hole on flat ground, 64x48, under the first box of SHAPES."""
    rows, columns = np.mgrid[0:48, 0:64]
    distance = np.hypot(rows - 20, columns - 20)
    levels = np.where((distance < 8) & (distance > 3), 160, 80).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def client(serve: Any, tmp_path_factory: pytest.TempPathFactory, write_model: Callable[..., Path]) -> Any:
    """`gentle` only brightens; `storm` drowns everything in grain."""
    root = tmp_path_factory.mktemp("models")
    write_model(root, "gentle")
    write_model(root, "storm", noise=(1, 0), noise_gain=200.0)
    with serve(root) as (client, _):
        yield client


def refine(
    client: httpx.Client, image: bytes, model: str, document: Any = SHAPES, **options: Any
) -> dict[str, Any]:
    answer = client.post(
        "/refine",
        files={"image": ("disc.png", image), "annotations": json.dumps(document).encode()},
        data={"model": model, "options": json.dumps(options)},
    )
    assert answer.status_code == 200, answer.text
    (refined,) = answer.json()["images"]
    return refined  # type: ignore[no-any-return]


def test_a_harmless_change_is_accepted_with_numbers_for_every_annotation(
    client: httpx.Client, disc: bytes
) -> None:
    refined = refine(client, disc, "gentle")

    assert refined["verdict"] == "accepted"
    assert refined["strength_applied"] == 1
    first, second = refined["preservation"]
    assert (first["annotation"], first["label"]) == (0, "disc")
    assert first["structure_kept"] > 0.9
    assert first["shift_px"] < 0.2
    assert first["least_kept"] > 0.7
    assert (second["label"], second["structure_kept"], second["shift_px"]) == ("sky", None, None)
    assert second["least_kept"] is None


def test_lost_structure_is_softened_until_it_is_kept(client: httpx.Client, disc: bytes) -> None:
    refined = refine(client, disc, "storm")

    assert refined["verdict"] == "softened"
    assert 0 < refined["strength_applied"] < 1
    assert refined["preservation"][0]["structure_kept"] >= 0.6


def test_the_original_comes_back_when_that_is_asked_for(client: httpx.Client, disc: bytes) -> None:
    refined = refine(client, disc, "storm", thresholds={"below": "keep_original"})

    assert (refined["verdict"], refined["strength_applied"]) == ("kept_original", 0)
    assert base64.b64decode(refined["image"]) == disc


ANYTHING = {"min_structure_kept": 0, "min_least_kept": 0, "max_shift_px": 100}


def test_thresholds_of_the_caller_decide(client: httpx.Client, disc: bytes) -> None:
    report = refine(client, disc, "storm", thresholds={"below": "report"})
    lenient = refine(client, disc, "storm", thresholds=ANYTHING)

    assert (report["verdict"], report["strength_applied"]) == ("below_thresholds", 1)
    assert report["preservation"][0]["structure_kept"] < 0.6
    assert (lenient["verdict"], lenient["image"]) == ("accepted", report["image"])


@pytest.mark.parametrize("document", [{"nothing": "known"}, [], {"objects": []}])
def test_a_document_without_geometry_leaves_the_image_unchecked(
    client: httpx.Client, disc: bytes, document: Any
) -> None:
    refined = refine(client, disc, "storm", document)
    assert (refined["verdict"], refined["preservation"]) == ("unchecked", [])


def test_an_annotation_that_cannot_be_used_is_a_problem_not_an_error(
    client: httpx.Client, disc: bytes
) -> None:
    refined = refine(client, disc, "gentle", {"objects": [{"label": "far", "box": [900, 900, 950, 950]}]})
    assert any("lies outside" in problem for problem in refined["problems"])


def test_one_document_is_matched_to_several_images_by_filename(client: httpx.Client, disc: bytes) -> None:
    flat = io.BytesIO()
    Image.new("L", (64, 48), 90).save(flat, "PNG")
    document = {
        "images": [{"id": 1, "file_name": "b.png", "width": 64, "height": 48}],
        "annotations": [{"id": 5, "image_id": 1, "category_id": 1, "bbox": [10, 10, 20, 20]}],
        "categories": [{"id": 1, "name": "disc"}],
    }
    files = [
        ("image", ("a.png", flat.getvalue())),
        ("image", ("b.png", disc)),
        ("annotations", json.dumps(document).encode()),
    ]

    first, second = client.post("/refine", files=files, data={"model": "gentle"}).json()["images"]

    assert (first["verdict"], first["preservation"]) == ("unchecked", [])
    assert (second["verdict"], second["preservation"][0]["label"]) == ("accepted", "disc")
