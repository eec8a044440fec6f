"""Each alarm of an evaluation, on constructed numbers: it speaks when it should and is silent otherwise."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from trainer.evaluation.alarms import alarms_of, run_alarms  # noqa: E402
from trainer.evaluation.results import (  # noqa: E402
    Arm,
    Augmentation,
    Estimate,
    EstimatorChange,
    Report,
    Score,
)

pytestmark = pytest.mark.train
MakeReport = Callable[..., Report]


@pytest.fixture
def alarms(make_report: MakeReport) -> Callable[..., tuple[str, ...]]:
    """alarms(realism={…}, preservation={…}, usefulness={…}, peak=255): of the plain report with changes."""

    def told(peak: int = 255, **changes: dict[str, Any]) -> tuple[str, ...]:
        report = make_report()
        (plain,) = report.candidates
        assert plain.usefulness is not None
        return alarms_of(
            report.realities,
            replace(plain.realism, **changes.get("realism", {})),
            replace(plain.preservation, **changes.get("preservation", {})),
            replace(plain.usefulness, **changes.get("usefulness", {})),
            peak,
        )

    return told


def estimate(*values: float) -> Estimate:
    mean = sum(values) / len(values)
    return Estimate(mean, min(values), max(values), values)


def scores(**arms: tuple[float, ...]) -> dict[str, Any]:
    """`synthetic`, `refined`, `real`, and the same with `_augmented`."""
    made = []
    for name, values in arms.items():
        arm: Arm = name.removesuffix("_augmented")  # type: ignore[assignment]
        augmentation: Augmentation = "strong" if name.endswith("_augmented") else "none"
        made.append(Score(arm, augmentation, estimate(*values), {}))
    return {"scores": tuple(made)}


def test_a_good_refiner_raises_no_alarm(alarms: Callable[..., tuple[str, ...]]) -> None:
    assert alarms() == ()


@pytest.mark.parametrize(
    ("part", "changes", "sentence"),
    [
        ("preservation", {"mean_absolute_change_levels": 0.1}, "the refiner does nothing"),
        (
            "preservation",
            {"structure_kept": {"median": 0.5, "p05": 0.1, "min": 0.0}},
            "content is being erased: under the boxes, 50%",
        ),
        ("preservation", {"lost_fraction": 0.2}, "content is being lost: 20.0% of the boxes"),
        (
            "preservation",
            {"shift_px": {"median": 0.8, "p95": 2.0, "max": 4.0}},
            "structure moves: by 0.80 px",
        ),
        (
            "preservation",
            {
                "estimator": EstimatorChange(
                    "same class", "", 1.0, 0.9, 0.0, {"8": 0.83, "3": 0.71, "1": 0.99}
                )
            },
            "the same for 3 (71%), 8 (83%)",
        ),
        (
            "preservation",
            {"estimator": EstimatorChange("mask IoU", "", 0.9, 0.81, 0.3, {})},
            "mask IoU before against after is 0.810",
        ),
        (
            "preservation",
            {"estimator": EstimatorChange("change of yaw", "deg", 3.5, 4.0, 9.0, {})},
            "change of yaw is 3.50 deg",
        ),
        (
            "preservation",
            {
                "estimator": EstimatorChange(
                    "mask IoU", "", 1.0, 1.0, 1.0, {}, 0.21, metric="mean IoU", skill_before=0.09
                )
            },
            "the estimator cannot read the synthetic images: mean IoU is 0.210 on those that it has not seen",
        ),
        (
            "preservation",
            {
                "estimator": EstimatorChange(
                    "box IoU",
                    "",
                    1.0,
                    1.0,
                    1.0,
                    {},
                    math.nan,
                    metric="average precision",
                    skill_before=math.nan,
                )
            },
            "average precision is not defined on those that it has not seen",
        ),
        ("realism", {"judge": estimate(0.985, 0.985)}, "the judge is saturated: it tells 98.5%"),
        (
            "realism",
            {"judge": estimate(0.78, 0.8), "layout": estimate(0.66, 0.9)},
            "what the images show differs: a judge that sees only",
        ),
        (
            "realism",
            {"judge": estimate(0.5, 0.66), "layout": estimate(0.55, 0.7)},
            "the judge is too weak here: it tells 58.0%, one that sees only what is lighter or darker where "
            "tells 62.5%",
        ),
        ("usefulness", {"gap_closed": estimate(-0.1, -0.06)}, "nothing is gained"),
        (
            "usefulness",
            scores(refined=(0.7,), refined_augmented=(0.72,), synthetic_augmented=(0.74,)),
            "refined is not better than augmentation of the synthetic images (accuracy 0.720 against 0.740)",
        ),
    ],
)
def test_what_went_wrong_is_told_and_nothing_else(
    part: str, changes: dict[str, Any], sentence: str, alarms: Callable[..., tuple[str, ...]]
) -> None:
    (told,) = alarms(**{part: changes})
    assert sentence in told


def test_an_estimator_that_reads_synthetic_images_is_trusted(alarms: Callable[..., tuple[str, ...]]) -> None:
    sound = EstimatorChange("mask IoU", "", 1.0, 1.0, 1.0, {}, 0.3, metric="mean IoU", skill_before=0.11)
    assert alarms(preservation={"estimator": sound}) == ()


def test_an_estimator_that_knows_the_style_may_acquit_the_content(
    alarms: Callable[..., tuple[str, ...]],
) -> None:
    blind = EstimatorChange("same class", "", 1.0, 0.8, 0.0, {"3": 0.7, "8": 0.9})
    for knowing, acquitted in (({"3": 0.99, "8": 0.99}, True), ({"3": 0.75, "8": 0.9}, False)):
        both = EstimatorChange("same class", "", 1.0, 0.9, 0.0, knowing)
        (told,) = alarms(preservation={"estimator": replace(blind, of_both=both)})
        assert ("may be the new style" in told) is acquitted


def test_a_number_without_a_unit_that_hardly_changes_is_no_drift(
    alarms: Callable[..., tuple[str, ...]],
) -> None:
    assert (
        alarms(preservation={"estimator": EstimatorChange("change of size", "", 0.01, 0.02, 0.1, {})}) == ()
    )
    overlap = EstimatorChange("mask IoU", "", 0.9, 0.8, 0.5, {})
    (told,) = alarms(preservation={"estimator": overlap})
    assert "mask IoU before against after is 0.800" in told


def test_the_change_of_deep_images_is_counted_in_255ths(alarms: Callable[..., tuple[str, ...]]) -> None:
    small = {"mean_absolute_change_levels": 40.0}
    assert alarms(preservation=small) == ()
    assert "does nothing" in alarms(peak=65535, preservation=small)[0]


def test_a_judge_that_does_not_fall_says_that_nothing_became_more_real(make_report: MakeReport) -> None:
    report = make_report()
    (plain,) = report.candidates
    start = replace(report.realities.start, judge=estimate(0.80, 0.80))
    frame = replace(report.realities, start=start)
    same = replace(plain.realism, judge=estimate(0.795, 0.795))
    (told,) = alarms_of(frame, same, plain.preservation, plain.usefulness)
    assert "look no more real" in told
    better = replace(plain.realism, judge=estimate(0.70, 0.70))
    assert alarms_of(frame, better, plain.preservation, plain.usefulness) == ()


def test_a_gain_over_augmentation_that_one_seed_lacks_is_called_uncertain(
    alarms: Callable[..., tuple[str, ...]],
) -> None:
    close = scores(refined_augmented=(0.76, 0.73), synthetic_augmented=(0.72, 0.74))
    (told,) = alarms(usefulness=close)
    assert "is not certain" in told


def test_without_an_upper_bound_no_gain_is_still_seen(alarms: Callable[..., tuple[str, ...]]) -> None:
    (told,) = alarms(usefulness={**scores(synthetic=(0.6,), refined=(0.55,)), "gap_closed": None})
    assert "accuracy on real images is 0.550 after training on refined images and 0.600" in told


def test_a_gap_that_is_not_there_is_not_blamed_on_the_refiner(alarms: Callable[..., tuple[str, ...]]) -> None:
    none = scores(synthetic=(0.9,), refined=(0.89,), real=(0.88,))
    (told,) = alarms(usefulness={**none, "gap_closed": None})
    assert "there is no gap to close" in told


def test_the_alarms_of_the_training_run_are_read_and_a_torn_last_line_is_not(tmp_path: Path) -> None:
    metrics = tmp_path / "metrics.jsonl"
    lines = [
        {"iteration": 1, "refiner_loss": 0.5},
        {"iteration": 9, "alarm": "lost_content", "sentence": "step 9: the refiner loses the content"},
    ]
    metrics.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"iteration": 10, "ala')
    assert run_alarms(metrics) == ("while training, step 9: the refiner loses the content",)
    assert run_alarms(tmp_path / "none.jsonl") == ()


def test_colours_that_are_lost_are_told(alarms: Callable[..., tuple[str, ...]]) -> None:
    quiet = (alarms(preservation={"colours_lost_fraction": lost}) for lost in (None, 0.0, 0.02))
    assert not any("colours" in sentence for told in quiet for sentence in told)
    (sentence,) = [told for told in alarms(preservation={"colours_lost_fraction": 0.24}) if "colours" in told]
    assert "24.0% of the boxes" in sentence
