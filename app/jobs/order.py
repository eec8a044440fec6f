"""What is said to a child or to another machine: places and errors as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app import errors
from app.datasets.folder_place import FolderPlace
from app.datasets.place import Place
from app.datasets.remote_place import RemotePlace
from app.errors import SimtrueError


def place_to_json(place: Place) -> dict[str, Any]:
    """What `place_of` makes the same place of."""
    if isinstance(place, FolderPlace):
        within = None if place.within is None else [str(folder) for folder in place.within]
        return {"folder": str(place.folder), "within": within}
    assert isinstance(place, RemotePlace), place
    return {"uri": place.uri, "endpoint": place.endpoint}


def place_of(value: Mapping[str, Any]) -> Place:
    """A place that `place_to_json` described."""
    if "folder" in value:
        within = value["within"]
        return FolderPlace(Path(value["folder"]), None if within is None else tuple(map(Path, within)))
    return RemotePlace(value["uri"], value["endpoint"])


def error_of(said: Mapping[str, Any]) -> SimtrueError:
    """The error of our own tree that somebody named, with the sentence that it came with."""
    kind = getattr(errors, str(said["error"]), SimtrueError)
    made = kind(str(said["detail"]))
    assert isinstance(made, SimtrueError), kind
    return made
