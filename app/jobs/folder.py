"""The folder of one job: which file is where, and how records of chunks are written."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.datasets.manifest import Entry, entry_from_json
from app.datasets.set_plan import PlannedFile, file_from_json
from model.files import PARTIAL_SUFFIX, appearing

UNFINISHED: Final = "unfinished-"
"""Begins the name of a folder that takes another one when it is whole."""


@dataclass(frozen=True)
class JobFolder:
    """Paths only; nothing is opened."""

    root: Path

    @property
    def upload(self) -> Path:
        """The archive as it came."""
        return self.root / "upload"

    @property
    def source(self) -> Path:
        """What was in it."""
        return self.root / "source"

    @property
    def plan(self) -> Path:
        """A JSON line per file: what becomes of it, and why."""
        return self.root / "plan.jsonl"

    @property
    def prepared(self) -> Path:
        """The totals of the plan; there when the preparation is complete."""
        return self.root / "prepared.json"

    @property
    def result(self) -> Path:
        """The results of chunks, each in a bundle."""
        return self.root / "result"

    @property
    def edited(self) -> Path:
        """Lists of which lines were taken out."""
        return self.root / "edited"

    @property
    def dropped(self) -> Path:
        """Images that are left out of it, to be shown in the report."""
        return self.root / "dropped"

    @property
    def manifest(self) -> Path:
        """A JSON line per written file."""
        return self.root / "manifest.jsonl"

    @property
    def page(self) -> Path:
        """The report for people."""
        return self.root / "report.html"

    @property
    def report(self) -> Path:
        """The report for programs."""
        return self.root / "report.json"

    def archive(self, kind: str) -> Path:
        """The result, packed."""
        return self.root / f"result.{kind}"

    def chunk(self, number: int) -> Path:
        """What is to be done in a chunk."""
        return self.root / "chunks" / f"{number:08}.jsonl"

    def done(self, number: int) -> Path:
        """What was done in it; there only when all of its outputs are on the disk."""
        return self.root / "done" / f"{number:08}.jsonl"

    def write_chunk(self, number: int, files: Iterable[PlannedFile]) -> None:
        """Lay down a chunk."""
        self.chunk(number).parent.mkdir(exist_ok=True)
        self.chunk(number).write_bytes(b"".join(_line(file.to_json()) for file in files))

    def read_chunk(self, number: int) -> list[PlannedFile]:
        """The files of a chunk."""
        return [file_from_json(json.loads(line)) for line in self.chunk(number).read_bytes().splitlines()]

    def write_done(self, number: int, entries: Iterable[Entry]) -> None:
        """Record a chunk."""
        lines = [_line(entry.to_json()) for entry in entries]
        with appearing(self.done(number)) as file:
            file.writelines(lines)

    def read_done(self, number: int) -> Iterator[Entry]:
        """The record of a chunk."""
        with self.done(number).open("rb") as file:
            yield from map(entry_from_json, map(json.loads, file))

    def kept_bytes(self) -> int:
        """What stays on the disk when the work is removed."""
        return sum(
            path.stat().st_size for path in self.root.iterdir() if path.is_file() and path != self.upload
        )

    def remove_work(self) -> None:
        """Remove what only the work needed, and what was left half done. Again does no harm."""
        parts = (self.source, self.result, self.edited, self.dropped)
        for folder in (*parts, self.root / "chunks", self.root / "done", *self.root.glob(f"{UNFINISHED}*")):
            shutil.rmtree(folder, ignore_errors=True)
        for file in (self.upload, *self.root.glob(f".*{PARTIAL_SUFFIX}")):
            file.unlink(missing_ok=True)

    @contextmanager
    def unfinished(self) -> Iterator[Path]:
        """A new folder, to be renamed when it is whole; what an attempt leaves that failed is removed."""
        for old in self.root.glob(f"{UNFINISHED}*"):
            shutil.rmtree(old)
        made = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=self.root))
        try:
            yield made
        except BaseException:
            shutil.rmtree(made, ignore_errors=True)
            raise


def _line(value: Mapping[str, object]) -> bytes:
    """ASCII, so that names that are no Unicode come back as they were; numbers of labels may be infinite."""
    return json.dumps(value).encode() + b"\n"
