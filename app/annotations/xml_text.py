"""XML that came from outside: bytes to an element tree, or one sentence. No types, so no entities."""

from __future__ import annotations

import math
from xml.etree import ElementTree as ET

from app.errors import InvalidRequest

MOST_BYTES = 256 << 20
_DECLARATIONS = ("<!DOCTYPE", "<!ENTITY")
_CODINGS = ("ascii", "utf-16-le", "utf-16-be")
"""All in which a parser sees such marks: encodings of other names are refused or write ASCII as ASCII."""


def parse(document: bytes, *, what: str) -> ET.Element:
    """The root element. Raises InvalidRequest for what is no XML, is too long, or declares a type.

    Entities, which can make a short document unfold to gigabytes or read files, need such a declaration.
    """
    if len(document) > MOST_BYTES:
        raise InvalidRequest(f"{what} has {len(document)} bytes, but the limit is {MOST_BYTES}.")
    if any(mark.encode(coding) in document for mark in _DECLARATIONS for coding in _CODINGS):
        raise InvalidRequest(f"{what} declares a document type, which is not read.")
    try:
        return ET.fromstring(document)  # noqa: S314 (declarations are refused above)
    except (ET.ParseError, ValueError, LookupError) as error:
        raise InvalidRequest(f"{what} is no valid XML: {error}.") from error


def number(text: str | None) -> float:
    """The value of an attribute or of an element's text; NaN for what is no number."""
    try:
        return float(text) if text is not None else math.nan
    except ValueError:
        return math.nan


def whole(text: str | None) -> int | None:
    """The same for sizes; None for what is no whole number."""
    value = number(text)
    return int(value) if math.isfinite(value) and value == int(value) else None
