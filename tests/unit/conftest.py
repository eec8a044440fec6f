"""A constructed evaluation for the tests of the report: plain numbers, no model, no training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from trainer.evaluation.results import (
    CandidateResult,
    Estimate,
    EstimatorChange,
    Histogram,
    Preservation,
    Realism,
    Realities,
    Region,
    Report,
    Score,
    Usefulness,
)

MakeReport = Callable[..., Report]


def estimate(*values: float, half: float = 0.02) -> Estimate:
    mean = sum(values) / len(values)
    return Estimate(mean, mean - half, mean + half, values)


def realism(judge: float, distance: float) -> Realism:
    return Realism(
        judge=estimate(judge - 0.01, judge, judge + 0.01),
        kernel_distance=estimate(distance * 0.001, half=distance * 1e-4),
        sliced_wasserstein=estimate(distance * 4, distance * 2, distance),
        spectrum=tuple(4.0 - index * (0.1 + 0.02 * distance) for index in range(16)),
        spectrum_distance=distance * 0.1,
        layout=estimate(0.5 + 0.6 * (judge - 0.5)),
    )


def preservation(**changes: Any) -> Preservation:
    made = Preservation(
        regions_of="boxes",
        measured=412,
        unmeasured=9,
        shift_px={"median": 0.04, "p95": 0.31, "max": 1.7},
        structure_kept={"median": 0.97, "p05": 0.86, "min": 0.41},
        lost_fraction=0.004,
        worst=(Region(3, (6.0, 5.0, 20.0, 24.0), 1.7, 0.41), Region(0, (2.0, 2.0, 12.0, 9.0), None, 0.12)),
        mean_absolute_change_levels=14.2,
        gradient_correlation=0.94,
        estimator=EstimatorChange("same class", "", 1.0, 0.985, 0.0, {"1": 0.99, "8": 0.97}),
        shift_histogram=Histogram(
            tuple(index / 8 for index in range(17)), (210, 120, 50, 20, 6, 2, 1, 1, 0, 0, 0, 0, 0, 1, 0, 1)
        ),
        kept_histogram=Histogram(tuple(index / 10 for index in range(11)), (0, 1, 0, 0, 1, 0, 2, 8, 40, 360)),
    )
    return replace(made, **changes)


def usefulness(**changes: Any) -> Usefulness:
    def score(arm: Any, augmentation: Any, *values: float) -> Score:
        return Score(
            arm, augmentation, estimate(*values), {"macro F1": estimate(*(v - 0.03 for v in values))}
        )

    made = Usefulness(
        kind="classification",
        metric="accuracy",
        test_images=1282,
        scores=(
            score("synthetic", "none", 0.60, 0.62, 0.61),
            score("synthetic", "strong", 0.70, 0.73, 0.71),
            score("refined", "none", 0.90, 0.92, 0.91),
            score("refined", "strong", 0.93, 0.94, 0.95),
            score("synthetic", "moves", 0.65, 0.67, 0.66),
            score("refined", "moves", 0.94, 0.95, 0.945),
            score("real", "moves", 0.98, 0.985, 0.981),
            score("both", "none", 0.89, 0.90, 0.92),
            score("both", "strong", 0.93, 0.94, 0.93),
            score("real", "none", 0.98, 0.979, 0.981),
            score("real", "strong", 0.985, 0.984, 0.986),
        ),
        gap_closed=estimate(0.80, 0.82, 0.81),
        gap_closed_moved=estimate(0.86, 0.87, 0.88),
        gap_closed_augmented=estimate(0.83, 0.84, 0.85),
    )
    return replace(made, **changes)


@pytest.fixture
def make_report() -> MakeReport:
    """make_report(*candidates: changes of CandidateResult as dicts; one plain candidate without any)."""

    def make(*candidates: dict[str, Any], **changes: Any) -> Report:
        plain = CandidateResult(
            name="squares at step 2000",
            realism=realism(0.66, 1.5),
            preservation=preservation(),
            usefulness=usefulness(),
            alarms=(),
        )
        made = Report(
            synthetic="data/synthetic.npz:images",
            real="data/real.npz:images",
            created_utc="2026-01-31T12:00:00+00:00",
            command="simtrue-train evaluate runs/00001-default-squares",
            settings={"seeds": "3", "images": "400 of 4000"},
            realities=Realities(
                images=400,
                frequencies=tuple(index / 32 for index in range(16)),
                real_spectrum=tuple(4.0 - index * 0.1 for index in range(16)),
                floor=realism(0.5, 0.2),
                start=realism(0.99, 8.0),
            ),
            candidates=tuple(replace(plain, **candidate) for candidate in candidates or ({},)),
            seconds=372.0,
        )
        return replace(made, **changes)

    return make
