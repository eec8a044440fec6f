"""The forms that every client library writes, read in one go; anything else is left to the careful reader."""

from __future__ import annotations

import re
from collections.abc import Mapping

from app.routes.parts import Part, PartLimit

_BOUNDARY = re.compile(r"multipart/form-data; ?boundary=(\"?)([A-Za-z0-9'+_.-]{1,70})\1", re.ASCII)
_HEAD = re.compile(
    rb'Content-Disposition: form-data; name="([\w-]{1,64})"(?:; filename="([\w .()+@,-]{0,200})")?'
    rb"(?:\r\nContent-Type: [\w./+-]{1,100}(?:; ?charset=[\w-]{1,20})?)?(?:\r\nContent-Length: \d{1,12})?",
    re.ASCII,
)
_MOST_HEAD_BYTES = 1024


def read_simple(body: bytes, content_type: str, limits: Mapping[str, PartLimit]) -> list[Part] | None:
    """The parts of a whole body, or None when anything about it is unusual, broken or over a limit.

    Never an error: whoever reads the body again piece by piece has the words for what is wrong.
    """
    named = _BOUNDARY.fullmatch(content_type)
    if named is None:
        return None
    opening = b"--" + named[2].encode()
    between = b"\r\n" + opening
    if not body.startswith(opening + b"\r\n"):
        return None
    parts: list[Part] = []
    at = len(opening) + 2
    while True:
        start = body.find(b"\r\n\r\n", at, at + _MOST_HEAD_BYTES) + 4
        end = body.find(between, start - 2)
        if start < 4 or end < start:
            return None
        part = _part(body[at : start - 4], body[start:end])
        if part is None:
            return None
        parts.append(part)
        at = end + len(between) + 2
        follows = body[at - 2 : at]
        if follows != b"\r\n":
            over = follows == b"--" and body[at:] in (b"", b"\r\n")
            return parts if over and _within(parts, limits) else None


def _part(head: bytes, data: bytes) -> Part | None:
    known = _HEAD.fullmatch(head)
    if known is None:
        return None
    filename = known[2]
    return Part(known[1].decode(), None if filename is None else filename.decode(), data)


def _within(parts: list[Part], limits: Mapping[str, PartLimit]) -> bool:
    left = {name: limit.max_count for name, limit in limits.items()}
    for part in parts:
        if not left.get(part.name) or len(part.data) > limits[part.name].max_bytes:
            return False
        left[part.name] -= 1
    return True
