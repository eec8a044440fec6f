"""The paper's studies: every variant is a valid run that differs in what it says, and in nothing else."""

import pytest

from trainer.config import TrainConfig
from trainer.errors import ConfigError
from trainer.options import PRESETS, resolve
from trainer.studies.definitions import (
    STEP_COUNTS,
    STUDIES,
    Study,
    Variant,
    changes,
    find_study,
    resolve_variants,
)


def base(**settings: object) -> TrainConfig:
    return resolve({"synthetic": "s.npz", "real": "r.npz", **settings})


@pytest.mark.parametrize("preset", sorted(path.stem for path in PRESETS.glob("*.toml")))
@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.name)
def test_every_variant_differs_only_in_what_it_says(study: Study, preset: str) -> None:
    common = base(preset=preset)
    steps = {"steps", *STEP_COUNTS} if study.equal_refiner_updates else set()

    for variant, config in zip(study.variants, resolve_variants(study, common).values(), strict=True):
        said = {*variant.settings, *variant.factors}
        changed = changes(config, common)
        assert set(changed) <= said | steps, variant.name
        for name, value in variant.settings.items():
            assert getattr(config, name) == value


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.name)
def test_a_study_asks_a_question_about_a_section_or_an_equation_of_the_paper(study: Study) -> None:
    assert any(word in study.question for word in ("Section", "Eq.", "Algorithm"))
    assert len({variant.name for variant in study.variants}) == len(study.variants) >= 2


def test_the_ladder_of_lambda_multiplies_the_weight_of_the_preset() -> None:
    variants = resolve_variants(find_study("lambda"), base(self_regularization_weight=3.0))

    assert [config.self_regularization_weight for config in variants.values()] == [0.3, 1.0, 3.0, 9.0, 30.0]


@pytest.mark.parametrize(("steps", "per_step", "total"), [(2000, 1, 2000), (130, 2, 250), (50, 1, 50)])
def test_all_make_as_many_refiner_updates(steps: int, per_step: int, total: int) -> None:
    common = base(steps=steps, refiner_updates_per_step=per_step)

    variants = resolve_variants(find_study("updates"), common)

    made = [config.steps * config.refiner_updates_per_step for config in variants.values()]
    assert made == [total] * 4


def test_what_counts_steps_follows_the_steps_and_zero_stays_zero() -> None:
    common = base(steps=2000, log_every=50, checkpoint_every=500, grid_every=0, learning_rate_drop_step=1500)

    many = resolve_variants(find_study("updates"), common)["50"]

    assert (many.steps, many.log_every, many.checkpoint_every, many.grid_every) == (40, 1, 10, 0)
    assert many.learning_rate_drop_step == 30


@pytest.mark.parametrize(
    ("name", "settings", "sentence"),
    [
        ("history", {"history_capacity": 0}, "on and off .* are the same .* history_capacity = 0"),
        ("lambda", {"self_regularization_weight": 0.0}, "self_regularization_weight = 0"),
        ("lambda", {"self_regularization_weight": 1e6}, "--self-regularization-weight"),
        ("updates", {"steps": 49}, "at least 50 refiner updates"),
    ],
)
def test_a_base_that_leaves_nothing_to_compare_is_refused(
    name: str, settings: dict[str, object], sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        resolve_variants(find_study(name), base(**settings))


def test_an_unknown_setting_of_a_variant_is_refused() -> None:
    study = Study("odd", "Section 0", (Variant("a"), Variant("b", {"no_such_setting": 1})))

    with pytest.raises(ConfigError, match="no_such_setting"):
        resolve_variants(study, base())


def test_an_unknown_study_is_told_which_there_are() -> None:
    with pytest.raises(ConfigError, match="history, loss, psi, lambda, updates"):
        find_study("gamma")
