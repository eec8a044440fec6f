"""The plan for a folder, or for a single image, on this machine's disk, and what stands in its way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from app.datasets.folder_place import LINK_TO_FOLDER, FolderPlace
from app.datasets.set_plan import (
    FORMAT_OF_SUFFIX,
    Choice,
    PlannedFile,
    plan_set,
    renamed,
    with_annotations,
)
from app.errors import InvalidRequest


@dataclass(frozen=True)
class FolderPlan:
    """All files in the order of their names, where from, where to, and what is wrong with annotations."""

    source: FolderPlace
    target: FolderPlace
    files: tuple[PlannedFile, ...]
    problems: tuple[str, ...] = ()


def plan(source: Path, target: Path, choice: Choice, *, overwrite: bool) -> FolderPlan:
    """Plan a folder, or a single image file.

    Raises InvalidRequest when source and target cannot be used together.
    """
    source, target = source.resolve(), target.resolve()
    _refuse_overlap(source, target)
    if source.is_file():
        return _plan_single(source, target, choice, overwrite=overwrite)
    there, into = FolderPlace(source), FolderPlace(target)
    planned = plan_set(there.names(), there, choice)
    files = tuple(_checked(file, there, into, overwrite=overwrite) for file in planned.files)
    return FolderPlan(there, into, files, planned.problems)


def refuse_papers(papers: Sequence[Path | None], planned: FolderPlan, *, overwrite: bool) -> None:
    """Refuse a manifest or report that would replace a file. Raises InvalidRequest."""
    places = [paper.resolve() for paper in papers if paper is not None]
    if len(set(places)) < len(places):
        raise InvalidRequest(f"The manifest and the report are both {places[0]}; name another file.")
    of_set = {planned.source.local(file.name) for file in planned.files}
    of_set |= {planned.target.local(file.written_as) for file in planned.files}
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


def _plan_single(source: Path, target: Path, choice: Choice, *, overwrite: bool) -> FolderPlan:
    """One image; without a format that is asked for, the destination's suffix tells it."""
    output_format = choice.output_format
    into = target / renamed(source.name, output_format) if target.is_dir() else target
    if output_format is None and into.suffix.lower() != source.suffix.lower():
        output_format = FORMAT_OF_SUFFIX.get(into.suffix.lower())
    there, place = FolderPlace(source.parent), FolderPlace(into.parent)
    suffixes = (".json", ".xml", ".txt", ".JSON", ".XML", ".TXT")
    beside = [source.with_suffix(suffix).name for suffix in suffixes]
    file = PlannedFile("refine", source.name, into.name, output_format)
    names = [name for name in beside if there.local(name).is_file()]
    planned = with_annotations([file], names, there)
    checked = tuple(_checked(file, there, place, overwrite=overwrite) for file in planned.files)
    return FolderPlan(there, place, checked, planned.problems)


def _checked(file: PlannedFile, source: FolderPlace, target: FolderPlace, *, overwrite: bool) -> PlannedFile:
    """Marked where it is no regular file, or where its target exists."""
    there = source.local(file.name)
    if not there.is_file():
        return replace(file, problem=LINK_TO_FOLDER if there.is_dir() else "it is no regular file")
    into = target.local(file.written_as)
    if file.problem is None and not overwrite and into.exists():
        return replace(file, problem=f"{into} exists already; --overwrite replaces it")
    return file
