"""The manifest of a refined set: a JSON line per file, in the order of the plan."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from model.files import appearing


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

    def put(self, number: int, entry: Mapping[str, object]) -> None:
        """The entry of file `number`, from 0; each number once. Raises OSError when the disk is full."""
        assert self._file is not None, "the manifest is not open"
        assert number >= self._next, number
        self._early[number] = json.dumps(entry, ensure_ascii=False, allow_nan=False).encode(
            "utf-8", "backslashreplace"
        )
        while self._next in self._early:
            self._file.write(self._early.pop(self._next) + b"\n")
            self._next += 1
