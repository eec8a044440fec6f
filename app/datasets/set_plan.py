"""What becomes of every file of a set: refined or copied, under which path, measured by which annotations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Final, Literal, cast

from app.annotations.json_text import JsonValue
from app.datasets.annotation_index import AnnotationIndex, index_annotations
from app.datasets.annotation_source import Files, Source, source_from_json
from app.datasets.shadows import is_shadow
from model.label_images import why_label_image

_SUFFIX_OF_FORMAT: Final = {"png": ".png", "jpeg": ".jpg", "webp": ".webp", "tiff": ".tif", "bmp": ".bmp"}
FORMAT_OF_SUFFIX: Final = {suffix: name for name, suffix in _SUFFIX_OF_FORMAT.items()} | {
    ".jpeg": "jpeg",
    ".tiff": "tiff",
}
"""The suffixes, in small letters, of files that are taken for images."""


@dataclass(frozen=True)
class Choice:
    """Which images are refined, and what they are written as.

    include: shell patterns on the path below the set; where there are any, the images that match are refined,
    also those that look like label images, and no others. exclude: patterns of images that are never refined;
    they win. output_format: None keeps that of each image.
    """

    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    output_format: str | None = None


@dataclass(frozen=True)
class PlannedFile:
    """One file of a set; `name` is its path below it, `written_as` that of the result.

    output_format: what an image is written as, None for its own format. annotations: where its own are.
    label_image: why an image is copied as a label image. problem: why nothing will be written. None for every
    other file.
    """

    action: Literal["refine", "copy"]
    name: str
    written_as: str
    output_format: str | None = None
    annotations: Source | None = None
    label_image: str | None = None
    problem: str | None = None

    def to_json(self) -> dict[str, JsonValue]:
        """What `file_from_json` makes the same of."""
        value: dict[str, JsonValue] = {"action": self.action, "name": self.name}
        if self.written_as != self.name:
            value["written_as"] = self.written_as
        for key in ("output_format", "label_image", "problem"):
            if (said := getattr(self, key)) is not None:
                value[key] = said
        if self.annotations is not None:
            value["annotations"] = self.annotations.to_json()
        return value


def file_from_json(value: Mapping[str, JsonValue]) -> PlannedFile:
    """A planned file that `to_json` wrote."""
    annotations = cast(dict[str, JsonValue] | None, value.get("annotations"))
    name = str(value["name"])
    return PlannedFile(
        action="refine" if value["action"] == "refine" else "copy",
        name=name,
        written_as=str(value.get("written_as", name)),
        output_format=cast(str | None, value.get("output_format")),
        annotations=None if annotations is None else source_from_json(annotations),
        label_image=cast(str | None, value.get("label_image")),
        problem=cast(str | None, value.get("problem")),
    )


@dataclass(frozen=True)
class SetPlan:
    """All files in the order of their names, and what is wrong with their annotations as a whole."""

    files: tuple[PlannedFile, ...]
    problems: tuple[str, ...] = ()


def plan_set(names: Iterable[str], files: Files, choice: Choice) -> SetPlan:
    """Plan all files of a set; `names` are their paths below it."""
    ordered = sorted(names)
    planned = [_planned(name, choice) for name in ordered]
    plan = with_annotations(planned, ordered, files, asked=bool(choice.include))
    return replace(plan, problems=(*_renaming(plan.files), *plan.problems))


def with_annotations(
    planned: Sequence[PlannedFile], names: Sequence[str], files: Files, *, asked: bool = True
) -> SetPlan:
    """The plan with the annotations of its images; of two files with one result the later is marked.

    asked: the images are refined by wish; otherwise those that annotations name as labels are copied.
    """
    images = [file.name for file in planned if file.action == "refine"]
    index = index_annotations(names, images, files)
    claimed: dict[str, str] = {}
    checked = []
    for one in planned:
        file = one if asked else _unless_named_as_label(one, index)
        first = claimed.setdefault(file.written_as, file.name)
        problem = None if first is file.name else f"{first} is written as {file.written_as} already"
        annotations = index.of(file.name) if file.action == "refine" else None
        checked.append(replace(file, annotations=annotations, problem=problem))
    return SetPlan(tuple(checked), tuple(index.problems))


def _renaming(files: Iterable[PlannedFile]) -> Iterator[str]:
    """What is to be known where a format gives images other names."""
    others = [file.name for file in files if file.written_as != file.name]
    if others:
        yield (
            f"{len(others)} images get another name with their format, such as {others[0]!r}; what names "
            "them in annotations and lists stays as it is."
        )


def renamed(name: str, output_format: str | None) -> str:
    """The path with the suffix of the format, unless its own already tells that format."""
    path = PurePosixPath(name)
    if output_format is None or FORMAT_OF_SUFFIX.get(path.suffix.lower()) == output_format:
        return name
    return path.with_suffix(_SUFFIX_OF_FORMAT[output_format]).as_posix()


def _planned(name: str, choice: Choice) -> PlannedFile:
    path = PurePosixPath(name)
    if path.suffix.lower() not in FORMAT_OF_SUFFIX or _matches(name, choice.exclude) or is_shadow(path):
        return PlannedFile("copy", name, name)
    if choice.include:
        if not _matches(name, choice.include):
            return PlannedFile("copy", name, name)
    elif (reason := why_label_image(PurePosixPath(name))) is not None:
        return PlannedFile("copy", name, name, label_image=reason)
    return PlannedFile("refine", name, renamed(name, choice.output_format), choice.output_format)


def _unless_named_as_label(file: PlannedFile, index: AnnotationIndex) -> PlannedFile:
    reason = index.label_images.get(file.name)
    if file.action == "copy" or reason is None:
        return file
    return PlannedFile("copy", file.name, file.name, label_image=reason)


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
