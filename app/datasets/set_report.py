"""What became of a set, as one HTML page: verdicts, drift, and the regions that changed most."""

from __future__ import annotations

import base64
import heapq
import html
import io
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.datasets.manifest import Entry, Measured
from app.errors import SimtrueError
from app.refining.images import decode

MOST_SHOWN: Final = 24
MOST_LISTED: Final = 200
MOST_OPEN: Final = 20
"""Entries of a list that is unfolded from the start."""
PICTURE_PX: Final = 160
"""Side of a picture on the page; it shows the region with its surroundings."""
SMALLEST_CUT_PX: Final = 48
BINS: Final = 20
STYLE: Final = Path(__file__).with_name("set_report.css")

Box = tuple[float, float, float, float]


Pictures = Callable[[Entry], tuple[bytes, bytes | None]]
"""The image of an entry as it was and as it became, encoded; None where there is none any more."""


@dataclass(frozen=True, order=True)
class _Shown:
    """One of the regions that changed most; the worst compares highest."""

    badness: float
    image: str
    place: int
    region: Measured = field(compare=False)
    entry: Entry = field(compare=False)


@dataclass
class SetReport:
    """Gathers what became of a set, entry by entry; memory does not grow with the set."""

    max_shift_px: float
    min_structure_kept: float
    min_least_kept: float
    max_pixels: int
    fates: Counter[str] = field(default_factory=Counter)
    """Files by what became of them: a verdict, `copied`, `dropped`, `failed`."""
    label_images: Counter[str] = field(default_factory=Counter)
    """Images left alone, by the reason."""
    failures: list[tuple[str, str]] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    _shift: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))
    _kept: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))
    _worst: list[_Shown] = field(default_factory=list)
    unmeasured: int = 0
    unchecked: int = 0
    """Images without annotations that are understood."""

    def complain(self, name: str, problem: str) -> None:
        """Something wrong with annotations; `name` is the image, or the file of annotations."""
        _append(self.problems, (name, problem))

    def add(self, entry: Entry) -> None:
        """What became of one file."""
        refined = entry.refined
        if entry.action == "refined" and refined is not None:
            self.fates[refined.verdict.replace("_", " ")] += 1
        else:
            self.fates[entry.action] += 1
        if entry.action == "failed":
            _append(self.failures, (entry.path, entry.reason or ""))
        elif entry.action == "copied" and entry.reason is not None:
            self.label_images[entry.reason] += 1
        if refined is None:
            return
        self.unchecked += refined.annotations is None
        for problem in refined.problems:
            self.complain(entry.path, problem)
        for place, region in enumerate(refined.preservation or ()):
            self._add(entry, place, region)

    def _add(self, entry: Entry, place: int, region: Measured) -> None:
        if region.structure_kept is None:
            self.unmeasured += 1
            return
        self._kept[_bin(region.structure_kept)] += 1
        if region.shift_px is not None:
            # Twice the threshold is the end of the scale; a threshold of 0 has none.
            self._shift[_bin(region.shift_px / (2 * self.max_shift_px) if self.max_shift_px else 1.0)] += 1
        shown = _Shown(self._badness(region), entry.result, place, region, entry)
        if len(self._worst) < MOST_SHOWN:
            heapq.heappush(self._worst, shown)
        else:
            heapq.heappushpop(self._worst, shown)

    def _badness(self, region: Measured) -> float:
        """1 where a threshold is reached, 0 where nothing changed."""
        lost = (1 - (region.structure_kept or 0.0)) / max(1 - self.min_structure_kept, 1e-6)
        moved = math.inf if region.shift_px is None else region.shift_px / max(self.max_shift_px, 1e-6)
        erased = 0.0
        if region.least_kept is not None:
            erased = (1 - region.least_kept) / max(1 - self.min_least_kept, 1e-6)
        return max(lost, moved, erased)

    def as_json(self) -> dict[str, object]:
        """The same as plain values, the worst first; without pictures."""
        return {
            "files": dict(self.fates),
            "label_images": dict(self.label_images),
            "failures": [{"path": path, "reason": reason} for path, reason in sorted(self.failures)],
            "problems": [{"path": path, "problem": problem} for path, problem in sorted(self.problems)],
            "thresholds": {
                "max_shift_px": self.max_shift_px,
                "min_structure_kept": self.min_structure_kept,
                "min_least_kept": self.min_least_kept,
            },
            "measured": int(self._kept.sum()),
            "unmeasured": self.unmeasured,
            "unchecked": self.unchecked,
            "histograms": {
                "structure_kept": {"from": 0.0, "to": 1.0, "counts": self._kept.tolist()},
                "shift_px": {"from": 0.0, "to": 2 * self.max_shift_px, "counts": self._shift.tolist()},
            },
            "worst": [
                {"path": shown.entry.path, "written_as": shown.entry.result, **vars(shown.region)}
                for shown in sorted(self._worst, reverse=True)
            ],
        }

    def render(self, about: Mapping[str, str], pictures: Pictures) -> str:
        """The page: no script, nothing loaded from elsewhere. `about`: lines on how the set was refined."""
        sections = (
            _facts(about),
            _table("Files", self.fates),
            self._drift(),
            self._gallery(pictures),
            _table("Images left alone", self.label_images),
            _list("Failed", self.failures),
            _list("Wrong with the annotations, which stay as they are", self.problems),
        )
        return (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
            "<title>A refined set – Simtrue</title>"
            f"<style>{STYLE.read_text(encoding='utf-8')}</style></head>\n<body><main>"
            "<h1>A refined set</h1>\n" + "\n".join(filter(None, sections)) + "\n</main></body></html>\n"
        )

    def _drift(self) -> str:
        unknown = ""
        if self.unchecked:
            unknown = (
                f"<p>{self.unchecked} images are unchecked: no annotations were found for them, or none of "
                "a format that is understood.</p>"
            )
        if not self._kept.any():
            nothing = "<p>No annotation could be measured.</p>"
            return f"<section><h2>Preservation</h2>{nothing}{unknown}</section>"
        unmeasured = f" {self.unmeasured} had nothing to measure." if self.unmeasured else ""
        kept = _histogram(self._kept, "structure left, 0 to 100 %", self.min_structure_kept)
        moved = _histogram(
            self._shift,
            f"moved, 0 to {2 * self.max_shift_px:g} px and more; the line: {self.max_shift_px:g} px",
            0.5,
        )
        return (
            f"<section><h2>Preservation</h2><p>{int(self._kept.sum())} annotations were measured."
            f"{unmeasured} The lines are the thresholds.</p>{unknown}{kept}{moved}</section>"
        )

    def _gallery(self, pictures: Pictures) -> str:
        worst = sorted(self._worst, reverse=True)
        figures = "".join(_figure(shown, pictures, self.max_pixels) for shown in worst)
        if not figures:
            return ""
        return f"<section><h2>Changed most</h2><p>Before and after, the worst first.</p>{figures}</section>"


def _append(sentences: list[tuple[str, str]], sentence: tuple[str, str]) -> None:
    if len(sentences) < MOST_LISTED:
        sentences.append(sentence)


def _bin(part: float) -> int:
    return min(max(int(part * BINS), 0), BINS - 1)


def _cut(data: bytes, box: Box, max_pixels: int) -> str:
    """The surroundings of a box as a PNG in a data URI, 16 bits as 8."""
    pixels = decode(data, filename=None, max_pixels=max_pixels).pixels
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    height, width = pixels.shape[:2]
    side = max(1.6 * max(box[2] - box[0], box[3] - box[1]), SMALLEST_CUT_PX)
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    left, right = (round(min(max(edge, 0), width)) for edge in (x - side / 2, x + side / 2))
    top, bottom = (round(min(max(edge, 0), height)) for edge in (y - side / 2, y + side / 2))
    part = pixels[top : max(bottom, top + 1), left : max(right, left + 1)]
    if not part.size:
        part = pixels[:1, :1]
    picture = Image.fromarray(part[:, :, 0] if part.shape[2] == 1 else part)
    scale = PICTURE_PX / max(picture.size)
    across, down = (max(1, round(edge * scale)) for edge in picture.size)
    enlarged = picture.resize((across, down), Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX)
    file = io.BytesIO()
    enlarged.save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _facts(about: Mapping[str, str]) -> str:
    return (
        "<dl>"
        + "".join(f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>" for name, value in about.items())
        + "</dl>"
    )


def _table(title: str, counts: Counter[str]) -> str:
    if not counts:
        return ""
    rows = "".join(
        f"<tr><td>{_text(name)}</td><td>{count}</td></tr>" for name, count in counts.most_common(MOST_LISTED)
    )
    return f"<section><h2>{_text(title)}</h2><table>{rows}</table></section>"


def _list(title: str, sentences: Sequence[tuple[str, str]]) -> str:
    if not sentences:
        return ""
    rows = "".join(f"<li><b>{_text(name)}</b> {_text(said)}</li>" for name, said in sorted(sentences))
    count = f"the first {MOST_LISTED}" if len(sentences) == MOST_LISTED else f"{len(sentences)}"
    shown = "open" if len(sentences) <= MOST_OPEN else ""
    return (
        f"<section><h2>{_text(title)}</h2><details {shown}><summary>{count}</summary>"
        f"<ul>{rows}</ul></details></section>"
    )


def _histogram(counts: NDArray[np.int64], title: str, line: float) -> str:
    heights = (100 * counts / max(int(counts.max()), 1)).tolist()
    bars = "".join(
        f'<rect x="{20 * place}" y="{100 - height:.1f}" width="18" height="{height:.1f}">'
        f"<title>{count}</title></rect>"
        for place, (height, count) in enumerate(zip(heights, counts.tolist(), strict=True))
    )
    mark = f'<line x1="{20 * BINS * line:.0f}" x2="{20 * BINS * line:.0f}" y1="0" y2="100"/>'
    size = f'viewBox="0 0 {20 * BINS} 100" role="img" aria-label="{_text(title)}"'
    return f"<figure><svg {size}>{bars}{mark}</svg><figcaption>{_text(title)}</figcaption></figure>"


def _figure(shown: _Shown, pictures: Pictures, max_pixels: int) -> str:
    region = shown.region
    kept = f"{region.structure_kept or 0:.0%} left"
    if region.least_kept is not None:
        kept += f", {region.least_kept:.0%} where most was lost"
    moved = "place unknown" if region.shift_px is None else f"moved {region.shift_px:.2f} px"
    label = f" · {_text(region.label)}" if region.label else ""
    dropped = ", dropped" if shown.entry.action == "dropped" else ""
    return (
        f'<figure class="pair">{_pair(shown, pictures, max_pixels)}'
        f"<figcaption>{_text(shown.image)}{label}<br>{kept}, {moved}{dropped}</figcaption></figure>"
    )


def _pair(shown: _Shown, pictures: Pictures, max_pixels: int) -> str:
    """Before and after; a source that went away since is told instead."""
    try:
        before, after = pictures(shown.entry)
        cut = [None if data is None else _cut(data, shown.region.box, max_pixels) for data in (before, after)]
    except (OSError, SimtrueError):
        return "<p>Its pictures can no longer be read.</p>"
    shown_before, shown_after = cut
    second = "<p>dropped</p>" if shown_after is None else f'<img alt="after" src="{shown_after}">'
    return f'<img alt="before" src="{shown_before}">{second}'


def _text(value: object) -> str:
    """Escaped; surrogates of undecodable names would make the page unwritable."""
    return html.escape(str(value).encode("utf-8", "replace").decode())
