"""Files of a set that stay as they are: what is no image to refine, and images that cannot be refined."""

from __future__ import annotations

from dataclasses import dataclass, replace

from app.datasets.manifest import Action, Entry
from app.datasets.place import Place, copy, digest_of
from app.datasets.set_plan import PlannedFile
from app.errors import PlaceUnavailable, ShuttingDown, SimtrueError
from model.files import DISK_FULL

ENDS_THE_RUN = (ShuttingDown, PlaceUnavailable)


@dataclass(frozen=True)
class SetWay:
    """From where to where the files of a set go.

    Of several variants each gets a whole set of its own, in the folders `variant-0`, `variant-1`, …, so that
    annotations go on naming their images. leave_copies: what is to be copied is only read; who packs the
    result takes it from the source, where nobody changes it.
    """

    source: Place
    target: Place
    variants: int = 1
    leave_copies: bool = False

    def result_of(self, file: PlannedFile, variant: int) -> str:
        """Path of a variant of a file below the target."""
        return file.written_as if self.variants == 1 else f"variant-{variant}/{file.written_as}"


def copied(way: SetWay, file: PlannedFile, failure: str | None = None) -> list[Entry]:
    """Copy a file that is to be copied, or, with the reason, an image that could not be refined.

    What cannot be copied either is told, once for each variant. Raises what ends a run: ShuttingDown,
    PlaceUnavailable, and OSError when the disk is full.
    """
    try:
        return _copied(way, file, failure)
    except (SimtrueError, OSError) as error:
        return left_out(file, failure or sentence_about(error), way.variants)


def left_out(file: PlannedFile, reason: str, variants: int) -> list[Entry]:
    """What is told of a file that is not in the result, once for each variant."""
    return [Entry(file.name, "failed", reason)] * variants


def sentence_about(error: SimtrueError | OSError) -> str:
    """Why a file failed. Raises the error again when it is not about that file."""
    if isinstance(error, ENDS_THE_RUN) or (isinstance(error, OSError) and error.errno in DISK_FULL):
        raise error
    return error.detail if isinstance(error, SimtrueError) else f"{error.strerror or error}."


def written_as(file: PlannedFile, result: str) -> str | None:
    """What an entry tells of the path of a result."""
    return None if result == file.name else result


def _copied(way: SetWay, file: PlannedFile, failure: str | None) -> list[Entry]:
    action: Action = "copied" if failure is None else "failed"
    as_it_is = replace(file, written_as=file.name)
    read = digest_of(way.source, file.name) if way.leave_copies else None
    entries = []
    for variant in range(way.variants):
        result, reason = way.result_of(as_it_is, variant), failure
        digest = read or copy(way.source, file.name, way.target, result)
        if file.label_image is not None:
            reason = f"taken for a label image, because {file.label_image}"
        entries.append(Entry(file.name, action, reason, written_as(file, result), digest, digest))
    return entries
