"""What lies in a model repository's folder: `<root>/<name>/<version>/refiner.onnx`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

MODEL_FILE = "refiner.onnx"

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_VERSION = re.compile(r"[1-9][0-9]{0,8}")


@dataclass(frozen=True)
class Fingerprint:
    """What changes when a file is written anew."""

    mtime_ns: int
    size: int
    inode: int


@dataclass(frozen=True)
class ModelVersion:
    """One refiner file on disk, as it was found."""

    name: str
    version: int
    path: Path
    fingerprint: Fingerprint


@dataclass(frozen=True)
class Shelf:
    """One look at the folder: versions by name, newest first; `problem` says why there are none."""

    versions: dict[str, tuple[ModelVersion, ...]]
    problem: str | None


def look(root: Path) -> Shelf:
    """Look what is there now.

    Names are those a card may have, versions positive integers without leading zeros; anything else (also
    what begins with a dot, and a version without its file yet) is ignored.
    """
    try:
        folders = sorted(entry for entry in root.iterdir() if _NAME.fullmatch(entry.name) and entry.is_dir())
    except OSError as error:
        return Shelf({}, f"The model repository {root} cannot be read: {error.strerror}.")
    found = {folder.name: versions for folder in folders if (versions := _versions(folder))}
    problem = None if found else f"The model repository {root} holds no <name>/<version>/{MODEL_FILE}."
    return Shelf(found, problem)


def _versions(folder: Path) -> tuple[ModelVersion, ...]:
    try:
        numbers = sorted((int(e.name) for e in folder.iterdir() if _VERSION.fullmatch(e.name)), reverse=True)
    except OSError:
        return ()
    found = []
    for number in numbers:
        path = folder / str(number) / MODEL_FILE
        if fingerprint := _fingerprint(path):
            found.append(ModelVersion(folder.name, number, path, fingerprint))
    return tuple(found)


def _fingerprint(path: Path) -> Fingerprint | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return Fingerprint(status.st_mtime_ns, status.st_size, status.st_ino)
