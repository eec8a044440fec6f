"""Owns checkpoints: whole files with a digest, the newest that can be read, and how many are kept."""

import hashlib
import pickle
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch

from model.files import PARTIAL_SUFFIX
from trainer.disk import telling, write_atomically
from trainer.errors import CheckpointError

FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read back whole."""

    path: Path
    iteration: int
    state: Mapping[str, Any]
    """What the training gave to `save_checkpoint`; tensors on the CPU."""


def save_checkpoint(folder: Path, iteration: int, state: Mapping[str, object], keep: int) -> Path:
    """Write `state` (tensors and plain values) as the checkpoint of `iteration`; drop all but `keep`.

    The file appears only when it is complete and on the disk, after the digest that it is checked against.
    Raises DiskFullError; the checkpoints before it stay.
    """
    path = folder / f"{iteration:09d}.pt"
    content = {"format": FORMAT, "iteration": iteration, "state": dict(state)}

    def write(file: IO[bytes]) -> None:
        hashing = _HashingFile(file)
        torch.save(content, hashing)  # type: ignore[arg-type]  # it asks for write and flush only
        digest = hashing.digest.hexdigest().encode()
        write_atomically(_digest_path(path), lambda sidecar: sidecar.write(digest))

    write_atomically(path, write)
    with telling(folder):
        _drop_old(folder, keep)
    return path


def load_newest(folder: Path, tell: Callable[[str], None]) -> Checkpoint | None:
    """Read the newest checkpoint that is whole, and `tell` of every one passed over; None when there is none.

    CheckpointError when there are checkpoints, but none can be read.
    """
    paths = _whole_files(folder)[::-1]
    for path in paths:
        try:
            return _load(path)
        except CheckpointError as error:
            tell(str(error))
    if paths:
        raise CheckpointError(f"none of the {len(paths)} checkpoints in {folder} can be read")
    return None


@contextmanager
def fitting(checkpoint: Checkpoint) -> Iterator[None]:
    """Turn what networks, optimisers and history say about the state of another run into CheckpointError."""
    try:
        yield
    except (RuntimeError, KeyError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split("\n\t")[-1].split())
        raise CheckpointError(
            f"the checkpoint {checkpoint.path} does not fit config.toml or the images: {reason}"
        ) from error


class _HashingFile:
    """What torch.save needs of a file; hashes all that passes."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()


def _digest_path(path: Path) -> Path:
    return path.with_suffix(".sha256")


def _load(path: Path) -> Checkpoint:
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != _digest_path(path).read_text():
            raise CheckpointError(
                f"the checkpoint {path} is damaged: its SHA-256 is not the one written with it"
            )
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"the checkpoint {path} cannot be read: {error}") from error
    if not isinstance(content, dict) or not {"format", "iteration", "state"} <= content.keys():
        raise CheckpointError(f"the checkpoint {path} was not written by this trainer")
    if content["format"] != FORMAT:
        raise CheckpointError(
            f"the checkpoint {path} has format {content['format']}; this trainer reads {FORMAT}"
        )
    return Checkpoint(path, content["iteration"], content["state"])


def _whole_files(folder: Path) -> list[Path]:
    """Checkpoints in the order of their iterations, without what a killed process left half written."""
    return sorted(folder.glob("*.pt"))


def _drop_old(folder: Path, keep: int) -> None:
    for path in _whole_files(folder)[:-keep]:
        path.unlink()
    for path in folder.glob(f"*{PARTIAL_SUFFIX}"):
        path.unlink()
    for path in folder.glob("*.sha256"):
        if not path.with_suffix(".pt").exists():
            path.unlink()
