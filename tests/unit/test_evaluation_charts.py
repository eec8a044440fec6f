"""The charts of the report: axes, numbers in words, escaped names, places of what is drawn."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from trainer.evaluation.html.axes import Axis, spanning
from trainer.evaluation.html.charts import (
    Line,
    Mark,
    Row,
    dot_chart,
    histogram_chart,
    line_chart,
    points_chart,
)
from trainer.evaluation.html.text import escape, gap, interval, metric_unit, number, shorten, spread
from trainer.evaluation.results import Estimate, Histogram

HOSTILE = "<b>\"x\" & 'y'</b>"


def parse(drawing: str) -> ET.Element:
    """Charts are well-formed XML: an unescaped name would not parse."""
    return ET.fromstring(f"<div>{drawing}</div>")


def texts(drawing: str) -> list[str]:
    return ["".join(node.itertext()) for node in parse(drawing).iter() if node.tag in ("text", "li")]


@pytest.mark.parametrize(
    ("low", "high", "ticks", "labels"),
    [
        (0.0, 1.0, [0.0, 0.25, 0.5, 0.75, 1.0], ["0.00", "0.25", "0.50", "0.75", "1.00"]),
        (12.0, 980.0, [200.0, 400.0, 600.0, 800.0], ["200", "400", "600", "800"]),
        (-3.0, 2.0, [-2.0, 0.0, 2.0], ["-2", "0", "2"]),
    ],
)
def test_ticks_are_round_and_lie_on_the_axis(
    low: float, high: float, ticks: list[float], labels: list[str]
) -> None:
    axis = Axis(low, high, 0, 100)
    assert axis.ticks() == ticks
    assert [axis.label(tick) for tick in ticks] == labels


@pytest.mark.parametrize("high", [1e-9, 0.003, 0.7, 1.0, 3.3, 47.0, 1e4, 2.5e7])
def test_an_axis_has_at_least_one_tick_and_never_too_many(high: float) -> None:
    for most in (3, 4, 5, 6):
        assert 1 <= len(Axis(0.0, high, 0, 1).ticks(most)) <= most


def test_an_axis_upwards_has_its_low_end_below_and_clips_what_lies_outside() -> None:
    axis = Axis(0.0, 10.0, 200, 20)
    assert [axis.at(value) for value in (0, 5, 10, 99, -1)] == [200, 110, 20, 20, 200]


def test_an_axis_over_equal_or_infinite_values_still_has_a_length() -> None:
    assert spanning([2.0, 2.0], 0, 1).low < 2.0 < spanning([2.0, 2.0], 0, 1).high
    assert spanning([float("nan"), float("inf")], 0, 1).at(0.0) == pytest.approx(0.5)


def test_numbers_have_the_digits_that_mean_something() -> None:
    assert [number(value) for value in (0.7451, 3.14159, 47.25, 1234.5, 0.0, -0.0001)] == [
        "0.745", "3.14", "47.2", "1234", "0.000", "0.000",
    ]  # fmt: skip
    assert number(0.9934, "%") == "99.3\u202f%"
    assert number(-1.5, "px") == "−1.50\u202fpx"
    assert number(float("nan")) == number(None) == "–"


def test_a_spread_is_the_deviation_of_its_values_with_the_digits_of_the_mean() -> None:
    estimate = Estimate(0.81, 0.7, 0.9, (0.80, 0.82))
    assert spread(estimate) == "0.810\u202f±\u202f0.014"
    assert spread(estimate, "%") == "81.0\u202f±\u202f1.4\u202f%"
    assert gap(estimate) == "0.81\u202f±\u202f0.01"
    assert spread(Estimate(0.8, 0.8, 0.8, (0.8,))) == "0.800"
    assert spread(None) == "–"
    assert interval(estimate, "%") == "95\u202f% interval 70.0 to 90.0\u202f%"


def test_accuracies_are_percent_and_other_scores_are_not() -> None:
    assert [metric_unit(name) for name in ("accuracy", "same class", "mask IoU")] == ["%", "%", ""]


def test_a_long_name_keeps_both_its_ends() -> None:
    assert shorten("runs/00001-default-squares", 11) == "runs/…uares"
    assert shorten("short", 11) == "short"


def test_markup_in_a_name_is_text() -> None:
    assert escape(HOSTILE) == "&lt;b&gt;&quot;x&quot; &amp; &#x27;y&#x27;&lt;/b&gt;"
    row = Row(HOSTILE, "c0", 0.5, 0.4, 0.6, (), HOSTILE)
    assert HOSTILE in texts(dot_chart(HOSTILE, [row], [Mark(HOSTILE, 0.5, "real")]))
    line = Line(HOSTILE, "c0", ((0.0, 1.0), (1.0, 2.0)))
    assert HOSTILE in texts(line_chart(HOSTILE, [line], HOSTILE, HOSTILE))
    assert HOSTILE in texts(points_chart(HOSTILE, [HOSTILE, "b"], [line], HOSTILE, HOSTILE))


def test_a_dot_chart_draws_bars_from_the_floor_and_every_seed() -> None:
    rows = [
        Row("near", "c0", 0.6, 0.55, 0.65, (0.58, 0.62), "60 %"),
        Row("far", "c1", 0.9, 0.9, 0.9, (), "90 %"),
    ]
    drawing = parse(dot_chart("Judge", rows, [Mark("floor", 0.5, "real")], bars_from=0.5))
    bars = list(drawing.iter("rect"))
    assert float(bars[1].attrib["width"]) == pytest.approx(4 * float(bars[0].attrib["width"]), rel=0.02)
    assert len([node for node in drawing.iter("circle") if "seed" in node.attrib["class"]]) == 2
    assert len([node for node in drawing.iter("path") if "whisker" in node.attrib["class"]]) == 1


def test_a_chart_says_its_title_and_numbers_to_a_screen_reader() -> None:
    (svg,) = parse(dot_chart("Judge", [Row("a", "c0", 0.6, 0.6, 0.6, (), "60 %")])).iter("svg")
    assert svg.attrib["role"] == "img"
    assert svg.attrib["aria-label"] == "Judge. a: 60 %"


def test_bars_of_a_histogram_are_as_high_as_their_counts() -> None:
    drawing = parse(histogram_chart("Moved", Histogram((0.0, 1.0, 2.0, 3.0), (10, 5, 0)), "c0", "px"))
    heights = [float(node.attrib["height"]) for node in drawing.iter("rect")]
    assert heights[0] == pytest.approx(2 * heights[1], abs=0.2)
    assert heights[2] == 0.0


def test_a_limit_outside_a_histogram_is_not_drawn() -> None:
    histogram = Histogram((0.0, 0.5, 1.0), (3, 4))
    assert "limit" in histogram_chart("Moved", histogram, "c0", "px", Mark("limit", 0.7, "limit"))
    assert "limit" not in histogram_chart("Moved", histogram, "c0", "px", Mark("limit", 1.5, "limit"))


def test_an_empty_histogram_and_values_that_are_no_numbers_can_be_drawn() -> None:
    parse(histogram_chart("Moved", Histogram((0.0, 1.0), (0,)), "c0", "px"))
    drawing = line_chart("S", [Line("a", "c0", ((0.0, float("-inf")), (0.5, 1.0), (1.0, 2.0)))], "x", "y")
    assert "inf" not in drawing
    assert "nan" not in drawing
