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
