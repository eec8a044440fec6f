"""Every kind of picture that the service takes comes back in its own kind, refined."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

Picture = Callable[..., bytes]


def refine(client: httpx.Client, data: bytes, model: str = "grey", **options: str) -> httpx.Response:
    answer = client.post(
        "/refine",
        files={"image": ("a.img", data)},
        data={"model": model, **options},
        headers={"Accept": "image/*"},
    )
    assert answer.status_code == 200, answer.text
    return answer


def pixels(data: bytes) -> NDArray[np.int64]:
    return np.asarray(Image.open(io.BytesIO(data))).astype(np.int64)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "WEBP"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_grey_and_rgb_gain_ten_levels_in_the_format_that_was_sent(
    client: httpx.Client, picture: Picture, kind: str, mode: str
) -> None:
    save = {"lossless": True} if kind == "WEBP" else {}
    sent = picture(mode, kind=kind, **save)

    answer = refine(client, sent, {"L": "grey", "RGB": "rgb"}[mode])

    assert answer.headers["content-type"] == f"image/{kind.lower()}"
    assert np.array_equal(pixels(answer.content), pixels(sent) + 10)


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_alpha_stays_while_colours_change(client: httpx.Client, picture: Picture, mode: str) -> None:
    sent = picture(mode)

    got = pixels(refine(client, sent).content)

    assert np.array_equal(got[:, :, -1], pixels(sent)[:, :, -1])
    assert np.array_equal(got[:, :, :-1], pixels(sent)[:, :, :-1] + 10)


def test_a_palette_picture_comes_back_as_rgb(client: httpx.Client, picture: Picture) -> None:
    sent = picture("P")

    got = Image.open(io.BytesIO(refine(client, sent, "rgb").content))

    expected = np.asarray(Image.open(io.BytesIO(sent)).convert("RGB")).astype(int) + 10
    assert got.mode == "RGB"
    assert np.array_equal(np.asarray(got), expected)


@pytest.mark.parametrize(("model", "gain"), [("depth", 10), ("grey", 10 * 257)])
def test_sixteen_bits_stay_sixteen_bits_also_through_a_model_of_eight(
    client: httpx.Client, picture: Picture, model: str, gain: int
) -> None:
    sent = picture("I;16")

    got = pixels(refine(client, sent, model).content)

    assert np.array_equal(got, pixels(sent) + gain)


def test_a_jpeg_stays_a_jpeg(client: httpx.Client, picture: Picture) -> None:
    sent = picture("L", size=(64, 48), kind="JPEG", quality=95)

    answer = refine(client, sent)

    assert answer.headers["content-type"] == "image/jpeg"
    difference = pixels(answer.content) - pixels(sent)
    assert abs(difference.mean() - 10) < 1


def test_exif_orientation_and_icc_profile_are_kept(client: httpx.Client, picture: Picture) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "a description"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    sent = picture("RGB", size=(30, 20), exif=exif.tobytes(), icc_profile=profile)

    got = Image.open(io.BytesIO(refine(client, sent, "rgb").content))

    assert got.size == (30, 20)
    assert got.getexif()[0x0112] == 6
    assert got.getexif()[0x010E] == "a description"
    assert got.info["icc_profile"] == profile


@pytest.mark.parametrize("size", [(1, 1), (1, 37), (300, 3)])
def test_thin_pictures_are_refined_too(client: httpx.Client, picture: Picture, size: tuple[int, int]) -> None:
    sent = picture("L", size=size)
    assert np.array_equal(pixels(refine(client, sent).content), pixels(sent) + 10)


def test_a_picture_of_3000_by_2000_is_refined(client: httpx.Client, picture: Picture) -> None:
    sent = picture("L", size=(3000, 2000), kind="BMP")
    assert np.array_equal(pixels(refine(client, sent).content), pixels(sent) + 10)


def test_a_picture_is_the_same_cut_into_tiles_or_whole(serve: Any, model_root: Any, picture: Picture) -> None:
    sent = picture("L", size=(700, 500), kind="BMP")
    got = []
    for tile_pixels in (1 << 14, 1 << 20):
        with serve(model_root, tile_pixels=tile_pixels) as (client, _):
            got.append(refine(client, sent, "wide").content)

    assert got[0] == got[1]
    assert got[0] != sent


def test_64_small_pictures_in_one_request_come_back_in_order(client: httpx.Client, picture: Picture) -> None:
    sent = [picture("L", seed=index, size=(16 + index % 3, 16)) for index in range(64)]

    answer = client.post(
        "/refine", files=[("image", (f"{index}.png", data)) for index, data in enumerate(sent)]
    )

    images = answer.json()["images"]
    assert [image["filename"] for image in images] == [f"{index}.png" for index in range(64)]
    decoded = [pixels(base64.b64decode(image["image"])) for image in images]
    assert all(np.array_equal(got, pixels(data) + 10) for got, data in zip(decoded, sent, strict=True))
