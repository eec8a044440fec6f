"""Annotations come back byte for byte, in every kind of answer that has room for them."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable

import httpx
import pytest

Picture = Callable[..., bytes]

ODD = [
    b'{"b": 10.123456000, "a": 1e400, "a": -0.0, "c": 1E+2}',
    b'[{"bbox": [1.50, 2.0, 3.000, 4]}, {"bbox": [1e0, 2, 3, 4], "label": "\\u00e9\\ud83d\\ude00/\\/"}]',
    b'\n\t {"z":1 , "y" :\r\n[ ] }\n\n',
    b'{"n": 123456789012345678901234567890, "long": ' + b"9" * 5000 + b"}",
    '"just a string: ü"'.encode(),
    b"null",
    b"0.10000000000000000055511151231257827021181583404541015625",
    b"{}\n",
]


@pytest.mark.parametrize("document", ODD)
def test_json_answers_hold_the_very_bytes(client: httpx.Client, picture: Picture, document: bytes) -> None:
    answer = client.post("/refine", files={"image": picture(), "annotations": ("a.json", document)})

    assert answer.status_code == 200, answer.text
    before, _, after = answer.content.partition(b'"annotations":')
    assert before == b'{"model":{"name":"grey","version":1},'
    assert after.startswith(document + b',"images":[{')


def test_documents_of_several_images_come_back_as_a_list_in_order(
    client: httpx.Client, picture: Picture
) -> None:
    documents = ODD[:3]
    files = [("image", picture()) for _ in documents] + [("annotations", data) for data in documents]

    answer = client.post("/refine", files=files)

    assert b'"annotations":[' + b",".join(documents) + b'],"images":' in answer.content
    assert json.loads(answer.content)["annotations"][2] == {"z": 1, "y": []}


def test_no_annotations_are_null(client: httpx.Client, picture: Picture) -> None:
    answer = client.post("/refine", files={"image": picture()}).json()
    assert answer["annotations"] is None
    assert answer["images"][0]["preservation"] is None


def test_a_zip_holds_the_very_bytes_once_or_per_image(client: httpx.Client, picture: Picture) -> None:
    images = [("image", ("sub/a.png", picture())), ("image", ("b.png", picture()))]

    def names_and_bytes(documents: list[bytes]) -> dict[str, bytes]:
        files = [*images, *(("annotations", document) for document in documents)]
        answer = client.post("/refine", files=files, headers={"Accept": "application/zip"})
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            return {name: archive.read(name) for name in archive.namelist()}

    assert names_and_bytes(ODD[:1])["annotations.json"] == ODD[0]
    several = names_and_bytes(ODD[:2])
    assert several["annotations/a.json"] == ODD[0]
    assert several["annotations/b.json"] == ODD[1]


@pytest.mark.parametrize(
    "positions",
    [
        b'"x"',
        b"null",
        b"{}",
        b'["x", {}]',
        b"[true, -5]",
        b"[7]",
        b"[4, 4]",
        b"[1, 0]",
        b"[70, 80]",
        b"[0, 1]",
    ],
)
def test_a_key_of_ours_in_what_others_send_means_nothing(
    client: httpx.Client, picture: Picture, positions: bytes
) -> None:
    document = (
        b'{"images": [{"id": 1, "file_name": "a.png"}], "simtrue:positions": '
        + positions
        + b', "annotations": '
        b'[{"image_id": 1, "bbox": [2, 2, 9, 9]}, {"image_id": 1, "bbox": [3, 3, 9.50, 9]}]}'
    )

    answer = client.post("/refine", files={"image": ("a.png", picture()), "annotations": document})

    assert answer.status_code == 200, answer.text
    assert b'"annotations":' + document + b"," in answer.content
    (image,) = answer.json()["images"]
    assert [one["annotation"] for one in image["preservation"]] == [0, 1]
    assert image["problems"] == []


def test_images_of_one_name_get_their_own_annotations_or_none(client: httpx.Client, picture: Picture) -> None:
    images = [("image", ("a.png", picture(seed=1))), ("image", ("a.png", picture(seed=2)))]
    in_order = {
        "images": [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "a.png"}],
        "annotations": [{"image_id": 2, "bbox": [3, 3, 9, 9]}, {"image_id": 1, "bbox": [2, 2, 9, 9]}],
    }

    def told(document: object) -> list[tuple[list[int], list[str]]]:
        files = [*images, ("annotations", json.dumps(document).encode())]
        answer = client.post("/refine", files=files).json()
        return [
            ([one["annotation"] for one in image["preservation"]], image["problems"])
            for image in answer["images"]
        ]

    assert told(in_order) == [([1], []), ([0], [])]
    unclear = "Several images were sent as 'a.png', so it is not clear which is meant."
    assert told({"a.png": {"bbox": [2, 2, 9, 9]}}) == [([], [unclear]), ([], [])]
