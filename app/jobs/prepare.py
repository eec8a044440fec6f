"""`python -m app.jobs.prepare`: a set as it came becomes chunks, each a list of what to do with its files.

Everything is laid down beside its place and named at the end, so that a preparation that was killed is begun
again, and one that was finished is found done.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Final

from app.datasets.annotation_index import TEXT_SUFFIXES
from app.datasets.archive import ArchiveLimits, unpack
from app.datasets.folder_place import FolderPlace
from app.datasets.manifest import as_line
from app.datasets.place import Place, copy
from app.datasets.set_plan import Choice, PlannedFile, SetPlan, plan_set
from app.errors import InvalidRequest, TooManyFiles
from app.jobs.child import Order, carry_out
from app.jobs.folder import JobFolder
from app.jobs.order import place_of
from app.jobs.request import JobRequest
from model.files import appearing, sync_file_system, sync_folder

MOST_PROBLEMS: Final = 200


def prepare(order: Order) -> dict[str, object]:
    """Unpack, plan, and cut into chunks; the totals of the plan."""
    folder = JobFolder(Path(order["folder"]))
    if not folder.prepared.exists():
        request = JobRequest.model_validate_json(order["request"])
        source = _source(folder, order, request.archive)
        planned = _plan(source, request, int(order["max_files"]))
        totals = _lay_down(folder, planned, int(order["chunk_files"]))
        with appearing(folder.prepared) as file:
            file.write(json.dumps(totals).encode())
    prepared: dict[str, object] = json.loads(folder.prepared.read_bytes())
    return prepared


def _source(folder: JobFolder, order: Order, archive: str | None) -> Place:
    """Where the set is; an upload, which its sender calls `archive`, is unpacked. Raises InvalidArchive."""
    if order["source"] is not None:
        return place_of(order["source"])
    if not folder.source.exists():
        limits = ArchiveLimits(max_entries=int(order["max_files"]), max_bytes=int(order["max_bytes"]))
        with folder.unfinished() as into:
            unpack(folder.upload, into, limits, called=archive)
            sync_file_system(into)  # before the archive is gone
            into.rename(folder.source)
        sync_folder(folder.root)
    folder.upload.unlink(missing_ok=True)
    return FolderPlace(folder.source)


def _plan(source: Place, request: JobRequest, max_files: int) -> SetPlan:
    names = []
    for name in source.names():
        names.append(name)
        if len(names) > max_files:
            raise TooManyFiles(
                f"The set has more than {max_files} files, the limit of SIMTRUE_MAX_SET_FILES."
            )
    if not names:
        raise InvalidRequest("The set has no files.")
    options = request.options
    choice = Choice(options.include, options.exclude, options.output.format)
    with _texts_here(source, names) as files:
        return plan_set(names, files, choice)


@contextmanager
def _texts_here(source: Place, names: Sequence[str]) -> Iterator[Place]:
    """The set with the files that may hold annotations on this machine's disk."""
    if isinstance(source, FolderPlace):
        yield source
        return
    with tempfile.TemporaryDirectory(prefix="simtrue-") as folder:
        here = FolderPlace(Path(folder))
        for name in names:
            if PurePosixPath(name).suffix.lower() in TEXT_SUFFIXES:
                copy(source, name, here, name)
        yield here


def _lay_down(folder: JobFolder, planned: SetPlan, chunk_files: int) -> dict[str, object]:
    chunks = 0
    for start in range(0, len(planned.files), chunk_files):
        folder.write_chunk(chunks, planned.files[start : start + chunk_files])
        chunks += 1
    sync_file_system(folder.root)
    with appearing(folder.plan) as file:
        file.writelines(as_line(_told(one)) for one in planned.files)
    labels = Counter(one.label_image for one in planned.files if one.label_image is not None)
    return {
        "files": len(planned.files),
        "images": sum(one.action == "refine" for one in planned.files),
        "annotated": sum(one.annotations is not None for one in planned.files),
        "chunks": chunks,
        "label_images": dict(labels.most_common(MOST_PROBLEMS)),
        "problems": list(planned.problems[:MOST_PROBLEMS]),
    }


def _told(file: PlannedFile) -> dict[str, object]:
    """One line of the plan for people."""
    told: dict[str, object] = {"path": file.name, "action": file.action}
    if file.problem is not None:
        return {**told, "action": "leave out", "reason": file.problem}
    if file.label_image is not None:
        told["reason"] = f"taken for a label image, because {file.label_image}"
    if file.annotations is not None:
        told["annotations"] = file.annotations.where
    if file.written_as != file.name:
        told["written_as"] = file.written_as
    return told


if __name__ == "__main__":
    carry_out(prepare)
