"""Accept headers choose the answer by RFC 9110."""

from __future__ import annotations

import pytest

from app.errors import NotAcceptable
from app.routes.negotiation import read_accept

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"


@pytest.mark.parametrize(
    ("header", "kind"),
    [
        (None, "json"),
        ("", "json"),
        ("*/*", "json"),
        ("application/json", "json"),
        ("application/*", "json"),
        ("application/zip", "zip"),
        ("Application/ZIP ; Q=0.7", "zip"),
        ("image/*", "image"),
        ("image/png", "image"),
        ("image/png, application/json", "json"),
        ("image/png, application/json;q=0.9", "image"),
        ("image/png;q=0.2, */*;q=0.1", "image"),
        ("application/json;q=0, */*", "zip"),
        ("*/*;q=0.5, application/json;q=0.1", "zip"),
        ("text/html, */*;q=0.1", "json"),
        (BROWSER, "image"),
    ],
)
def test_the_best_accepted_answer_is_chosen(header: str | None, kind: str) -> None:
    assert read_accept(header).answer_kind(1) == kind


def test_several_results_fall_back_to_what_else_is_accepted() -> None:
    assert read_accept("image/png, application/zip;q=0.1").answer_kind(2) == "zip"


def test_several_results_do_not_fit_into_one_image() -> None:
    with pytest.raises(NotAcceptable, match="one image cannot carry 3 results"):
        read_accept("image/*").answer_kind(3)


@pytest.mark.parametrize("header", ["text/html", "image/gif", "*/*;q=0", "nonsense", "application/json;q=x"])
def test_what_we_cannot_make_is_refused_with_what_we_can(header: str) -> None:
    with pytest.raises(NotAcceptable, match="we answer application/json, application/zip, image/png"):
        read_accept(header)


@pytest.mark.parametrize(
    ("header", "source", "asked", "expected"),
    [
        ("image/*", "jpeg", None, None),
        ("image/png", "jpeg", None, "png"),
        ("image/png", "png", None, None),
        ("image/png, image/webp;q=0.5", "webp", None, "png"),
        ("image/png, image/webp", "webp", None, None),
        ("image/*", "png", "jpeg", "jpeg"),
    ],
)
def test_the_image_format_is_the_sources_own_unless_another_is_preferred(
    header: str, source: str, asked: str | None, expected: str | None
) -> None:
    assert read_accept(header).image_format(source, asked) == expected


def test_an_option_against_the_header_is_refused() -> None:
    with pytest.raises(NotAcceptable, match=r"output\.format asks for jpeg"):
        read_accept("image/png").image_format("png", "jpeg")
