"""Owns the table of all refiners side by side, between synthetic and real."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from trainer.evaluation.html.charts import swatch
from trainer.evaluation.html.overview import headline, look, own_score
from trainer.evaluation.html.text import (
    NOTHING,
    escape,
    gap,
    metric_unit,
    number,
    spread,
)
from trainer.evaluation.results import ENDS, Arm, Augmentation, Preservation, Realism, Report


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    synthetic: str
    refined: Sequence[str]
    real: str
    begins: bool = False
    """A new group begins."""


def table(report: Report) -> str:
    """All numbers that can be compared."""
    names = "".join(
        f"<th scope='col'><span>{swatch(look(index))}{escape(candidate.name)}</span></th>"
        for index, candidate in enumerate(report.candidates)
    )
    rows = [*_realism(report), *_preservation(report), *_usefulness(report)]
    body = "".join(map(_html, rows))
    return (
        "<section><h2>Side by side</h2><p class='how'>Realism is measured against real images; its column "
        "“real” is the floor, real images against other real ones. Scores are of networks tested on real "
        "labels.</p><div class='wide' tabindex='0' role='group' "
        f"aria-label='Table'><table><thead><tr><th></th><th scope='col'>synthetic</th>{names}<th "
        f"scope='col'>real</th></tr></thead><tbody>{body}</tbody></table></div></section>"
    )


def _realism(report: Report) -> list[Row]:
    def row(name: str, say: Callable[[Realism], str], *, begins: bool = False) -> Row:
        frame = report.realities
        refined = [say(candidate.realism) for candidate in report.candidates]
        return Row(name, say(frame.start), refined, say(frame.floor), begins)

    return [
        row("judge", lambda r: number(r.judge.mean, "%"), begins=True),
        row("judge of layout", lambda r: number(r.layout.mean, "%") if r.layout else NOTHING),
        row("KID", lambda r: number(r.kernel_distance.mean)),
        row("sliced Wasserstein, levels", lambda r: number(r.sliced_wasserstein.mean)),
        row("spectrum, decades off", lambda r: number(r.spectrum_distance)),
    ]


def _preservation(report: Report) -> list[Row]:
    def row(name: str, say: Callable[[Preservation], str], *, begins: bool = False) -> Row:
        return Row(name, "", [say(candidate.preservation) for candidate in report.candidates], "", begins)

    rows = [
        row("moved, median / 95 %", lambda p: _two(p.shift_px, "median", "p95", "px"), begins=True),
        row("structure left, median / 5 %", lambda p: _two(p.structure_kept, "median", "p05", "%")),
        row("regions lost", lambda p: number(p.lost_fraction, "%")),
        row("mean change, levels", lambda p: number(p.mean_absolute_change_levels)),
    ]
    if any(candidate.preservation.colours_lost_fraction is not None for candidate in report.candidates):
        rows.insert(3, row("colours lost", lambda p: number(p.colours_lost_fraction, "%")))
    first = report.candidates[0].preservation.estimator
    if first is not None:
        rows.append(row(first.measure, lambda p: headline(p.estimator) if p.estimator else NOTHING))
    if first is not None and first.metric:
        own = row(
            f"estimator's {first.metric}",
            lambda p: own_score(p.estimator, refined=True) if p.estimator else NOTHING,
        )
        rows.append(replace(own, synthetic=own_score(first)))
    return rows


def _usefulness(report: Report) -> list[Row]:
    found = [candidate.usefulness for candidate in report.candidates]
    if (first := found[0]) is None:
        return []
    unit = metric_unit(first.metric)

    def row(name: str, arm: Arm, augmentation: Augmentation, *, begins: bool = False) -> Row:
        refined = [spread(useful.primary(arm, augmentation) if useful else None, unit) for useful in found]
        ends = [spread(first.primary(end, augmentation), unit) for end in ENDS]
        return Row(name, ends[0], refined, ends[1], begins)

    rows = [
        row(first.metric, "refined", "none", begins=True),
        row(f"{first.metric}, with synthetic too", "both", "none"),
        row(f"{first.metric}, moved", "refined", "moves"),
        row(f"{first.metric}, augmented", "refined", "strong"),
        row(f"{first.metric}, augmented, with synthetic too", "both", "strong"),
        Row(
            "gap closed",
            "0",
            [gap(useful.gap_closed if useful else None) for useful in found],
            "1",
            begins=True,
        ),
        Row(
            "gap closed, all moved",
            "0",
            [gap(useful.gap_closed_moved if useful else None) for useful in found],
            "1",
        ),
        Row(
            "gap closed, all augmented",
            "0",
            [gap(useful.gap_closed_augmented if useful else None) for useful in found],
            "1",
        ),
    ]
    return [row for row in rows if any(cell != NOTHING for cell in row.refined)]


def _two(quantiles: Mapping[str, float], one: str, other: str, unit: str) -> str:
    return f"{number(quantiles.get(one), unit)} / {number(quantiles.get(other), unit)}"


def _html(row: Row) -> str:
    cells = (
        f"<td class='frame'>{escape(row.synthetic)}</td>",
        *(f"<td>{escape(c)}</td>" for c in row.refined),
    )
    real = f"<td class='frame'>{escape(row.real)}</td>"
    begins = " class='begins'" if row.begins else ""
    return f"<tr{begins}><th scope='row'>{escape(row.name)}</th>{''.join(cells)}{real}</tr>"
