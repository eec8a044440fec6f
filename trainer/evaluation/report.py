"""Owns how an evaluation is told to machines and terminals: JSON, the numbers for a model card, a table."""

import dataclasses
import math
from collections.abc import Mapping

from rich.console import Console
from rich.table import Table
from rich.text import Text

from trainer.evaluation.html.overview import headline, own_score
from trainer.evaluation.html.text import NOTHING, gap, metric_unit, number, spread
from trainer.evaluation.results import AUGMENTATIONS, ENDS, CandidateResult, Realism, Realities, Report


def print_report(report: Report, console: Console) -> None:
    """A column for each refiner between synthetic and real, then the alarms."""
    table = Table(title_justify="left", title=Text(f"{report.synthetic} → {report.real}"))
    names = [candidate.name for candidate in report.candidates]
    table.add_column("", no_wrap=True)
    for name in ("synthetic", *names, "real"):
        table.add_column(Text(name), justify="right", overflow="fold")
    for row in _rows(report):
        table.add_row(*map(Text, row))
    console.print(table)
    for candidate in report.candidates:
        for sentence in candidate.alarms:
            who = f"{candidate.name}: " if len(names) > 1 else ""
            console.print(Text(f"warning: {who}{sentence}", style="yellow"), soft_wrap=True)


def to_json(report: Report) -> dict[str, object]:
    """The report as JSON values with `metrics` for each refiner; a number that is not finite becomes null.

    The report of a single refiner has its `metrics` at the top, too: what publishing puts into the card.
    """
    tree = _plain(dataclasses.asdict(report))
    assert isinstance(tree, dict)
    for candidate, result in zip(tree["candidates"], report.candidates, strict=True):
        candidate["metrics"] = metrics(report.realities, result)
    if len(report.candidates) > 1:
        return tree
    return {"metrics": metrics(report.realities, report.candidates[0]), **tree}


def of_one(report: Report, index: int) -> Report:
    """The same report about one of its refiners only."""
    return dataclasses.replace(report, candidates=(report.candidates[index],))


def metrics(realities: Realities, result: CandidateResult) -> dict[str, float]:
    """The numbers that go into a model card: finite, rounded, by name."""
    found: dict[str, float] = {}
    frame = {"floor": realities.floor, "start": realities.start, "refined": result.realism}
    for name, realism in frame.items():
        found |= _realism(name, realism)
    kept = result.preservation
    found |= {f"shift_px_{name}": value for name, value in kept.shift_px.items()}
    found |= {f"structure_kept_{name}": value for name, value in kept.structure_kept.items()}
    found["lost_fraction"] = kept.lost_fraction
    if kept.colours_lost_fraction is not None:
        found["colours_lost_fraction"] = kept.colours_lost_fraction
    found["mean_absolute_change_levels"] = kept.mean_absolute_change_levels
    found["gradient_correlation"] = kept.gradient_correlation
    if kept.estimator is not None:
        name = _word(f"{kept.estimator.measure} {kept.estimator.unit}")
        found[f"estimator_{name}_mean"] = kept.estimator.mean
        found[f"estimator_{name}_median"] = kept.estimator.median
        if (both := kept.estimator.of_both) is not None:
            found[f"estimator_of_both_{name}_mean"] = both.mean
            found[f"estimator_of_both_{name}_median"] = both.median
        if (harmless := kept.estimator.of_harmless) is not None:
            found[f"estimator_of_harmless_{name}_mean"] = harmless.mean
            found[f"estimator_of_harmless_{name}_median"] = harmless.median
    found |= _usefulness(result)
    return {name: round(value, 6) for name, value in found.items() if math.isfinite(value)}


def _realism(name: str, realism: Realism) -> dict[str, float]:
    return {
        f"judge_{name}_accuracy": realism.judge.mean,
        f"judge_{name}_half_width_95": (realism.judge.high - realism.judge.low) / 2,
        **({} if realism.layout is None else {f"judge_of_layout_{name}_accuracy": realism.layout.mean}),
        f"kernel_distance_{name}": realism.kernel_distance.mean,
        f"sliced_wasserstein_{name}": realism.sliced_wasserstein.mean,
        f"spectrum_distance_{name}": realism.spectrum_distance,
    }


def _usefulness(result: CandidateResult) -> dict[str, float]:
    useful = result.usefulness
    if useful is None:
        return {}
    found = {}
    for score in useful.scores:
        name = f"{useful.metric} {score.arm} {AUGMENTATIONS[score.augmentation]}"
        found[_word(name)] = score.primary.mean
    for augmentation, closed in useful.gaps.items():
        if closed is not None:
            name = _word(f"gap closed {AUGMENTATIONS[augmentation]}")
            found[name], found[f"{name}_deviation"] = closed.mean, closed.deviation
    return found


def _word(name: str) -> str:
    return "_".join("".join(c if c.isalnum() else " " for c in name.lower()).split())


def _plain(value: object) -> object:
    """JSON knows neither tuples nor numbers that are not finite."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _rows(report: Report) -> list[tuple[str, ...]]:
    found, frame = report.candidates, report.realities
    columns = (frame.start, *(candidate.realism for candidate in found), frame.floor)
    rows = [
        ("judge", *(number(realism.judge.mean, "%") for realism in columns)),
        ("judge of layout", *(_layout(realism) for realism in columns)),
        ("KID", *(number(realism.kernel_distance.mean) for realism in columns)),
        ("sliced Wasserstein", *(number(realism.sliced_wasserstein.mean) for realism in columns)),
        ("spectrum, decades", *(number(realism.spectrum_distance) for realism in columns)),
        ("moved, median", "", *(number(c.preservation.shift_px.get("median"), "px") for c in found), ""),
        ("structure left, median", "", *(_left(candidate) for candidate in found), ""),
        ("regions lost", "", *(number(c.preservation.lost_fraction, "%") for c in found), ""),
    ]
    if any(c.preservation.colours_lost_fraction is not None for c in found):
        lost = (number(c.preservation.colours_lost_fraction, "%") for c in found)
        rows.append(("colours lost", "", *lost, ""))
    changes = [candidate.preservation.estimator for candidate in found]
    if (first := changes[0]) is not None:
        rows.append((first.measure, "", *(headline(change) if change else NOTHING for change in changes), ""))
        if first.metric:
            after = (own_score(change, refined=True) if change else NOTHING for change in changes)
            rows.append((f"estimator's {first.metric}", own_score(first), *after, ""))
    return [*rows, *_useful_rows(report)]


def _layout(realism: Realism) -> str:
    return NOTHING if realism.layout is None else number(realism.layout.mean, "%")


def _left(candidate: CandidateResult) -> str:
    return number(candidate.preservation.structure_kept.get("median"), "%")


def _useful_rows(report: Report) -> list[tuple[str, ...]]:
    found = [candidate.usefulness for candidate in report.candidates]
    if (first := found[0]) is None:
        return []

    rows, unit = [], metric_unit(first.metric)
    for augmentation, said in AUGMENTATIONS.items():
        refined = [spread(one.primary("refined", augmentation) if one else None, unit) for one in found]
        ends = [spread(first.primary(arm, augmentation), unit) for arm in ENDS]
        rows.append((_named(first.metric, said), ends[0], *refined, ends[1]))
    for augmentation, said in AUGMENTATIONS.items():
        gaps = [gap(one.gaps[augmentation] if one else None) for one in found]
        rows.append((_named("gap closed", said), "0", *gaps, "1"))
    return [row for row in rows if any(cell != NOTHING for cell in row[2:-1])]


def _named(what: str, said: str) -> str:
    return f"{what}, {said}" if said else what
