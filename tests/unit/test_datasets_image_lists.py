"""Lists of images without those that were dropped: every other byte stays."""

from __future__ import annotations

import pytest

from app.datasets.image_lists import Dropped, without_dropped
from app.datasets.manifest import Entry

LIST = Entry("train.txt", "copied")
NAMES = frozenset({"left/a b.png", "left/a b", "a b.png", "a b", "left/c.png", "left/c", "c.png", "c"})
DROPPED = Dropped((NAMES,), (frozenset({"left/a b.png", "left/a b", "left/c.png", "left/c"}),))


@pytest.mark.parametrize(
    "line",
    [
        b"left/c.png\n",
        b"./left/c.png\r\n",
        b"c 1\n",
        b"left\\c.png,0.5,dog\n",
        b"/data/set/left/c.png\n",
        b"\xef\xbb\xbfleft/c.png\n",
        b"left/a b.png\n",
        b"  a b  \r\n",
        b'"left/a b.png"\n',
        b"\xef\xbb\xbf/data/set/left/a b.png\n",
    ],
)
def test_lines_that_name_a_dropped_image_go(line: bytes) -> None:
    assert without_dropped(line + b"d.png\n", LIST, DROPPED) == (b"d.png\n", 1)


@pytest.mark.parametrize(
    "line", [b"\n", b" \r\n", b"d.png\n", b"a d.png\n", b"right/c.png\n", b"# c\n", b"\xff c"]
)
def test_all_other_lines_stay_as_they_are(line: bytes) -> None:
    assert without_dropped(line, LIST, DROPPED) == (line, 0)
