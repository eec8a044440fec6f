"""The manifest of a refined set: a JSON line per written file, in the order of the plan."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, Self

from app.datasets.place import Digest
from app.preservation.verdict import Verdict
from model.files import appearing

Action = Literal["refined", "copied", "edited", "dropped", "failed"]


@dataclass(frozen=True)
class Measured:
    """What became of the structure under one annotation; None where there was none to measure.

    box: x1, y1, x2, y2 in px of the upright image. least_kept: None also where no part stands out, and in
    records from before it was measured.
    """

    annotation: int
    label: str | None
    box: tuple[float, float, float, float]
    dx: float | None
    dy: float | None
    shift_px: float | None
    structure_kept: float | None
    least_kept: float | None = None


@dataclass(frozen=True)
class Refined:
    """How an image was refined, as `ImageReport` explains it; annotations: the file that they are in."""

    annotations: str | None
    variant: int
    seed: int
    strength_applied: float
    width: int
    height: int
    mode: str
    media_type: str
    lossless: bool
    verdict: Verdict
    preservation: tuple[Measured, ...] | None
    problems: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Entry:
    """What became of one file.

    path: below the source. action: dropped means measured to be below the thresholds and left out of the
    result; edited, a list without the lines of dropped images. written_as: below the result, where it
    differs. before, after: of its bytes, where there are any; equal where a failed image was copied. refined:
    also of a dropped image.
    """

    path: str
    action: Action
    reason: str | None = None
    written_as: str | None = None
    before: Digest | None = None
    after: Digest | None = None
    refined: Refined | None = None

    @property
    def result(self) -> str:
        """Its path below the result."""
        return self.written_as if self.written_as is not None else self.path

    def to_json(self) -> dict[str, object]:
        """Plain values, without those that there are none of."""
        value: dict[str, object] = {"path": self.path, "action": self.action}
        for key in ("reason", "written_as"):
            if (said := getattr(self, key)) is not None:
                value[key] = said
        for key, digest in (("in", self.before), ("out", self.after)):
            if digest is not None:
                value[key] = digest._asdict()
        if self.refined is not None:
            measured = self.refined.preservation
            listed = None if measured is None else [vars(one) for one in measured]
            value |= vars(self.refined) | {"preservation": listed}
        return value


def entry_from_json(value: Mapping[str, Any]) -> Entry:
    """The entry that `Entry.to_json` wrote; what is read here was written by ourselves."""
    before, after = (Digest(**value[key]) if key in value else None for key in ("in", "out"))
    refined = None
    if "verdict" in value:
        told = {name: value[name] for name in Refined.__dataclass_fields__}
        if (measured := told["preservation"]) is not None:
            told["preservation"] = tuple(Measured(**one | {"box": tuple(one["box"])}) for one in measured)
        refined = Refined(**told | {key: tuple(told[key]) for key in ("problems", "notes")})
    return Entry(
        value["path"],
        value["action"],
        value.get("reason"),
        value.get("written_as"),
        before,
        after,
        refined,
    )


def as_line(entry: Mapping[str, object]) -> bytes:
    """One line of JSON for readers outside: UTF-8, and escaped what in names is none."""
    text = json.dumps(entry, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "backslashreplace") + b"\n"


class ManifestWriter:
    """Writes lines in the order of their numbers, whatever order they come in; the file appears when whole.

    Used as a context manager. Lines that come early wait in memory: as many as files are in work at once.
    """

    def __init__(self, path: Path) -> None:
        self._appearing = appearing(path)
        self._file: IO[bytes] | None = None
        self._next = 0
        self._early: dict[int, bytes] = {}

    def __enter__(self) -> Self:
        self._file = self._appearing.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._appearing.__exit__(kind, error, traceback)

    def put(self, number: int, lines: bytes) -> None:
        """The lines about file `number`, from 0; each number once. Raises OSError when the disk is full."""
        assert self._file is not None, "the manifest is not open"
        assert number >= self._next, number
        self._early[number] = lines
        while self._next in self._early:
            self._file.write(self._early.pop(self._next))
            self._next += 1
