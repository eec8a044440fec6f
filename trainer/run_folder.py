"""Owns the run folder: its number, its parts, and the lock that keeps a second process out."""

import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from trainer.config import TrainConfig
from trainer.disk import telling, write_atomically
from trainer.errors import ConfigError, RunFolderError
from trainer.options import read_toml, to_toml, validate


@dataclass(frozen=True)
class RunFolder:
    """`00001-<preset>-<name>/` and the names of what lies in it."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved settings, TOML."""
        return self.path / "config.toml"

    @property
    def metrics(self) -> Path:
        """One JSON line per log step and per alarm."""
        return self.path / "metrics.jsonl"

    @property
    def tensorboard(self) -> Path:
        """TensorBoard event files."""
        return self.path / "tensorboard"

    @property
    def grids(self) -> Path:
        """Sample grids, PNG."""
        return self.path / "grids"

    @property
    def checkpoints(self) -> Path:
        """Checkpoints, newest last."""
        return self.path / "checkpoints"

    @property
    def cache(self) -> Path:
        """Decoded images that did not fit in memory."""
        return self.path / "cache"

    @property
    def evaluation(self) -> Path:
        """The last evaluation, JSON."""
        return self.path / "evaluation.json"

    @property
    def report(self) -> Path:
        """The same as a page, HTML."""
        return self.path / "report.html"

    def read_config(self) -> TrainConfig:
        """The settings saved with the run; RunFolderError when this is no run folder."""
        if not self.config.is_file():
            raise RunFolderError(f"{self.path} is not a run folder: it has no config.toml")
        try:
            return validate(read_toml(self.config))
        except ConfigError as error:
            raise RunFolderError(f"{self.config} cannot be used: {error}") from error

    def write_config(self, config: TrainConfig) -> None:
        """Save the settings, whole or not at all."""
        write_atomically(self.config, lambda file: file.write(to_toml(config).encode()))

    def discard(self) -> None:
        """Remove a run that could not start."""
        shutil.rmtree(self.path, ignore_errors=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes out of this run until the block ends or the process dies."""
        with _exclusive(self.path, wait=False):
            yield


def claim_run_folder(config: TrainConfig) -> RunFolder:
    """Make the folder with the next number under `runs_root`; two processes never get the same number."""
    root = Path(config.runs_root)
    with telling(root):
        root.mkdir(parents=True, exist_ok=True)
        with _exclusive(root, wait=True):
            taken = [int(match[1]) for path in root.iterdir() if (match := re.match(r"(\d{5,})-", path.name))]
            parts = [f"{max(taken, default=0) + 1:05d}", config.preset, config.name]
            folder = RunFolder(root / "-".join(part for part in parts if part))
            folder.path.mkdir()
        for part in (folder.grids, folder.checkpoints, folder.tensorboard):
            part.mkdir()
    folder.write_config(config)
    return folder


@contextmanager
def _exclusive(folder: Path, *, wait: bool) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    except BlockingIOError as error:
        raise RunFolderError(f"another process is training in {folder}") from error
    finally:
        os.close(descriptor)
