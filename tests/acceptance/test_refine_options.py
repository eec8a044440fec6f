"""Strength, seed, variants, locks and output do what they say, through HTTP."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

Picture = Callable[..., bytes]


def refine(
    client: httpx.Client, data: bytes, model: str = "grey", annotations: Any = None, **options: Any
) -> httpx.Response:
    files = {"image": ("a.png", data)}
    if annotations is not None:
        files["annotations"] = ("a.json", json.dumps(annotations).encode())
    return client.post("/refine", files=files, data={"model": model, "options": json.dumps(options)})


def images(answer: httpx.Response) -> list[bytes]:
    assert answer.status_code == 200, answer.text
    return [base64.b64decode(image["image"]) for image in answer.json()["images"]]


def pixels(data: bytes) -> NDArray[np.int64]:
    return np.asarray(Image.open(io.BytesIO(data))).astype(np.int64)


def grain(sent: bytes, answer: httpx.Response) -> NDArray[np.int64]:
    (got,) = images(answer)
    return pixels(got) - pixels(sent)


@pytest.mark.parametrize(("mode", "kind"), [("L", "PNG"), ("RGB", "JPEG"), ("P", "PNG"), ("I;16", "TIFF")])
def test_strength_zero_returns_the_very_bytes(
    client: httpx.Client, picture: Picture, mode: str, kind: str
) -> None:
    sent = picture(mode, kind=kind)
    assert images(refine(client, sent, strength=0)) == [sent]


def test_half_the_strength_is_half_the_change(client: httpx.Client, picture: Picture) -> None:
    sent = picture()
    (got,) = images(refine(client, sent, strength=0.5))
    assert np.array_equal(pixels(got), pixels(sent) + 5)


def test_locked_pixels_are_bit_identical_and_all_others_change(
    client: httpx.Client, picture: Picture
) -> None:
    sent = picture(size=(24, 16))
    shapes = {"objects": [{"label": "eye", "box": [20, 0, 24, 4]}, {"label": "ear", "box": [0, 0, 2, 2]}]}
    locks = [
        {"box": [1, 12, 5, 16]},
        {"polygon": [[10, 10], [14, 10], [14, 14], [10, 14]]},
        {"annotations": ["eye"]},
    ]

    (got,) = images(refine(client, sent, annotations=shapes, lock=locks))

    locked = np.zeros((16, 24), bool)
    locked[12:16, 1:5] = locked[10:14, 10:14] = locked[0:4, 20:24] = True
    assert np.array_equal(pixels(got) - pixels(sent), np.where(locked, 0, 10))


def test_locking_all_annotations_locks_every_one(client: httpx.Client, picture: Picture) -> None:
    sent = picture(size=(24, 16))
    shapes = [{"bbox": [0, 0, 12, 16]}, {"bbox": [12, 0, 12, 16]}]
    assert images(refine(client, sent, annotations=shapes, lock=[{"annotations": "all"}])) == [sent]


def test_locking_annotations_that_were_not_sent_is_refused(client: httpx.Client, picture: Picture) -> None:
    answer = refine(client, picture(), lock=[{"annotations": "all"}])
    assert answer.status_code == 422
    assert "the request has none" in answer.json()["detail"]


def test_a_label_that_nothing_has_is_noted(client: httpx.Client, picture: Picture) -> None:
    shapes = [{"label": "eye", "bbox": [0, 0, 4, 4]}]
    answer = refine(client, picture(), annotations=shapes, lock=[{"annotations": ["nose"]}])
    assert any("'nose'" in note for note in answer.json()["images"][0]["notes"])


def test_variants_differ_and_each_can_be_had_again_by_its_seed(
    client: httpx.Client, picture: Picture
) -> None:
    sent = picture()

    several = refine(client, sent, "noisy", seed=7, variants=3)

    got = images(several)
    assert [image["seed"] for image in several.json()["images"]] == [7, 8, 9]
    assert [image["variant"] for image in several.json()["images"]] == [0, 1, 2]
    assert len(set(got)) == 3
    assert images(refine(client, sent, "noisy", seed=8)) == [got[1]]


def test_every_image_has_its_own_grain_unless_one_look_is_asked_for(
    client: httpx.Client, picture: Picture
) -> None:
    sent = [picture(seed=index) for index in range(2)]

    own = [grain(sent[i], refine(client, sent[i], "noisy", seed=7)) for i in range(2)]
    shared = [grain(sent[i], refine(client, sent[i], "noisy", seed=7, shared_look=True)) for i in range(2)]

    # Where a pixel is clipped, its grain is: 20 levels above black, at noise of 8 levels, few are.
    assert np.mean(own[0] == own[1]) < 0.2
    assert np.mean(shared[0] == shared[1]) > 0.95


def test_the_same_pixels_get_the_same_grain_whatever_file_they_come_in(
    client: httpx.Client, picture: Picture
) -> None:
    png, bmp = picture(), picture(kind="BMP")
    assert np.array_equal(
        grain(png, refine(client, png, "noisy", seed=7)), grain(bmp, refine(client, bmp, "noisy", seed=7))
    )


def test_variants_of_a_model_without_noise_are_refused(client: httpx.Client, picture: Picture) -> None:
    answer = refine(client, picture(), variants=2)
    assert answer.status_code == 422
    assert "takes no noise" in answer.json()["detail"]


def test_the_bytes_do_not_depend_on_who_shares_the_batch(client: httpx.Client, picture: Picture) -> None:
    sent = [picture(size=(33, 21), seed=index) for index in range(24)]
    alone = [images(refine(client, data, "noisy", seed=index)) for index, data in enumerate(sent)]

    with ThreadPoolExecutor(12) as clients:
        together = list(
            clients.map(lambda job: images(refine(client, job[1], "noisy", seed=job[0])), enumerate(sent))
        )

    assert together == alone


@pytest.mark.parametrize("name", ["png", "jpeg", "webp", "tiff", "bmp"])
def test_another_output_format_is_written_when_asked(
    client: httpx.Client, picture: Picture, name: str
) -> None:
    answer = refine(client, picture("RGB"), output={"format": name})
    (image,) = answer.json()["images"]
    assert image["media_type"] == f"image/{name}"
    assert Image.open(io.BytesIO(images(answer)[0])).format == name.upper()


def test_a_format_that_cannot_hold_the_picture_is_refused(client: httpx.Client, picture: Picture) -> None:
    answer = refine(client, picture("RGBA"), output={"format": "jpeg"})
    assert answer.status_code == 422
    assert "alpha" in answer.json()["detail"]


def test_a_lower_quality_makes_a_smaller_jpeg(client: httpx.Client, picture: Picture) -> None:
    sent = picture("RGB", size=(64, 64))
    low, high = (
        images(refine(client, sent, output={"format": "jpeg", "quality": quality}))[0] for quality in (20, 95)
    )
    assert len(low) < len(high) / 2


def test_a_whole_request_fits_into_a_url_and_a_body(client: httpx.Client, picture: Picture) -> None:
    sent = picture()
    query = {"model": "noisy", "strength": "0.5", "seed": "3"}
    answer = client.post(
        "/refine", params=query, content=sent, headers={"Content-Type": "image/png", "Accept": "image/png"}
    )
    assert answer.status_code == 200, answer.text
    assert [answer.content] == images(refine(client, sent, "noisy", strength=0.5, seed=3))


@pytest.mark.parametrize(
    ("query", "status", "sentence"),
    [
        ({"strengh": "1"}, 400, "'strengh' is unknown"),
        ({"strength": "much"}, 422, "strength is 'much'"),
        ({"seed": "1.5"}, 422, "seed is 1.5"),
    ],
)
def test_a_wrong_query_is_refused(
    client: httpx.Client, picture: Picture, query: dict[str, str], status: int, sentence: str
) -> None:
    answer = client.post("/refine", params=query, content=picture(), headers={"Content-Type": "image/png"})
    assert answer.status_code == status
    assert sentence in answer.json()["detail"]


def test_a_query_beside_a_form_is_refused_instead_of_passed_over(
    client: httpx.Client, picture: Picture
) -> None:
    answer = client.post("/refine?strength=0", files={"image": picture()})
    assert answer.status_code == 400
    assert "'strength' is only for a request whose whole body is one image" in answer.json()["detail"]


def test_a_lock_outside_of_the_image_is_told(client: httpx.Client, picture: Picture) -> None:
    inside: list[Any] = [{"box": [-5, -5, 3, 3]}, {"polygon": [[20, 10], [40, 10], [40, 30]]}]
    beside: list[Any] = [{"box": [24, 0, 30, 16]}, {"polygon": [[0, 16], [24, 17], [0, 30]]}]

    def notes(*locks: Any) -> list[str]:
        (image,) = refine(client, picture(), lock=locks).json()["images"]  # 24 x 16
        return list(image["notes"])

    assert notes(*inside) == []
    assert notes(*inside, *beside) == ["2 of the locks drawn lie outside of the image and lock nothing."]
