"""Owns the charts: inline SVG with axes, ticks, a legend and a title that a screen reader speaks.

Colours are classes (`c0` … `c5` for refiners, `real`, `synthetic`), so that the style sheet can choose them
for light and dark; every series also has a marker or a dash of its own, so that no chart needs colour to be
read.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from trainer.evaluation.html.axes import Axis, spanning
from trainer.evaluation.html.text import escape, shorten
from trainer.evaluation.results import Histogram

WIDTH = 400
GUTTER = 112
VALUES = 82
MARKERS = ("circle", "square", "triangle", "diamond", "cross", "ring")


@dataclass(frozen=True)
class Line:
    """One line of a line chart."""

    name: str
    look: str
    """Class: `c0` … `c5`, `real` or `synthetic`."""
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Row:
    """One row of a dot chart: the single values, their mean and its whisker."""

    name: str
    look: str
    mean: float
    low: float
    high: float
    values: tuple[float, ...]
    text: str
    """The mean in words, at the right edge."""


@dataclass(frozen=True)
class Mark:
    """A vertical line across a chart, with a word at its head."""

    name: str
    at: float
    look: str


def dot_chart(
    title: str,
    rows: Sequence[Row],
    marks: Sequence[Mark] = (),
    *,
    unit: str = "",
    bars_from: float | None = None,
    reach: Sequence[float] = (),
) -> str:
    """Rows under each other on one axis: dots for single values, a marker for the mean, a whisker.

    `bars_from` draws a bar from there to each mean; the axis includes `reach`, so that charts can share one.
    """
    top, step = (26 if marks else 8), 30
    bottom = top + step * len(rows)
    drawn = [value for row in rows for value in (row.low, row.high, *row.values)]
    axis = spanning([*reach, *drawn, *(mark.at for mark in marks)], GUTTER, WIDTH - VALUES, margin=0.04)
    parts = [_vertical_grid(axis, top, bottom, unit)]
    parts += [_mark(mark, axis, top, bottom) for mark in marks]
    for index, row in enumerate(rows):
        parts.append(_row(row, axis, top + step * (index + 0.5), bars_from))
    said = "; ".join(f"{row.name}: {row.text}" for row in rows)
    return _svg(title, said, bottom + 24, parts)


def line_chart(title: str, lines: Sequence[Line], x_label: str, y_label: str) -> str:
    """Lines over a common axis, with a legend under the drawing."""
    height, left, foot = 250, 46, 42
    x = spanning((point[0] for line in lines for point in line.points), left, WIDTH - 10, margin=0.0)
    y = spanning((point[1] for line in lines for point in line.points), height - foot, 12)
    parts = [_frame(x, y, x_label, y_label)]
    for line in lines:
        drawn = " ".join(f"{x.at(a):.1f},{y.at(b):.1f}" for a, b in line.points if math.isfinite(b))
        parts.append(f'<polyline class="line {line.look}" points="{drawn}"/>')
    said = f"{y_label} over {x_label}: " + ", ".join(line.name for line in lines)
    return _svg(title, said, height, parts) + legend([(line.name, line.look) for line in lines], lines=True)


def points_chart(title: str, names: Sequence[str], series: Sequence[Line], x_label: str, y_label: str) -> str:
    """Series over named positions (x is 0, 1, …), joined by lines, with a marker each and a legend."""
    height, left, foot = 250, 46, 42
    x = Axis(-0.35, len(names) - 0.65, left, WIDTH - 10)
    y = spanning([0.0, *(point[1] for line in series for point in line.points)], height - foot, 12)
    parts = [_frame(x, y, x_label, y_label, names=names)]
    for line in series:
        places = [(x.at(a), y.at(b)) for a, b in line.points if math.isfinite(b)]
        drawn = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
        parts.append(f'<polyline class="line {line.look}" points="{drawn}"/>')
        parts += [_marker(line.look, a, b) for a, b in places]
    said = f"{y_label} by {x_label}: " + ", ".join(line.name for line in series)
    return _svg(title, said, height, parts) + legend([(line.name, line.look) for line in series])


def histogram_chart(
    title: str, histogram: Histogram, look: str, x_label: str, mark: Mark | None = None
) -> str:
    """Bars of counts, with a limit drawn where there is one."""
    height, left, foot = 190, 46, 42
    edges, counts = histogram.edges, histogram.counts
    x = Axis(edges[0], edges[-1], left, WIDTH - 10)
    y = Axis(0.0, max(*counts, 1) * 1.06, height - foot, 22)
    parts = [_frame(x, y, x_label, "regions")]
    for low, high, count in zip(edges, edges[1:], counts, strict=False):
        a, b, roof = x.at(low), x.at(high), y.at(count)
        parts.append(
            f'<rect class="bar {look}" x="{a + 0.5:.1f}" y="{roof:.1f}" width="{max(b - a - 1, 0.5):.1f}" '
            f'height="{y.start - roof:.1f}"/>'
        )
    parts += [_mark(mark, x, 22, height - foot)] if mark and edges[0] <= mark.at <= edges[-1] else []
    return _svg(title, f"histogram of {sum(counts)} regions over {x_label}", height, parts)


def legend(entries: Sequence[tuple[str, str]], *, lines: bool = False) -> str:
    """Names with the marker, or the stroke, of their series; wraps where the page is narrow."""
    items = "".join(
        f'<li><svg viewBox="0 0 24 12" width="24" height="12" aria-hidden="true">'
        f'<path class="line {look}" d="M1 '
        f'6H23"/>{"" if lines else _marker(look, 12, 6)}</svg>{escape(name)}</li>'
        for name, look in entries
    )
    return f'<ul class="legend">{items}</ul>'


def swatch(look: str) -> str:
    """The marker of a series, to stand beside its name."""
    return (
        '<svg class="swatch" viewBox="0 0 12 12" width="12" height="12" '
        f'aria-hidden="true">{_marker(look, 6, 6)}</svg>'
    )


def _svg(title: str, said: str, height: float, parts: Sequence[str]) -> str:
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {height:.0f}" role="img" '
        f'aria-label="{escape(title)}. {escape(said)}">{"".join(parts)}</svg>'
    )


def _vertical_grid(axis: Axis, top: float, bottom: float, unit: str) -> str:
    parts = []
    for tick in axis.ticks(4):
        place = axis.at(tick)
        parts.append(f'<path class="grid" d="M{place:.1f} {top:.0f}V{bottom:.0f}"/>')
        parts.append(_text(place, bottom + 16, axis.label(tick, 4, unit), "tick", "middle"))
    return "".join(parts)


def _frame(x: Axis, y: Axis, x_label: str, y_label: str, names: Sequence[str] = ()) -> str:
    """Grid, ticks and the names of both axes."""
    floor = y.start
    parts = []
    for tick in y.ticks():
        parts.append(f'<path class="grid" d="M{x.start:.0f} {y.at(tick):.1f}H{x.end:.0f}"/>')
        parts.append(_text(x.start - 6, y.at(tick) + 4, y.label(tick), "tick", "end"))
    named: list[tuple[float, str]] = list(enumerate(names)) or [
        (tick, x.label(tick, 6)) for tick in x.ticks(6)
    ]
    parts += [_text(x.at(place), floor + 16, name, "tick", "middle") for place, name in named]
    parts.append(f'<path class="floor" d="M{x.start:.0f} {floor:.1f}H{x.end:.0f}"/>')
    parts.append(_text((x.start + x.end) / 2, floor + 34, x_label, "axis", "middle"))
    middle = (y.start + y.end) / 2
    parts.append(
        f'<text class="axis" transform="translate(11 {middle:.0f}) rotate(-90)" text-anchor="middle">'
        f"{escape(y_label)}</text>"
    )
    return "".join(parts)


def _mark(mark: Mark, axis: Axis, top: float, bottom: float) -> str:
    place = axis.at(mark.at)
    share = (place - axis.start) / (axis.end - axis.start)
    anchor = "start" if share < 0.15 else "end" if share > 0.85 else "middle"
    return f'<path class="mark {mark.look}" d="M{place:.1f} {top - 4:.0f}V{bottom:.0f}"/>' + _text(
        place, top - 9, mark.name, "tick", anchor
    )


def _row(row: Row, axis: Axis, middle: float, bars_from: float | None) -> str:
    mean = axis.at(row.mean)
    parts = [_text(0, middle + 4, shorten(row.name, 15), "name", "start", title=row.name)]
    if bars_from is not None:
        a, b = sorted((axis.at(bars_from), mean))
        parts.append(
            f'<rect class="bar {row.look}" x="{a:.1f}" y="{middle - 5:.1f}" width="{b - a:.1f}" height="10"/>'
        )
    parts += [
        f'<circle class="seed {row.look}" cx="{axis.at(v):.1f}" cy="{middle:.1f}" r="2.5"/>'
        for v in row.values
    ]
    if row.high > row.low:
        a, b = axis.at(row.low), axis.at(row.high)
        parts.append(f'<path class="whisker {row.look}" d="M{a:.1f} {middle:.1f}H{b:.1f}"/>')
    parts.append(_marker(row.look, mean, middle))
    parts.append(_text(WIDTH, middle + 4, row.text, "value", "end"))
    return "".join(parts)


def _marker(look: str, x: float, y: float) -> str:
    """Filled, about 9 units wide; its shape belongs to the look as its colour does."""
    known = look.removeprefix("c")
    shape = MARKERS[int(known) % len(MARKERS)] if known.isdigit() else {"real": "bar"}.get(look, "ring")
    x, y = round(x, 1), round(y, 1)
    if shape in ("circle", "ring"):
        return f'<circle class="{shape} {look}" cx="{x}" cy="{y}" r="4.5"/>'
    path = {
        "square": f"M{x - 4:.1f} {y - 4:.1f}h8v8h-8z",
        "triangle": f"M{x} {y - 5:.1f}l5 9h-10z",
        "diamond": f"M{x} {y - 5.5:.1f}l5.5 5.5l-5.5 5.5l-5.5 -5.5z",
        "cross": f"M{x - 4.5:.1f} {y - 1.5:.1f}h3v-3h3v3h3v3h-3v3h-3v-3h-3z",
        "bar": f"M{x - 2:.1f} {y - 6:.1f}h4v12h-4z",
    }[shape]
    return f'<path class="marker {look}" d="{path}"/>'


def _text(x: float, y: float, words: str, look: str, anchor: str, *, title: str = "") -> str:
    hint = f"<title>{escape(title)}</title>" if title and title != words else ""
    return f'<text class="{look}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{hint}{escape(words)}</text>'
