"""Which pictures a JSON document names as labels: segmentations, masks, depth and their like.

Told from the keys (`mask_path`, `sem_seg_file_name`, `depth: {file: ...}`), and from what is known of
formats: pictures of COCO's panoptic segmentations, and of the annotations of Unity's SOLO and Perception.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final, NamedTuple

from app.annotations.json_text import JsonValue
from model.label_images import label_words

_FILE_WORDS: Final = frozenset("file filename files filenames name names path paths uri url".split())  # noqa: SIM905
_OF_OBJECTS: Final = frozenset(
    "anno annos annotation annotations gt groundtruth instance instances label labels".split()  # noqa: SIM905
)
"""Words of keys whose objects often are about the picture itself, so that its name in them is no label's."""
_PICTURE: Final = re.compile(r"\.(?:png|jpe?g|webp|tiff?|bmp)$", re.IGNORECASE)
_PICTURE_IN_JSON: Final = re.compile(rb'\.(?:png|jpe?g|webp|tiff?|bmp)"', re.IGNORECASE)
_NOUNS: Final = ("segmentation", "mask", "image", "map")
_LONGEST_KEY: Final = 60
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class Reference(NamedTuple):
    """A picture as a document names it, and what it is there: 'a semantic segmentation', 'a depth image'."""

    name: str
    what: str


_Told = tuple[JsonValue, str | None]
"""A value, and what label its place says that it is."""


def label_references(document: JsonValue) -> Iterator[Reference]:
    """Every picture that a document names as a label."""
    waiting: list[tuple[JsonValue, str | None]] = [(document, None)]
    while waiting:
        value, what = waiting.pop()
        for inner, told in _in_object(value, what) if isinstance(value, dict) else _in_list(value, what):
            if isinstance(inner, dict | list):
                waiting.append((inner, told))
            elif told is not None and isinstance(inner, str) and is_picture(inner):
                yield Reference(inner, _noun(told))


def _in_object(entry: dict[str, JsonValue], what: str | None) -> Iterator[_Told]:
    of_file = _what_of(entry) or (None if what in _OF_OBJECTS else what)
    for long_key, inner in entry.items():
        key = long_key[-_LONGEST_KEY:]
        yield inner, _label_in(key) or (of_file if isinstance(inner, str) and _names_a_file(key) else None)


def _in_list(value: JsonValue, what: str | None) -> Iterator[_Told]:
    """Nothing from lists of numbers, which is what most values of a large document are."""
    if isinstance(value, list) and value and not isinstance(value[0], int | float):
        for inner in value:
            yield inner, what


def is_picture(name: str) -> bool:
    """Whether a file is a picture by its name."""
    return _PICTURE.search(name) is not None


def mentions_other_pictures(document: bytes, stem: str) -> bool:
    """Whether a JSON document names a picture of another name than `stem`, told without parsing it."""
    own = stem.encode()
    for match in _PICTURE_IN_JSON.finditer(document):
        name = document[document.rfind(b'"', 0, match.start()) + 1 : match.start()]
        if re.split(rb"[/\\]", name)[-1] != own:
            return True
    return False


def _what_of(entry: dict[str, JsonValue]) -> str | None:
    """What the file of an object is, as its format has it."""
    if isinstance(entry.get("segments_info"), list):
        return "panoptic segmentation"
    kind = entry.get("@type")
    if isinstance(kind, str) and kind.endswith("Annotation"):
        return _spaced(kind.rpartition(".")[2].removesuffix("Annotation"))[:_LONGEST_KEY]
    return "label" if "annotation_definition" in entry else None


@lru_cache(maxsize=4096)
def _label_in(key: str) -> str | None:
    """What a key says that it holds, if that is a label: `mask_path` is a mask."""
    words = _spaced(key).split()
    while len(words) > 1 and words[-1] in _FILE_WORDS:
        words.pop()
    return " ".join(words) if label_words(" ".join(words)) else None


@lru_cache(maxsize=4096)
def _names_a_file(key: str) -> bool:
    return all(word in _FILE_WORDS for word in _spaced(key).split())


def _spaced(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", " ", _CAMEL.sub(" ", name).lower()).strip()


def _noun(what: str) -> str:
    noun = what if what.endswith(_NOUNS) else f"{what} image"
    return f"{'an' if noun[0] in 'aeio' else 'a'} {noun}"
