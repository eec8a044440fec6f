"""Every nasty input gets its own status and one sentence, and hurts nobody else."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import httpx
import pytest
from PIL import Image

Picture = Callable[..., bytes]


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def giant_png(side: int) -> bytes:
    """A PNG whose header claims side x side pixels, with hardly any data."""
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 100))
        + chunk(b"IEND", b"")
    )


def animated_gif() -> bytes:
    file = io.BytesIO()
    frames = [Image.new("L", (8, 8), level) for level in (0, 200)]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=100, loop=0)
    return file.getvalue()


def cmyk_jpeg() -> bytes:
    file = io.BytesIO()
    Image.new("CMYK", (8, 8)).save(file, "JPEG")
    return file.getvalue()


def truncated_png() -> bytes:
    file = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(file, "PNG")
    return file.getvalue()[:1500]


def problem(answer: httpx.Response) -> tuple[int, str, str]:
    """Status, slug and sentence of a problem; checks its form."""
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document["status"] == answer.status_code
    assert document["title"]
    assert document["detail"].endswith(".")
    return answer.status_code, document["type"].removeprefix("urn:simtrue:problem:"), document["detail"]


@pytest.mark.parametrize(
    ("data", "status", "slug", "sentence"),
    [
        (b"just some text\n", 415, "unsupported-image", "'a.png' is a text file; PNG, JPEG"),
        (b"", 415, "unsupported-image", "'a.png' is an empty file"),
        (truncated_png(), 422, "invalid-image", "truncated"),
        (giant_png(60_000), 422, "too-many-pixels", "'a.png' has 60000 x 60000 pixels; at most 100000000"),
        (giant_png(5_000), 422, "invalid-image", "'a.png'"),
        (animated_gif(), 415, "unsupported-image", "an animated GIF"),
        (cmyk_jpeg(), 415, "unsupported-image", "CMYK"),
    ],
    ids=["text", "empty", "truncated", "giant", "hollow", "animated", "cmyk"],
)
def test_what_is_no_picture_for_us_is_named(
    client: httpx.Client, data: bytes, status: int, slug: str, sentence: str
) -> None:
    got = problem(client.post("/refine", files={"image": ("a.png", data)}))

    assert got[:2] == (status, slug)
    assert sentence in got[2]


def test_one_bad_picture_of_many_is_named_by_index_and_filename(
    client: httpx.Client, picture: Picture
) -> None:
    sent = [("image", ("a.png", picture())), ("image", ("b.png", b"text")), ("image", ("c.png", picture()))]

    answer = client.post("/refine", files=sent)

    assert problem(answer)[0] == 415
    assert answer.json()["image"] == {"index": 1, "filename": "b.png"}
    assert answer.json()["detail"].startswith("Image 1: 'b.png' is a text file")


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        (b'{"objects": [', "line 1"),
        (b'{"x": NaN}', "NaN is no JSON number"),
        (b"[" * 100_000, "nested deeper"),
        (b'"\xff"', "not valid UTF-8"),
        (b"\xef\xbb\xbf{}", "byte-order mark"),
        (b"", "not valid JSON"),
    ],
)
def test_annotations_that_are_no_json_are_refused(
    client: httpx.Client, picture: Picture, document: bytes, sentence: str
) -> None:
    answer = client.post(
        "/refine", files={"image": ("a.png", picture()), "annotations": ("a.json", document)}
    )

    assert problem(answer)[:2] == (400, "invalid-json")
    assert sentence in answer.json()["detail"]


def test_an_unknown_model_is_told_with_the_known_ones(client: httpx.Client, picture: Picture) -> None:
    answer = client.post("/refine", files={"image": picture()}, data={"model": "nope"})

    status, slug, sentence = problem(answer)
    assert (status, slug) == (404, "unknown-model")
    assert "'nope'" in sentence
    assert "grey" in sentence


@pytest.mark.parametrize(
    ("headers", "body", "sentence"),
    [
        ({"Content-Type": "application/json"}, b"{}", "takes multipart/form-data with a part `image`"),
        ({}, b"", "takes multipart/form-data"),
        ({"Content-Type": "multipart/form-data"}, b"x", "names no boundary"),
        ({"Content-Type": "multipart/form-data; boundary=a"}, b"--b\r\n", "The multipart body is broken"),
        ({"Content-Type": "multipart/form-data; boundary=a"}, b"--a--\r\n", "no part `image`"),
        ({"Content-Type": "image/png"}, b"", "is empty"),
    ],
)
def test_a_body_of_another_form_is_refused(
    client: httpx.Client, headers: dict[str, str], body: bytes, sentence: str
) -> None:
    answer = client.post("/refine", content=body, headers=headers)

    assert problem(answer)[:2] == (400, "invalid-request")
    assert sentence in answer.json()["detail"]


def test_annotations_for_some_images_only_are_refused(client: httpx.Client, picture: Picture) -> None:
    files = [("image", picture()) for _ in range(3)] + [("annotations", b"{}") for _ in range(2)]

    answer = client.post("/refine", files=files)

    assert problem(answer)[:2] == (400, "invalid-request")
    assert "2 annotation documents for 3 images" in answer.json()["detail"]


def test_an_option_that_is_wrong_is_named(client: httpx.Client, picture: Picture) -> None:
    answer = client.post("/refine", files={"image": picture()}, data={"options": '{"strength": 3}'})

    assert problem(answer)[:2] == (422, "invalid-options")
    assert "strength is 3" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/refine", 405), ("GET", "/nothing", 404), ("POST", "/models", 405)],
)
def test_the_frameworks_own_refusals_are_problems_too(
    client: httpx.Client, method: str, path: str, status: int
) -> None:
    assert problem(client.request(method, path))[0] == status


def test_a_hostile_filename_is_only_echoed(client: httpx.Client, picture: Picture) -> None:
    name = '../../etc/"passwd"\u202e\n.png'

    answer = client.post("/refine", files={"image": (name, picture())})

    assert answer.status_code == 200
    assert "passwd" in answer.json()["images"][0]["filename"]
