"""Where a format has losses, what is measured and decided is what its reader sees, and that is told."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from model.preservation.drift import Box
from model.preservation.pictures import measure_pictures

BOX = (10, 10, 30, 30)
SHAPES = json.dumps({"objects": [{"label": "disc", "box": BOX}]}).encode()
ROUNDED = 1e-3
"""Three decimals or more are told."""
NO_HOLD = "Even unrefined, the image does not hold the thresholds as jpeg; ask for a higher quality, or png."


def drawn(kind: str = "PNG", **save: Any) -> bytes:
    """A faint disc with a hole on flat ground, 64x48, under BOX."""
    rows, columns = np.mgrid[0:48, 0:64]
    distance = np.hypot(rows - 20, columns - 20)
    levels = np.where((distance < 8) & (distance > 3), 95, 80).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(levels).save(file, kind, **save)
    return file.getvalue()


@pytest.fixture(scope="module")
def client(
    serve: Any, tmp_path_factory: pytest.TempPathFactory, write_model: Callable[..., Path]
) -> Iterator[httpx.Client]:
    """`gentle` only brightens; `storm` drowns everything in grain."""
    root = tmp_path_factory.mktemp("models")
    write_model(root, "gentle")
    write_model(root, "storm", noise=(1, 0), noise_gain=200.0)
    with serve(root) as (client, _):
        yield client


def refine(client: httpx.Client, image: bytes, model: str = "gentle", **options: Any) -> dict[str, Any]:
    answer = client.post(
        "/refine",
        files={"image": ("disc.img", image), "annotations": SHAPES},
        data={"model": model, "options": json.dumps(options)},
    )
    assert answer.status_code == 200, answer.text
    (refined,) = answer.json()["images"]
    return refined  # type: ignore[no-any-return]


def pixels(data: bytes) -> np.ndarray[Any, Any]:
    """uint8 [H, W, C]."""
    array = np.asarray(Image.open(io.BytesIO(data)))
    return array if array.ndim == 3 else array[:, :, None]


JPEG_1 = {"format": "jpeg", "quality": 1}


@pytest.mark.parametrize(
    ("model", "output", "below", "verdict"),
    [
        ("gentle", JPEG_1, "report", "below_thresholds"),
        ("gentle", JPEG_1, "soften", "kept_original"),
        ("gentle", JPEG_1, "keep_original", "kept_original"),
        ("gentle", {"format": "webp", "quality": 1}, "report", "below_thresholds"),
        ("gentle", {"format": "jpeg", "quality": 90}, "soften", "accepted"),
        ("storm", {"format": "jpeg", "quality": 30}, "soften", "softened"),
        ("storm", {"format": "webp", "quality": 30}, "soften", "softened"),
        ("storm", {"format": "png"}, "soften", "softened"),
    ],
)
def test_the_numbers_are_those_of_the_bytes_that_are_delivered(
    client: httpx.Client, model: str, output: dict[str, Any], below: str, verdict: str
) -> None:
    sent = drawn()

    refined = refine(client, sent, model, output=output, thresholds={"below": below})

    (said,) = refined["preservation"]
    (found,) = measure_pictures(pixels(sent), pixels(base64.b64decode(refined["image"])), [Box(*BOX)])
    for name in ("structure_kept", "least_kept", "dx", "dy", "shift_px"):
        assert said[name] == pytest.approx(getattr(found, name), abs=ROUNDED), name
    assert refined["verdict"] == verdict


def test_what_was_softened_holds_the_thresholds_as_it_is_delivered(client: httpx.Client) -> None:
    """Without its losses it would hold at a greater strength."""
    coarse = refine(client, drawn(), "storm", output={"format": "jpeg", "quality": 10})
    exact = refine(client, drawn(), "storm", output={"format": "png"})

    assert coarse["verdict"] == exact["verdict"] == "softened"
    assert coarse["preservation"][0]["structure_kept"] >= 0.6
    assert coarse["strength_applied"] < exact["strength_applied"]


def test_a_format_without_losses_changes_no_number(client: httpx.Client) -> None:
    told = [
        refine(client, drawn(), "storm", output={"format": name}) for name in ("png", "tiff", "bmp", None)
    ]

    for one in told:
        assert (one["verdict"], one["lossless"], one["notes"]) == ("softened", True, [])
        assert one["preservation"] == told[0]["preservation"]
        assert one["strength_applied"] == told[0]["strength_applied"]


def test_an_image_that_does_not_even_hold_unrefined_is_noted(client: httpx.Client) -> None:
    kept = refine(client, drawn(), output=JPEG_1)
    reported = refine(client, drawn(), output=JPEG_1, thresholds={"below": "report"})
    original = {"below": "keep_original"}
    fine = refine(client, drawn(), "storm", output={"format": "jpeg", "quality": 95}, thresholds=original)
    verbatim = refine(client, drawn("JPEG", quality=50), "storm", thresholds=original)

    assert kept["notes"] == [NO_HOLD]
    assert (reported["verdict"], reported["notes"]) == ("below_thresholds", [])
    assert (fine["verdict"], fine["notes"]) == ("kept_original", [])
    assert (verbatim["verdict"], verbatim["notes"], verbatim["lossless"]) == ("kept_original", [], True)


@pytest.mark.parametrize(("output", "name"), [(JPEG_1, "jpeg"), ({"format": "webp", "quality": 90}, "webp")])
def test_locked_pixels_that_go_through_losses_are_noted(
    client: httpx.Client, output: dict[str, Any], name: str
) -> None:
    """Also where nothing is measured."""
    answer = client.post(
        "/refine",
        files={"image": drawn()},
        data={"model": "gentle", "options": json.dumps({"lock": [{"box": BOX}], "output": output})},
    )

    (refined,) = answer.json()["images"]
    assert refined["notes"] == [
        f"Locked pixels went through {name}, which changes some by a few levels; png keeps every bit."
    ]


def test_locks_that_keep_every_bit_or_lock_nothing_are_not_noted(client: httpx.Client) -> None:
    lock = [{"box": BOX}]
    jpeg = drawn("JPEG", quality=90)

    assert refine(client, drawn(), lock=lock)["notes"] == []
    assert refine(client, jpeg, lock=lock, output={"format": "png"})["notes"] == []
    assert refine(client, jpeg, lock=lock, strength=0)["notes"] == []
    assert refine(client, jpeg)["notes"] == []
    assert refine(client, jpeg, lock=lock)["notes"] != []
