"""One page with the charts of a benchmark."""

from __future__ import annotations

import math
from pathlib import Path

from growth import Growth

from trainer.evaluation.html import charts
from trainer.evaluation.html.text import escape

_STYLE = Path(charts.__file__).with_name("style.css")
Points = dict[str, dict[str, list[tuple[int, float]]]]


def write_page(path: Path, machine: str, points: Points, growth: Growth) -> None:
    """A chart for every measure; all axes to the right count doublings."""
    parts = [
        charts.line_chart(title, _lines(servers), "log2 of the clients", title)
        for title, servers in points.items()
        if servers
    ]
    for title, found in growth.items():
        line = charts.Line("simtrue", "c0", tuple((math.log2(at), value) for at, value in found))
        parts.append(charts.line_chart(title, [line], "log2", title))
    figures = "".join(f"<figure>{part}</figure>" for part in parts)
    style = _STYLE.read_text(encoding="utf-8")
    path.write_text(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Benchmark</title><style>{style}</style>'
        f"<main><h1>Benchmark</h1><p>{escape(machine)}</p>{figures}</main></html>",
        encoding="utf-8",
    )


def _lines(servers: dict[str, list[tuple[int, float]]]) -> list[charts.Line]:
    return [
        charts.Line(name, f"c{index}", tuple((math.log2(clients), value) for clients, value in found))
        for index, (name, found) in enumerate(servers.items())
    ]
