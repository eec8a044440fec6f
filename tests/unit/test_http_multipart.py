"""The multipart reader takes nothing that is not announced, and never more than its limits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from app.errors import BodyTooLarge, InvalidRequest, TooManyImages
from app.routes.multipart import read_parts
from app.routes.parts import Part, PartLimit

LIMITS = {"image": PartLimit(2, 1000), "model": PartLimit(1, 10)}
CONTENT_TYPE = "multipart/form-data; boundary=XX"


def form(*parts: tuple[str, bytes], end: bytes = b"--XX--\r\n") -> bytes:
    body = b"".join(
        b"--XX\r\nContent-Disposition: form-data; " + head.encode() + b"\r\n\r\n" + data + b"\r\n"
        for head, data in parts
    )
    return body + end


def read(
    body: bytes, *, step: int = 0, content_type: str = CONTENT_TYPE, max_body_bytes: int = 10_000
) -> list[Part]:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), step or len(body)):
            yield body[start : start + (step or len(body))]

    return asyncio.run(read_parts(chunks(), content_type, LIMITS, max_body_bytes))


BINARY = bytes(range(256)) + b"\r\n--X\r\n--XY\r\n"


@pytest.mark.parametrize("step", [0, 1, 7])
def test_parts_come_back_byte_for_byte_however_the_body_is_cut(step: int) -> None:
    body = form(('name="image"; filename="a b.png"', BINARY), ('name="model"', b"tiny"))
    assert read(body, step=step) == [Part("image", "a b.png", BINARY), Part("model", None, b"tiny")]


def test_a_filename_may_hold_quotes_semicolons_and_unicode() -> None:
    (part,) = read(form(('name="image"; filename="ä;\\"ö\\".png"', b"x")))
    assert part.filename == 'ä;"ö".png'


def test_an_empty_part_is_a_part() -> None:
    assert read(form(('name="model"', b""))) == [Part("model", None, b"")]


@pytest.mark.parametrize("step", [0, 1])
def test_a_part_over_its_limit_is_refused_by_name(step: int) -> None:
    with pytest.raises(BodyTooLarge, match="`model` is larger than its limit of 10 bytes"):
        read(form(('name="model"', b"x" * 11)), step=step)


def test_a_body_over_the_limit_stops_the_reading() -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        yield b'--XX\r\nContent-Disposition: form-data; name="image"\r\n\r\n'
        while True:
            taken += 100
            yield b"x" * 100

    with pytest.raises(BodyTooLarge, match="limit of 500 bytes"):
        asyncio.run(read_parts(endless(), CONTENT_TYPE, {"image": PartLimit(1, 10**9)}, 500))
    assert taken <= 600


def test_one_image_too_many_has_its_own_error() -> None:
    with pytest.raises(TooManyImages, match="more than 2 images"):
        read(form(*[('name="image"', b"x")] * 3))


def test_a_repeated_part_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="`model` comes more than once"):
        read(form(('name="model"', b"a"), ('name="model"', b"b")))


def test_an_unknown_part_is_refused_with_the_allowed_names() -> None:
    with pytest.raises(InvalidRequest, match="'picture' is unknown; a request may have `image`, `model`"):
        read(form(('name="picture"', b"x")))


def test_a_body_without_its_closing_boundary_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="ends before its closing boundary"):
        read(form(('name="model"', b"a"), end=b""))


@pytest.mark.parametrize("body", [b"hello", b"--YY\r\n\r\n", b"--XX\r\nno header\r\n\r\n", b"--XXjunk"])
def test_broken_framing_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match="The multipart body is broken"):
        read(body)


def test_a_part_without_a_name_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="form-data with a name"):
        read(b"--XX\r\nContent-Type: image/png\r\n\r\nx\r\n--XX--\r\n")


@pytest.mark.parametrize(
    "content_type", ["multipart/form-data", "multipart/form-data; boundary=" + "x" * 300]
)
def test_a_missing_or_giant_boundary_is_refused(content_type: str) -> None:
    with pytest.raises(InvalidRequest, match="boundary"):
        read(form(), content_type=content_type)


@pytest.mark.parametrize("header", [b"X: " + b"y" * 5_000, b"\r\n".join([b"X: y"] * 40)])
def test_headers_of_a_part_are_bounded(header: bytes) -> None:
    with pytest.raises(InvalidRequest, match="exceeded"):
        read(b"--XX\r\n" + header + b"\r\n\r\nx\r\n--XX--\r\n")
