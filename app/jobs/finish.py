"""`python -m app.jobs.finish`: the records of all chunks become manifest, report and the packed result."""

from __future__ import annotations

import json
from collections.abc import Iterator
from fnmatch import fnmatchcase
from hashlib import file_digest, sha256
from pathlib import Path

from app.datasets.boxed import pack
from app.datasets.folder_place import FolderPlace
from app.datasets.image_lists import Dropped, without_dropped
from app.datasets.manifest import Entry, as_line
from app.datasets.place import Digest, Place
from app.datasets.set_report import SetReport
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
        pack(folder.result, packed, kind)
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
        self._edited: dict[str, Entry] = {}

    def tidy_up(self) -> None:
        """Remove what writers of these files left half written when they were killed."""
        if not isinstance(self._target, FolderPlace):
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
        self._target.settle(list(self._edited))

    def _edit(self, entry: Entry, dropped: Dropped) -> None:
        before = self._source.read(entry.path)
        after, lines = without_dropped(before, entry, dropped)
        if lines:
            self._target.write(entry.result, after)
            reason = f"{lines} lines that named dropped images were taken out"
            digest = Digest(sha256(after).hexdigest(), len(after))
            self._edited[entry.result] = Entry(
                entry.path, "edited", reason, entry.written_as, entry.before, digest
            )

    def write_papers(self, about: dict[str, str], max_pixels: int, problems: list[str]) -> None:
        """The manifest, and the report in both forms."""
        limits = self._request.options.thresholds
        report = SetReport(limits.max_shift_px, limits.min_structure_kept, max_pixels)
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

    def _entries(self) -> Iterator[Entry]:
        for number in range(self._chunks):
            for entry in self._folder.read_done(number):
                yield self._edited.get(entry.result, entry)

    def _pictures(self, entry: Entry) -> tuple[bytes, bytes | None]:
        if entry.action != "dropped":
            return self._source.read(entry.path), self._target.read(entry.result)
        left_out = FolderPlace(self._folder.dropped)
        shown = left_out.read(entry.result) if left_out.exists(entry.result) else None
        return self._source.read(entry.path), shown


if __name__ == "__main__":
    carry_out(finish)
