"""What a run says when it goes wrong without a number being infinite."""

import json

import pytest

from trainer.alarms import Alarms

HEALTHY = {
    "mean_absolute_change_of_255": 9.0,
    "edge_agreement": 0.9,
    "accuracy_on_refined": 0.71,
    "accuracy_on_real": 0.64,
}
SOUND = {"erased_content": False, "lost_colours": False}
ERASING = {"erased_content": True, "lost_colours": False}


def watch(steps: int, **changes: float) -> list[str]:
    alarms = Alarms(steps)
    return [
        alarm.name
        for step in range(10, steps + 1, 10)
        for alarm in alarms.observe(step, {**HEALTHY, **changes})
    ]


def test_a_healthy_run_is_left_in_peace() -> None:
    assert watch(4000) == []


def test_content_that_goes_on_being_lost_is_told_once() -> None:
    alarms = Alarms(1000)
    assert alarms.observe_validation(200, ERASING, last=False) == []
    assert alarms.observe_validation(400, SOUND, last=False) == []
    assert alarms.observe_validation(500, ERASING, last=False) == []
    (told,) = alarms.observe_validation(800, ERASING, last=False)
    assert (told.name, told.step) == ("erased_content", 800)
    assert "content is being erased" in told.sentence
    assert alarms.observe_validation(900, ERASING, last=False) == []
    assert [alarm.name for alarm in alarms.told()] == ["erased_content"]


def test_content_lost_at_the_end_is_told() -> None:
    assert [alarm.step for alarm in Alarms(1000).observe_validation(1000, ERASING, last=True)] == [1000]


def test_lost_colours_have_an_alarm_of_their_own() -> None:
    alarms = Alarms(1000)
    both = {"erased_content": True, "lost_colours": True}
    assert alarms.observe_validation(500, both, last=False) == []
    assert alarms.observe_validation(600, {**both, "erased_content": False}, last=False) == []
    (told,) = alarms.observe_validation(800, both, last=False)
    assert told.name == "lost_colours"
    assert "colours" in told.sentence


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("identity_refiner", {"mean_absolute_change_of_255": 0.02}),
        ("lost_content", {"edge_agreement": 0.2}),
        ("certain_discriminator", {"accuracy_on_refined": 0.999, "accuracy_on_real": 1.0}),
        ("constant_discriminator", {"accuracy_on_refined": 1.0, "accuracy_on_real": 0.0}),
        ("constant_discriminator", {"accuracy_on_refined": 0.0, "accuracy_on_real": 0.995}),
    ],
)
def test_each_condition_that_lasts_is_told_once(name: str, changes: dict[str, float]) -> None:
    assert watch(4000, **changes) == [name]


def test_a_large_change_of_exposure_alone_is_no_reason_for_an_alarm() -> None:
    assert watch(4000, mean_absolute_change_of_255=90.0) == []


def test_a_condition_that_goes_away_is_not_told() -> None:
    alarms = Alarms(4000)
    lines = [
        {**HEALTHY, "mean_absolute_change_of_255": 0.0 if step % 400 else 5.0} for step in range(0, 4000, 50)
    ]
    assert [alarms.observe(50 * index, line) for index, line in enumerate(lines)] == [[]] * len(lines)


def test_a_refiner_that_starts_as_the_identity_has_time_to_learn() -> None:
    assert watch(40, mean_absolute_change_of_255=0.0) == []


def test_a_resumed_run_neither_forgets_nor_repeats() -> None:
    still = {**HEALTHY, "mean_absolute_change_of_255": 0.0}
    steady, names = Alarms(2000), []
    for step in range(50, 2001, 50):
        names += [(step, alarm.name) for alarm in steady.observe(step, still)]
        again = Alarms(2000)
        again.load_state_dict(json.loads(json.dumps(steady.state_dict())))
        steady = again
    assert names == [(550, "identity_refiner")]
    assert steady.told()[0].sentence.startswith("step 550: the refiner does nothing")
