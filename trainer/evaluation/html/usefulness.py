"""Owns the section on usefulness: every arm with its seeds, with and without augmentation."""

from collections.abc import Sequence

from trainer.evaluation.html.charts import Mark, Row, dot_chart
from trainer.evaluation.html.overview import look
from trainer.evaluation.html.realism import chart
from trainer.evaluation.html.text import counted, escape, gap, metric_unit, spread
from trainer.evaluation.results import AUGMENTATIONS, Augmentation, Report, Score, Usefulness

LABELS = {"synthetic": "synthetic", "refined": "refined", "both": "both", "real": "real labels"}
TITLES: dict[Augmentation, str] = {
    "none": "Without augmentation",
    "moves": "With small moves",
    "strong": "With strong augmentation",
}
SUFFIXES: dict[Augmentation, str] = {"none": "", "moves": " + moves", "strong": " + augmentation"}


def usefulness(report: Report) -> str:
    """The whole section; without a task a line that says how to get it."""
    first = report.candidates[0].usefulness
    if first is None:
        return (
            "<section><h2>Is it useful?</h2><p class='how'>Not measured: with a task file "
            "(<code>--task</code>) networks are trained on the synthetic and on the refined images and "
            "tested on real ones.</p></section>"
        )
    plots = "".join(_plot(report, first, augmentation) for augmentation in TITLES)
    return (
        "<section><h2>Is it useful?</h2><p class='how'>A network is trained on each kind of images and "
        f"tested on {counted(first.test_images)} real ones with labels: {escape(first.metric)}, higher is "
        "better. Every dot is a seed, the bar is mean ± standard deviation, the line is the bound that real "
        "training labels give. Small moves (shifts, scales, turns, with the labels) take away what the sets "
        "differ by in place and pose, which a refiner that keeps labels cannot change: what is left is the "
        "gap in looks. A refiner that does not beat strong augmentation is not worth its cost.</p><div "
        f"class='charts'>{plots}</div>{_table(report)}</section>"
    )


def _arms(report: Report) -> list[tuple[str, str, Score]]:
    """Name, look and score of every arm, the shared ones once."""
    several = len(report.candidates) > 1
    found: list[tuple[str, str, Score]] = []
    for index, candidate in enumerate(report.candidates):
        scores = candidate.usefulness.scores if candidate.usefulness else ()
        for score in scores:
            own = score.arm in ("refined", "both")
            if not own and index:
                continue
            name = f"{LABELS[score.arm]}, {candidate.name}" if own and several else LABELS[score.arm]
            found.append((name, look(index) if own else score.arm, score))
    order = tuple(LABELS)
    return sorted(found, key=lambda arm: order.index(arm[2].arm))


def _plot(report: Report, first: Usefulness, augmentation: Augmentation) -> str:
    everything = _arms(report)
    arms = [arm for arm in everything if arm[2].augmentation == augmentation]
    if not arms:
        return ""
    unit = metric_unit(first.metric)
    rows = [_row(name, colour, score, unit) for name, colour, score in arms]
    marks = [Mark("real labels", score.primary.mean, "real") for _, _, score in arms if score.arm == "real"]
    title = TITLES[augmentation]
    reach = [value for _, _, score in everything for value in score.primary.values]
    drawing = dot_chart(f"{title}: {first.metric}", rows, marks, unit=unit, reach=reach)
    return chart(title, first.metric, drawing)


def _row(name: str, colour: str, score: Score, unit: str) -> Row:
    mean, deviation = score.primary.mean, score.primary.deviation
    values = score.primary.values
    return Row(name, colour, mean, mean - deviation, mean + deviation, values, spread(score.primary, unit))


def _table(report: Report) -> str:
    arms = _arms(report)
    first = report.candidates[0].usefulness
    assert first is not None
    others = sorted({name for _, _, score in arms for name in score.others})
    head = "".join(f"<th scope='col'>{escape(name)}</th>" for name in (first.metric, *others))
    body = "".join(_table_row(arm, first.metric, others) for arm in arms)
    gaps = "".join(_gap(candidate.name, candidate.usefulness) for candidate in report.candidates)
    return (
        f"{gaps}<div class='wide'><table><thead><tr><th scope='col'>trained on</th>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


def _table_row(arm: tuple[str, str, Score], metric: str, others: Sequence[str]) -> str:
    name, _, score = arm
    suffix = SUFFIXES[score.augmentation]
    cells = [spread(score.primary, metric_unit(metric))]
    cells += [spread(score.others.get(other), metric_unit(other)) for other in others]
    shown = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
    return f"<tr><th scope='row'>{escape(name + suffix)}</th>{shown}</tr>"


def _gap(name: str, useful: Usefulness | None) -> str:
    if useful is None or useful.gap_closed is None:
        return ""
    others = [(AUGMENTATIONS[one], closed) for one, closed in useful.gaps.items() if one != "none"]
    tail = "".join(f"; with all three {name} {gap(closed)}" for name, closed in others if closed is not None)
    return (
        f"<p>{escape(name)} closes <b>{gap(useful.gap_closed)}</b> of the gap, "
        f"(refined − synthetic) / (real − synthetic){tail}.</p>"
    )
