"""Which kind of answer a client gets: the Accept header against what a refinement can be sent as."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from app.errors import NotAcceptable

AnswerKind = Literal["json", "zip", "image"]

FORMAT_OF_MEDIA_TYPE: Mapping[str, str] = {
    "image/png": "png",
    "image/jpeg": "jpeg",
    "image/webp": "webp",
    "image/tiff": "tiff",
    "image/bmp": "bmp",
}
JSON, ZIP = "application/json", "application/zip"
_MOST_KEPT_CHARACTERS = 256
OFFERS = (JSON, ZIP, *FORMAT_OF_MEDIA_TYPE)


@dataclass(frozen=True)
class MediaRange:
    """One entry of an Accept header: `image/*;q=0.5` is ("image", "*", 0.5)."""

    kind: str
    subtype: str
    quality: float

    def matches(self, media_type: str) -> bool:
        """Whether `media_type`, such as image/png, falls into this range."""
        kind, _, subtype = media_type.partition("/")
        return self.kind in ("*", kind) and self.subtype in ("*", subtype)

    @property
    def specificity(self) -> int:
        """0 for */*, 1 for image/*, 2 for image/png."""
        return (self.kind != "*") + (self.subtype != "*")


@dataclass(frozen=True)
class Acceptance:
    """What a client takes: quality in 0..1 of every media type that we can make, 0 for unwanted ones."""

    header: str
    qualities: Mapping[str, float]

    def answer_kind(self, results: int) -> AnswerKind:
        """Choose the best answer for `results` images; a single image cannot carry several.

        On equal quality JSON goes before zip and zip before an image. Raises `NotAcceptable`.
        """
        wanted: dict[AnswerKind, float] = {"json": self.qualities[JSON], "zip": self.qualities[ZIP]}
        wanted["image"] = max(self.qualities[media_type] for media_type in FORMAT_OF_MEDIA_TYPE)
        if results != 1 and wanted["image"] > 0:
            wanted["image"] = 0.0
            self._refuse_unless(any(wanted.values()), f"one image cannot carry {results} results; {_ASK}")
        best = max(wanted, key=lambda kind: wanted[kind])
        self._refuse_unless(wanted[best] > 0, f"no answer can be made of it; {_ASK}")
        return best

    def image_format(self, source: str, asked: str | None) -> str | None:
        """Choose the format of an image answer; None keeps the source's own.

        `source` and `asked` (the option output.format) are lower-case format names. Raises `NotAcceptable`
        when `asked` is not among the accepted types.
        """
        wanted = {FORMAT_OF_MEDIA_TYPE[name]: self.qualities[name] for name in FORMAT_OF_MEDIA_TYPE}
        if asked is not None:
            self._refuse_unless(wanted[asked] > 0, f"the option output.format asks for {asked}")
            return asked
        best = max(wanted, key=lambda name: (wanted[name], name == source))
        return None if best == source else best

    def _refuse_unless(self, acceptable: bool, reason: str) -> None:
        if not acceptable:
            raise NotAcceptable(f"The request accepts only {self.header[:200]!r}, but {reason}.")


_ASK = f"ask for {JSON} or {ZIP}, or for an image type when there is exactly one result"


def read_accept(header: str | None) -> Acceptance:
    """Read an Accept header by RFC 9110: the most specific range decides a type's quality; none means */*.

    Raises `NotAcceptable` when nothing that we make is wanted. Clients repeat their headers, so that what was
    read of short ones is kept.
    """
    return (_read_accept if len(header or "") > _MOST_KEPT_CHARACTERS else _kept)(header)


def _read_accept(header: str | None) -> Acceptance:
    text = header if header and header.strip() else "*/*"
    ranges = [parsed for entry in text.split(",") if (parsed := _media_range(entry)) is not None]
    acceptance = Acceptance(text, {offer: _quality(offer, ranges) for offer in OFFERS})
    if not any(acceptance.qualities.values()):
        raise NotAcceptable(f"The request accepts only {text[:200]!r}, but we answer {', '.join(OFFERS)}.")
    return acceptance


_kept = lru_cache(maxsize=256)(_read_accept)


def _quality(media_type: str, ranges: list[MediaRange]) -> float:
    matching = [entry for entry in ranges if entry.matches(media_type)]
    return max(matching, key=lambda entry: entry.specificity).quality if matching else 0.0


def _media_range(entry: str) -> MediaRange | None:
    media_type, *parameters = (piece.strip().lower() for piece in entry.split(";"))
    kind, slash, subtype = media_type.partition("/")
    if not (kind and slash and subtype):
        return None
    quality = next((piece[2:] for piece in parameters if piece.startswith("q=")), "1")
    return MediaRange(kind, subtype, _number(quality))


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return value if 0.0 <= value <= 1.0 else 0.0
