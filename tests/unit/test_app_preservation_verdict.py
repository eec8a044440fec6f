import numpy as np
import pytest

from app.preservation.verdict import SOFTENING_STEPS, Thresholds, decide
from model.preservation.drift import Drift

KEPT = Drift(0, 0.9, 0.1, 0.0)
LOST = Drift(1, 0.2, 0.0, 0.0)
MOVED = Drift(2, 0.9, 1.2, 0.9)
NOTHING = Drift(3, None)
ERASED = Drift(4, 0.9, 0.1, 0.0, 0.1)


def run(drifts_at, strength=1.0, when_below="soften"):
    """The picture is its strength; `tried` lists the strengths that were blended and measured."""
    tried = []

    def picture_at(s):
        tried.append(s)
        return s

    decision = decide(picture_at, drifts_at, strength, Thresholds(), when_below)
    return decision, tried


def test_an_image_whose_structure_is_kept_in_place_is_accepted():
    decision, tried = run(lambda s: [KEPT, NOTHING])
    assert (decision.verdict, decision.strength, decision.picture, tried) == ("accepted", 1.0, 1.0, [1.0])
    assert decision.drifts == (KEPT, NOTHING)


@pytest.mark.parametrize("bad", [LOST, MOVED, ERASED])
def test_one_bad_drift_is_enough_to_soften(bad):
    decision, _ = run(lambda s: [KEPT, bad if s > 0.3 else KEPT])
    assert decision.verdict == "softened"
    assert decision.strength == decision.picture == 0.25


@pytest.mark.parametrize("limit", [0.13, 0.2, 0.4, 0.5, 0.6, 0.77, 0.9])
@pytest.mark.parametrize("strength", [1.0, 0.8])
def test_softening_finds_the_highest_strength_to_an_eighth_in_few_tries(limit, strength):
    decision, tried = run(lambda s: [KEPT if s <= limit * strength else LOST], strength)
    assert decision.verdict == "softened"
    assert limit * strength - strength / 8 - 1e-9 < decision.strength <= limit * strength
    assert len(tried) == 1 + SOFTENING_STEPS


def test_an_image_that_no_strength_saves_keeps_its_original():
    decision, tried = run(lambda s: [LOST if s > 0 else KEPT])
    assert (decision.verdict, decision.strength, decision.picture) == ("kept_original", 0.0, 0.0)
    assert decision.drifts == (KEPT,)
    assert len(tried) == 2 + SOFTENING_STEPS


def test_the_caller_may_ask_for_the_original_or_for_a_report_only():
    original, tried = run(lambda s: [LOST if s > 0 else KEPT], when_below="keep_original")
    assert (original.verdict, original.strength, tried) == ("kept_original", 0.0, [1.0, 0.0])
    report, tried = run(lambda s: [LOST], when_below="report")
    assert (report.verdict, report.strength, tried) == ("below_thresholds", 1.0, [1.0])


@pytest.mark.parametrize("drifts", [[], [NOTHING], [NOTHING, NOTHING]])
def test_without_structure_to_measure_nothing_is_claimed(drifts):
    decision, _ = run(lambda s: drifts)
    assert (decision.verdict, decision.strength) == ("unchecked", 1.0)


def test_thresholds_are_inclusive_and_bounded():
    thresholds = Thresholds(max_shift_px=1.5, min_structure_kept=0.2)
    assert thresholds.hold_for(LOST)
    assert thresholds.hold_for(MOVED)
    assert not Thresholds(max_shift_px=1.49).hold_for(MOVED)
    assert thresholds.hold_for(Drift(0, 0.2))
    assert not thresholds.hold_for(ERASED)
    assert Thresholds(min_least_kept=0.1).hold_for(ERASED)
    for bad in (
        {"min_least_kept": -0.1},
        {"max_shift_px": -1},
        {"min_structure_kept": 1.1},
        {"max_shift_px": np.nan},
    ):
        with pytest.raises(AssertionError):
            Thresholds(**bad)
