"""Owns what became of one run of a study: its measures by name, or where it diverged."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError

from trainer.disk import write_atomically
from trainer.errors import RunFolderError
from trainer.evaluation.results import (
    AUGMENTATIONS,
    Arm,
    Augmentation,
    CandidateResult,
    EstimatorChange,
    Preservation,
    Realism,
    Usefulness,
)
from trainer.run_folder import RunFolder


@dataclass(frozen=True)
class Measure:
    """One column of a study's table."""

    name: str
    """Key in `Outcome.measures`."""
    heading: str
    unit: str = ""
    """`%` for fractions, else px, …"""


MEASURES: tuple[Measure, ...] = (
    Measure("judge", "judge", "%"),
    Measure("sliced_wasserstein", "sliced Wasserstein, levels"),
    Measure("kernel_distance", "KID"),
    Measure("spectrum_distance", "spectrum, decades off"),
    Measure("structure_kept", "structure left, median", "%"),
    Measure("shift_px", "moved, median", "px"),
    Measure("lost_fraction", "regions lost", "%"),
    Measure("change_of_255", "change, levels of 255"),
    Measure("estimator_change", "estimator, before against after"),
    Measure("score", "score on real labels"),
    Measure("score_moved", "score, moved"),
    Measure("score_augmented", "score, augmented"),
    Measure("gap_closed", "gap closed"),
    Measure("gap_closed_moved", "gap closed, moved"),
    Measure("gap_closed_augmented", "gap closed, augmented"),
    Measure("minutes", "minutes"),
)


class Outcome(BaseModel):
    """One variant trained with one seed; lies as `outcome.json` in the run folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    variant: str
    seed: int
    run: str
    """Name of the run folder under the study's `runs`."""
    diverged: str | None
    """The sentence that ended the run; then there are no measures."""
    measured_with: str
    """How much was compared and with which task: outcomes of one study must have been measured alike."""
    measures: Mapping[str, FiniteFloat]
    """Of the refined images, by the names of MEASURES."""
    start: Mapping[str, FiniteFloat]
    """The same of the synthetic images, as far as it can be said of them."""
    floor: Mapping[str, FiniteFloat]
    """The same of real images, against other real ones."""
    alarms: tuple[str, ...]


def outcome_file(run: RunFolder) -> Path:
    """Where the outcome of a run lies."""
    return run.path / "outcome.json"


def read_outcome(run: RunFolder) -> Outcome | None:
    """The outcome of a run, None while it has none; RunFolderError when the file is not ours."""
    file = outcome_file(run)
    try:
        return Outcome.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise RunFolderError(f"{file} cannot be used: {error}") from error


def write_outcome(run: RunFolder, outcome: Outcome) -> None:
    """Save an outcome, whole or not at all."""
    text = outcome.model_dump_json(indent=2).encode() + b"\n"
    write_atomically(outcome_file(run), lambda file: file.write(text))


def measures_of(result: CandidateResult, peak: int) -> dict[str, float]:
    """The numbers of one refiner as measures; `peak` is the largest grey level of its images."""
    return {
        **realism_measures(result.realism),
        **_preservation_measures(result.preservation, peak),
        **_usefulness_measures(result.usefulness),
    }


def realism_measures(realism: Realism) -> dict[str, float]:
    """Realism as measures: of refined, synthetic or real images."""
    return {
        "judge": realism.judge.mean,
        "sliced_wasserstein": realism.sliced_wasserstein.mean,
        "kernel_distance": realism.kernel_distance.mean,
        "spectrum_distance": realism.spectrum_distance,
    }


def arm_measures(usefulness: Usefulness | None, arm: Arm) -> dict[str, float]:
    """What training on one arm gives on real labels; nothing without a task or without that arm."""
    if usefulness is None:
        return {}
    scores = {one: usefulness.primary(arm, one) for one in AUGMENTATIONS}
    return {_named("score", one): score.mean for one, score in scores.items() if score is not None}


def _preservation_measures(kept: Preservation, peak: int) -> dict[str, float]:
    return {
        "structure_kept": kept.structure_kept["median"],
        "shift_px": kept.shift_px["median"],
        "lost_fraction": kept.lost_fraction,
        "change_of_255": kept.mean_absolute_change_levels * 255.0 / peak,
        **_estimator_measures(kept.estimator),
    }


def _estimator_measures(change: EstimatorChange | None) -> dict[str, float]:
    """The mean of fractions, the median of distances."""
    return {} if change is None else {"estimator_change": change.median if change.unit else change.mean}


def _usefulness_measures(useful: Usefulness | None) -> dict[str, float]:
    if useful is None:
        return {}
    closed = {_named("gap_closed", one): gap.mean for one, gap in useful.gaps.items() if gap is not None}
    return {**arm_measures(useful, "refined"), **closed}


def _named(measure: str, augmentation: Augmentation) -> str:
    said = AUGMENTATIONS[augmentation]
    return f"{measure}_{said}" if said else measure
