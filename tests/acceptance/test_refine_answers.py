"""The Accept header decides between JSON, one image and a zip of several."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable

import httpx
from PIL import Image

Picture = Callable[..., bytes]


def post(
    client: httpx.Client, accept: str, *images: tuple[str, bytes], options: str = "{}", model: str = "grey"
) -> httpx.Response:
    files = [("image", image) for image in images]
    data = {"options": options, "model": model}
    return client.post("/refine", files=files, data=data, headers={"Accept": accept})


def archive_of(answer: httpx.Response) -> dict[str, bytes]:
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_an_image_answer_carries_model_verdict_and_seed_in_headers(
    client: httpx.Client, picture: Picture
) -> None:
    answer = post(client, "image/png", ("a.png", picture()), options='{"seed": 5}')

    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["simtrue-model"] == "grey/1"
    assert answer.headers["simtrue-seed"] == "5"
    assert answer.headers["simtrue-verdict"] == "unchecked"
    assert answer.headers["vary"] == "Accept"
    assert Image.open(io.BytesIO(answer.content)).format == "PNG"


def test_an_accepted_image_type_is_the_output_format(client: httpx.Client, picture: Picture) -> None:
    answer = post(client, "image/webp", ("a.png", picture()))
    assert Image.open(io.BytesIO(answer.content)).format == "WEBP"


def test_one_image_cannot_answer_for_two(client: httpx.Client, picture: Picture) -> None:
    answer = post(client, "image/png", ("a.png", picture()), ("b.png", picture()))
    assert answer.status_code == 406
    assert "one image cannot carry 2 results" in answer.json()["detail"]


def test_an_output_format_against_the_accepted_type_is_refused(
    client: httpx.Client, picture: Picture
) -> None:
    answer = post(client, "image/png", ("a.png", picture()), options='{"output": {"format": "jpeg"}}')
    assert answer.status_code == 406


def test_a_type_that_cannot_be_made_is_refused(client: httpx.Client, picture: Picture) -> None:
    answer = post(client, "text/html", ("a.png", picture()))
    assert answer.status_code == 406
    assert answer.headers["content-type"] == "application/problem+json"


def test_files_in_a_zip_have_safe_and_distinct_names(client: httpx.Client, picture: Picture) -> None:
    names = ["../../evil.png", "C:\\x\\a.PNG", "a.png", "A.png", "", "..", "con.png", "no-extension"]

    files = archive_of(post(client, "application/zip", *((name, picture()) for name in names)))

    assert list(files) == [
        "evil.png", "a.PNG", "a-2.png", "A-3.png", "image-4.png", "image.png", "_con.png", "no-extension.png",
        "report.json",
    ]  # fmt: skip


def test_variants_are_numbered_and_a_new_format_has_its_own_extension(
    client: httpx.Client, picture: Picture
) -> None:
    options = '{"variants": 2, "output": {"format": "jpeg"}}'
    files = archive_of(post(client, "application/zip", ("a.png", picture()), options=options, model="noisy"))
    assert list(files) == ["a-variant-0.jpg", "a-variant-1.jpg", "report.json"]


def test_the_report_of_a_zip_tells_of_every_file(client: httpx.Client, picture: Picture) -> None:
    files = archive_of(post(client, "application/zip", ("a.png", picture()), ("b.tif", picture(kind="TIFF"))))
    report = json.loads(files["report.json"])
    assert [(image["file"], image["index"]) for image in report["images"]] == [("a.png", 0), ("b.tif", 1)]
    assert report["model"] == {"name": "grey", "version": 1}


def test_equal_requests_give_equal_archives(client: httpx.Client, picture: Picture) -> None:
    archives = [archive_of(post(client, "application/zip", ("a.png", picture()))) for _ in range(2)]
    assert archives[0]["a.png"] == archives[1]["a.png"]


def test_a_json_answer_tells_size_mode_and_times(client: httpx.Client, picture: Picture) -> None:
    answer = post(client, "application/json", ("a.png", picture("RGBA", size=(24, 16)))).json()

    (image,) = answer["images"]
    assert (image["width"], image["height"], image["mode"]) == (24, 16, "RGBA")
    assert image["lossless"] is True
    assert any("The model is grey" in note for note in image["notes"])
    assert set(answer["timings_ms"]) == {"read", "refine", "total"}
