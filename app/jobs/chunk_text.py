"""A chunk and its answer as text: all that a worker on another machine is told, and all that it says."""

from __future__ import annotations

import errno
import json
from collections.abc import Sequence
from typing import Any

from app.datasets.manifest import Entry, entry_from_json
from app.datasets.set_plan import file_from_json
from app.errors import SimtrueError
from app.jobs.chunk import ChunkWork
from app.jobs.order import error_of, place_of, place_to_json
from app.jobs.request import JobRequest


def work_to_text(work: ChunkWork) -> str:
    """What `work_of` makes the same chunk of. ASCII, whatever bytes are in the names of files."""
    return json.dumps(
        {
            "job": work.job,
            "number": work.number,
            "request": work.request.model_dump_json(),
            "source": place_to_json(work.source),
            "target": place_to_json(work.target),
            "files": [file.to_json() for file in work.files],
            "dropped": None if work.dropped is None else place_to_json(work.dropped),
        }
    )


def work_of(text: str) -> ChunkWork:
    """A chunk that `work_to_text` described."""
    told = json.loads(text)
    return ChunkWork(
        told["job"],
        told["number"],
        JobRequest.model_validate_json(told["request"]),
        place_of(told["source"]),
        place_of(told["target"]),
        [file_from_json(file) for file in told["files"]],
        None if told["dropped"] is None else place_of(told["dropped"]),
    )


def entries_to_text(entries: Sequence[Entry]) -> str:
    """The answer for a chunk that is done."""
    return json.dumps({"entries": [entry.to_json() for entry in entries]})


def error_to_text(error: SimtrueError | OSError) -> str:
    """The answer for one that could not be done."""
    if isinstance(error, SimtrueError):
        return json.dumps({"error": type(error).__name__, "detail": error.detail})
    return json.dumps({"errno": error.errno or errno.EIO, "strerror": error.strerror or str(error)})


def entries_of(text: str) -> list[Entry]:
    """The answer's entries. Raises the SimtrueError or OSError that it tells of instead."""
    told: dict[str, Any] = json.loads(text)
    if "error" in told:
        raise error_of(told)
    if "errno" in told:
        raise OSError(told["errno"], told["strerror"])
    return [entry_from_json(entry) for entry in told["entries"]]
