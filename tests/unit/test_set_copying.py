"""What is told of files of a set that do not get into the result."""

from __future__ import annotations

from app.datasets.manifest import Entry
from app.datasets.set_plan import PlannedFile
from app.set_copying import left_out


def test_a_file_that_is_left_out_counts_once_for_each_variant() -> None:
    """Otherwise a job with variants would never count all of its files as done."""
    file = PlannedFile("copy", "a.txt", "a.txt")
    assert left_out(file, "Why.", 3) == [Entry("a.txt", "failed", "Why.")] * 3
