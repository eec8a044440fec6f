"""The short way through a form gives what the careful reader gives, or nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import SimtrueError
from app.routes.multipart import read_parts
from app.routes.parts import Part, PartLimit
from app.routes.simple_form import read_simple

LIMITS = {"image": PartLimit(2, 40), "annotations": PartLimit(2, 20), "model": PartLimit(1, 10)}
CONTENT_TYPE = "multipart/form-data; boundary=XX"


def carefully(body: bytes, content_type: str = CONTENT_TYPE) -> list[Part] | SimtrueError:
    async def once() -> AsyncIterator[bytes]:
        yield body

    try:
        return asyncio.run(read_parts(once(), content_type, LIMITS, 1 << 20))
    except SimtrueError as error:
        return error


def test_the_forms_of_a_client_library_take_the_short_way() -> None:
    request = httpx.Request(
        "POST",
        "http://x",
        files=[("image", ("a b.png", b"\r\n--", "image/png")), ("annotations", (None, b"{}"))],
    )
    parts = read_simple(request.read(), request.headers["content-type"], LIMITS)
    assert parts == [Part("image", "a b.png", b"\r\n--"), Part("annotations", None, b"{}")]


HEADS = [
    'Content-Disposition: form-data; name="image"; filename="a b(1).png"',
    'Content-Disposition: form-data; name="image"; filename=" a "',
    'Content-Disposition: form-data; name="image"; filename=""',
    'Content-Disposition: form-data; name="image"; filename="a;b.png"',
    'Content-Disposition: form-data; name="model"',
    'content-disposition: form-data; name="model"',
    "Content-Disposition: form-data; name=model",
    'Content-Disposition: form-data; name="other"',
    'Content-Disposition: form-data; name="annotations"\r\nContent-Type: application/json; charset=utf-8',
    'Content-Type: image/png\r\nContent-Disposition: form-data; name="image"',
    'Content-Disposition: attachment; name="image"',
    "",
]
PIECES = [
    b"",
    b"x",
    b"\r\n",
    b"--",
    b"\r\n--",
    b"--XX",
    b"\r\n--X",
    b"\r\n--XX",
    b"\r\n--XX--",
    b"\r\n\r\n",
    b"y" * 21,
]


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Forms that are nearly right: each piece of the framing may be cut, doubled or lost."""
    body = draw(st.sampled_from([b"--XX\r\n"] * 6 + [b"\r\n--XX\r\n", b"--XX", b"junk--XX\r\n", b""]))
    for number in range(draw(st.integers(1, 4))):
        if number:
            body += draw(
                st.sampled_from([b"\r\n--XX\r\n"] * 6 + [b"--XX\r\n", b"\r\n--XX \r\n", b"\n--XX\n"])
            )
        body += draw(st.sampled_from(HEADS)).encode() + draw(
            st.sampled_from([b"\r\n\r\n"] * 6 + [b"\r\n", b"\n\n"])
        )
        body += b"".join(draw(st.lists(st.sampled_from(PIECES), max_size=3)))
    return body + draw(
        st.sampled_from([b"\r\n--XX--\r\n"] * 3 + [b"\r\n--XX--", b"\r\n--XX-", b"", b"\r\n--XX--tail"])
    )


@settings(max_examples=300, deadline=None)
@given(bodies())
def test_both_ways_agree_on_whatever_the_short_one_takes(body: bytes) -> None:
    short = read_simple(body, CONTENT_TYPE, LIMITS)
    if short is not None:
        assert short == carefully(body)


@pytest.mark.parametrize(
    "content_type", ["multipart/form-data; boundary=XX", 'multipart/form-data; boundary="XX"']
)
def test_the_boundary_may_stand_in_quotes(content_type: str) -> None:
    body = b'--XX\r\nContent-Disposition: form-data; name="model"\r\n\r\na\r\n--XX--\r\n'
    assert (
        read_simple(body, content_type, LIMITS)
        == carefully(body, content_type)
        == [Part("model", None, b"a")]
    )


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; charset=x; boundary=XX",
        "multipart/form-data; boundary=XX;",
        'multipart/form-data; boundary="XX',
        'multipart/form-data; boundary=XX"',
        "x",
    ],
)
def test_an_unusual_content_type_takes_the_long_way(content_type: str) -> None:
    body = b'--XX\r\nContent-Disposition: form-data; name="model"\r\n\r\na\r\n--XX--\r\n'
    assert read_simple(body, content_type, LIMITS) is None


def test_what_is_over_a_limit_takes_the_long_way() -> None:
    head = b'--XX\r\nContent-Disposition: form-data; name="model"\r\n\r\n'
    assert read_simple(head + b"y" * 11 + b"\r\n--XX--\r\n", CONTENT_TYPE, LIMITS) is None
    assert read_simple((head + b"a\r\n") * 2 + b"--XX--\r\n", CONTENT_TYPE, LIMITS) is None
