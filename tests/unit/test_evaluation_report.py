"""The numbers of a report as JSON, for a model card, and as a table at the terminal."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable

import pytest
from rich.console import Console

from trainer.evaluation.report import metrics, of_one, print_report, to_json
from trainer.evaluation.results import EstimatorChange, Report

MakeReport = Callable[..., Report]


def test_json_gives_every_number_of_the_report_back(make_report: MakeReport) -> None:
    report = make_report({"name": "one"}, {"name": "other", "alarms": ("a",)})
    told = json.loads(json.dumps(to_json(report), allow_nan=False))
    for candidate, result in zip(told["candidates"], report.candidates, strict=True):
        assert candidate.pop("metrics") == metrics(report.realities, result)
    assert told == json.loads(json.dumps(dataclasses.asdict(report)))


def test_the_report_of_one_refiner_has_its_metrics_on_top(make_report: MakeReport) -> None:
    report = make_report({"name": "one"}, {"name": "other", "usefulness": None})
    assert "metrics" not in to_json(report)
    alone = to_json(of_one(report, 1))
    assert alone["metrics"] == metrics(report.realities, report.candidates[1])
    assert [candidate.name for candidate in of_one(report, 1).candidates] == ["other"]


def test_what_is_no_number_becomes_null_and_stays_out_of_the_card(make_report: MakeReport) -> None:
    kept = dataclasses.replace(make_report().candidates[0].preservation, gradient_correlation=math.nan)
    report = make_report({"preservation": kept})
    told = json.loads(json.dumps(to_json(report), allow_nan=False))
    assert told["candidates"][0]["preservation"]["gradient_correlation"] is None
    assert "gradient_correlation" not in told["metrics"]
    assert told["metrics"]["lost_fraction"] == 0.004


def test_a_card_gets_the_headlines_with_their_units_in_their_names(make_report: MakeReport) -> None:
    yaw = EstimatorChange("change of yaw", "deg", 0.8, 0.9, 2.0, {})
    kept = dataclasses.replace(make_report().candidates[0].preservation, estimator=yaw)
    report = make_report({"preservation": kept})
    found = metrics(report.realities, report.candidates[0])
    wanted = {
        "judge_refined_accuracy": 0.66,
        "judge_floor_accuracy": 0.5,
        "shift_px_median": 0.04,
        "structure_kept_p05": 0.86,
        "estimator_change_of_yaw_deg_median": 0.8,
        "accuracy_refined_augmented": 0.94,
        "gap_closed": 0.81,
        "gap_closed_moved": 0.87,
        "accuracy_refined_moved": 0.945,
        "gap_closed_deviation": 0.01,
    }
    assert {name: found[name] for name in wanted} == pytest.approx(wanted, abs=1e-6)


def test_beside_what_an_estimator_says_the_terminal_shows_its_own_score(make_report: MakeReport) -> None:
    change = EstimatorChange("same class", "", 1.0, 0.985, 0.0, {}, 0.97, 0.955, metric="accuracy")
    kept = dataclasses.replace(make_report().candidates[0].preservation, estimator=change)
    console = Console(width=120)
    with console.capture() as captured:
        print_report(make_report({"preservation": kept}), console)
    (row,) = (line for line in captured.get().splitlines() if "estimator's accuracy" in line)
    assert row.index("97.0") < row.index("95.5")


def test_the_terminal_shows_every_refiner_and_its_alarms(make_report: MakeReport) -> None:
    report = make_report({"name": "one"}, {"name": "[bold]other", "alarms": ("content is being erased",)})
    console = Console(width=120)
    with console.capture() as captured:
        print_report(report, console)
    shown = captured.get()
    assert "[bold]other" in shown.splitlines()[2]
    assert "warning: [bold]other: content is being erased" in shown
    for name in ("gap closed ", "gap closed, moved", "gap closed, augmented"):
        assert name in shown
    (judge,) = (line for line in shown.splitlines() if " judge  " in line)
    assert judge.count("66.0") == 2
