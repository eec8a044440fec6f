"""`python -m app.jobs.finish`: the records of all chunks become manifest, report and the packed result."""

from __future__ import annotations

import json
import zipfile
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from errno import ENOENT
from fnmatch import fnmatchcase
from functools import partial
from hashlib import file_digest, sha256
from pathlib import Path
from typing import IO

from app.datasets.boxed import Member, pack
from app.datasets.folder_place import FolderPlace
from app.datasets.image_lists import Dropped, without_dropped
from app.datasets.manifest import Entry, as_line
from app.datasets.place import Digest, Place
from app.datasets.set_report import SetReport
from app.jobs.bundle import Bundle, bundle_of, open_member
from app.jobs.child import Order, carry_out
from app.jobs.folder import JobFolder
from app.jobs.order import place_of
from app.jobs.request import JobRequest
from model.files import appearing, partial_key


def finish(order: Order) -> dict[str, object]:
    """Write the papers and pack the result; what there is now. Again gives the same."""
    folder, request = JobFolder(Path(order["folder"])), JobRequest.model_validate_json(order["request"])
    work = _Work(folder, request, int(order["chunks"]), place_of(order["source"]), place_of(order["target"]))
    work.tidy_up()
    work.edit_lists()
    work.write_papers(order["about"], int(order["max_pixels"]), order["problems"])
    if request.destination is not None:
        return {"archive": None}
    kind = request.options.archive
    packed = folder.archive(kind)
    if not packed.exists():
        pack(work.members(), packed, kind)
    with packed.open("rb") as file:
        digest = file_digest(file, "sha256").hexdigest()
    return {"archive": packed.name, "bytes": packed.stat().st_size, "sha256": digest}


class _Work:
    """What all steps share; every one may be done again."""

    def __init__(
        self, folder: JobFolder, request: JobRequest, chunks: int, source: Place, target: Place
    ) -> None:
        self._folder, self._request, self._chunks = folder, request, chunks
        self._source, self._target = source, target
        self._lists = FolderPlace(folder.edited) if request.destination is None else target
        self._edited: dict[str, Entry] = {}

    def tidy_up(self) -> None:
        """Remove what writers of these files left half written when they were killed."""
        if self._request.destination is None or not isinstance(self._target, FolderPlace):
            return
        left: dict[tuple[Path, str], list[Path]] = {}
        for path in self._target.partials():
            left.setdefault(partial_key(path), []).append(path)
        if not left:
            return
        for entry in self._entries():
            for path in left.pop(partial_key(self._target.folder / entry.result), ()):
                path.unlink(missing_ok=True)

    def edit_lists(self) -> None:
        """Take the lines of dropped images out of the lists that were named."""
        patterns = self._request.options.lists
        if not (patterns and self._request.options.drop_below):
            return
        dropped = Dropped.among(self._entries(), self._request.options.variants)
        for entry in self._entries():
            if entry.action == "copied" and any(fnmatchcase(entry.path, pattern) for pattern in patterns):
                self._edit(entry, dropped)
        self._lists.settle(list(self._edited))

    def _edit(self, entry: Entry, dropped: Dropped) -> None:
        before = self._source.read(entry.path)
        after, lines = without_dropped(before, entry, dropped)
        if lines:
            self._lists.write(entry.result, after)
            reason = f"{lines} lines that named dropped images were taken out"
            digest = Digest(sha256(after).hexdigest(), len(after))
            self._edited[entry.result] = Entry(
                entry.path, "edited", reason, entry.written_as, entry.before, digest
            )

    def write_papers(self, about: dict[str, str], max_pixels: int, problems: list[str]) -> None:
        """The manifest, and the report in both forms."""
        limits = self._request.options.thresholds
        report = SetReport(limits.max_shift_px, limits.min_structure_kept, limits.min_least_kept, max_pixels)
        for problem in problems:
            report.complain("", problem)
        with appearing(self._folder.manifest) as file:
            told = {"model": self._request.model.model_dump(), "options": self._request.options.model_dump()}
            file.write(as_line(told))
            for entry in self._entries():
                report.add(entry)
                file.write(as_line(entry.to_json()))
        with appearing(self._folder.report) as file:
            file.write(json.dumps(report.as_json()).encode())
        with appearing(self._folder.page) as file:
            file.write(report.render(about, self._pictures).encode())

    def members(self) -> Iterator[Member]:
        """The files of the result that is packed, from wherever they are now."""
        for number in range(self._chunks):
            with ExitStack() as stack:
                path, bundle = bundle_of(self._folder.result, number), None
                if path.exists():
                    bundle = stack.enter_context(zipfile.ZipFile(path))
                for entry in map(self._as_edited, self._folder.read_done(number)):
                    if entry.after is not None:
                        yield Member(entry.result, entry.after.bytes, partial(self._open, entry, bundle))

    @contextmanager
    def _open(self, entry: Entry, bundle: zipfile.ZipFile | None) -> Iterator[IO[bytes]]:
        """A file of a result that is packed."""
        if entry.action == "edited":
            opened = self._lists.open(entry.result)
        elif entry.action != "refined" and self._request.leave_copies:
            opened = self._source.open(entry.path)
        elif bundle is not None:
            opened = open_member(bundle, entry.result)
        else:
            raise FileNotFoundError(ENOENT, "The bundle of its chunk is gone", entry.result)
        with opened as file:
            yield file

    def _entries(self) -> Iterator[Entry]:
        for number in range(self._chunks):
            for entry in self._folder.read_done(number):
                yield self._as_edited(entry)

    def _as_edited(self, entry: Entry) -> Entry:
        return self._edited.get(entry.result, entry)

    def _pictures(self, entry: Entry) -> tuple[bytes, bytes | None]:
        before = self._source.read(entry.path)
        if entry.action != "dropped":
            return before, self._results_with(entry).read(entry.result)
        left_out = FolderPlace(self._folder.dropped)
        return before, left_out.read(entry.result) if left_out.exists(entry.result) else None

    def _results_with(self, entry: Entry) -> Place:
        """Where a refined image is; chunks follow one another in the order of paths."""
        if self._request.destination is not None:
            return self._target
        chunk = bisect_right(range(self._chunks), entry.path, key=self._first_path) - 1
        return Bundle(bundle_of(self._folder.result, chunk))

    def _first_path(self, chunk: int) -> str:
        return next(self._folder.read_done(chunk)).path


if __name__ == "__main__":
    carry_out(finish)
