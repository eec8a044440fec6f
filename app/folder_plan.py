"""What becomes of every file of a folder: refined, copied, or refused, and under which path."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Literal

from app.datasets.annotation_index import Source, index_annotations
from app.datasets.layout import why_label_image
from app.errors import InvalidRequest

_SUFFIX_OF_FORMAT = {"png": ".png", "jpeg": ".jpg", "webp": ".webp", "tiff": ".tif", "bmp": ".bmp"}
_FORMAT_OF_SUFFIX = {suffix: name for name, suffix in _SUFFIX_OF_FORMAT.items()} | {
    ".jpeg": "jpeg",
    ".tiff": "tiff",
}


@dataclass(frozen=True)
class PlannedFile:
    """One file of the source; `name` is its path below it, `target` where the result goes.

    output_format: what an image is written as, None for its own format. annotations: where its own are.
    label_image: why an image is copied as a label image. problem: why nothing will be written. None for every
    other file.
    """

    action: Literal["refine", "copy"]
    name: str
    source: Path
    target: Path
    output_format: str | None = None
    annotations: Source | None = None
    label_image: str | None = None
    problem: str | None = None


@dataclass(frozen=True)
class FolderPlan:
    """All files in the order of their names, and what is wrong with their annotations as a whole."""

    files: tuple[PlannedFile, ...]
    problems: tuple[str, ...] = ()


def plan(
    source: Path,
    target: Path,
    *,
    output_format: str | None,
    keep: Sequence[str],
    refine: Sequence[str] = (),
    overwrite: bool,
) -> FolderPlan:
    """Plan a folder, or a single image file, in the order of names.

    keep: shell patterns on the path below `source`; what matches is copied although it is an image. refine:
    patterns of images that are refined although they look like label images; `keep` comes first.
    Raises InvalidRequest when source and target cannot be used together.
    """
    source, target = source.resolve(), target.resolve()
    _refuse_overlap(source, target)
    if source.is_file():
        return _checked([_single(source, target, output_format)], _beside(source), overwrite)
    paths = sorted(_files_below(source))
    files = [
        _planned(path, source, target, output_format=output_format, keep=keep, refine=refine)
        for path in paths
    ]
    return _checked(files, {_name(path, source): path for path in paths if path.is_file()}, overwrite)


def refuse_papers(papers: Sequence[Path | None], planned: FolderPlan, *, overwrite: bool) -> None:
    """Refuse a manifest or report that would replace a file. Raises InvalidRequest."""
    places = [paper.resolve() for paper in papers if paper is not None]
    if len(set(places)) < len(places):
        raise InvalidRequest(f"The manifest and the report are both {places[0]}; name another file.")
    of_set = {path for file in planned.files for path in (file.source, file.target)}
    for place in places:
        if place in of_set:
            raise InvalidRequest(f"{place} is a file of the set itself; name another one.")
        if place.exists() and not (overwrite and place.is_file()):
            raise InvalidRequest(f"{place} exists already; --overwrite replaces it.")


def _refuse_overlap(source: Path, target: Path) -> None:
    if not source.exists():
        raise InvalidRequest(f"There is nothing at {source}.")
    if source == target:
        raise InvalidRequest(f"The source and the destination are both {source}; name another destination.")
    if source.is_dir() and target.is_relative_to(source):
        raise InvalidRequest(f"The destination {target} lies inside the source; name one outside of it.")
    if source.is_dir() and target.exists() and not target.is_dir():
        raise InvalidRequest(f"The source is a folder, but the destination {target} is a file.")
    if source.is_dir() and source.is_relative_to(target):
        raise InvalidRequest(f"The source {source} lies inside the destination; name another destination.")


def _files_below(folder: Path) -> Iterator[Path]:
    """Every file, through symbolic links to files but not to folders."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            yield from _files_below(path)
        elif not path.is_dir():
            yield path


def _single(source: Path, target: Path, output_format: str | None) -> PlannedFile:
    """One image; without a format that is asked for, the destination's suffix tells it."""
    into = target / _renamed(source, output_format).name if target.is_dir() else target
    if output_format is None and into.suffix.lower() != source.suffix.lower():
        output_format = _FORMAT_OF_SUFFIX.get(into.suffix.lower())
    return PlannedFile("refine", source.name, source, into, output_format)


def _planned(
    path: Path,
    source: Path,
    target: Path,
    *,
    output_format: str | None,
    keep: Sequence[str],
    refine: Sequence[str],
) -> PlannedFile:
    name = path.relative_to(source)
    if path.suffix.lower() not in _FORMAT_OF_SUFFIX or _matches(name, keep):
        return PlannedFile("copy", str(name), path, target / name)
    reason = None if _matches(name, refine) else why_label_image(PurePosixPath(name.as_posix()))
    if reason is not None:
        return PlannedFile("copy", str(name), path, target / name, label_image=reason)
    into = target / _renamed(name, output_format)
    return PlannedFile("refine", str(name), path, into, output_format)


def _matches(name: Path, patterns: Sequence[str]) -> bool:
    return any(fnmatch(name.as_posix(), pattern) for pattern in patterns)


def _renamed(path: Path, output_format: str | None) -> Path:
    """The path with the suffix of the format, unless its own already tells that format."""
    if output_format is None or _FORMAT_OF_SUFFIX.get(path.suffix.lower()) == output_format:
        return path
    return path.with_suffix(_SUFFIX_OF_FORMAT[output_format])


def _beside(image: Path) -> dict[str, Path]:
    """The files that may hold the annotations of a single image."""
    siblings = (image.with_suffix(suffix) for suffix in (".json", ".xml", ".txt"))
    return {path.name: path for path in siblings if path.is_file()}


def _name(path: Path, source: Path) -> str:
    return path.relative_to(source).as_posix()


def _checked(files: Sequence[PlannedFile], paths: Mapping[str, Path], overwrite: bool) -> FolderPlan:
    """With their annotations; files whose target exists or is taken by an earlier one are marked, and what is
    no regular file.
    """
    images = [Path(file.name).as_posix() for file in files if file.action == "refine"]
    index = index_annotations(paths, images)
    claimed: dict[Path, str] = {}
    checked = []
    for file in files:
        problem = None
        if not file.source.is_file():
            problem = "it is no regular file"
        elif file.target in claimed:
            problem = f"{claimed[file.target]} is written to {file.target} already"
        elif file.target.exists() and not overwrite:
            problem = f"{file.target} exists already; --overwrite replaces it"
        claimed.setdefault(file.target, file.name)
        annotations = index.of(Path(file.name).as_posix()) if file.action == "refine" else None
        checked.append(replace(file, annotations=annotations, problem=problem))
    return FolderPlan(tuple(checked), tuple(index.problems))
