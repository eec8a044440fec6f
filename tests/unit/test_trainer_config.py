"""Where a run's settings come from, and that they survive being saved."""

from pathlib import Path

import pytest

from trainer.config import TrainConfig
from trainer.errors import ConfigError
from trainer.options import add_flags, flag_values, read_preset, read_toml, resolve, to_toml, validate

SOURCES = {"synthetic": "a", "real": "b"}


def test_a_flag_beats_the_file_which_beats_the_preset_which_beats_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "my.toml"
    file.write_text('preset = "gaze"\nbatch_size = 64\nsteps = 7\n')
    config = resolve({**SOURCES, "steps": "9"}, file)
    assert config.steps == 9
    assert config.batch_size == 64
    assert config.optimiser == read_preset("gaze")["optimiser"] == "sgd"
    assert config.log_every == TrainConfig.model_fields["log_every"].default


def test_the_saved_settings_are_read_back_as_the_same_settings(tmp_path: Path) -> None:
    strange = {"synthetic": 'a "quoted" \\ päth', "resize": "35x55", "channels": "3", "bit_depth": "16"}
    config = resolve({**SOURCES, **strange, "discriminator_spectral_norm": True})
    file = tmp_path / "config.toml"
    file.write_text(to_toml(config), encoding="utf-8")
    assert validate(read_toml(file)) == config
    assert config.resize == (35, 55)


@pytest.mark.parametrize("preset", ["default", "fast"])
def test_larger_patches_are_judged_where_labels_hold_what_it_could_cost(preset: str) -> None:
    labels = {"labels": "annotations.json"}
    assert resolve({**SOURCES, "preset": preset}).weight_of_wide == 0
    assert resolve({**SOURCES, **labels, "preset": preset}).weight_of_wide == 1
    assert resolve({**SOURCES, **labels, "preset": preset, "wide_weight": "0"}).weight_of_wide == 0
    assert resolve({**SOURCES, "preset": preset, "wide_weight": "0.5"}).weight_of_wide == 0.5
    assert resolve({**SOURCES, **labels, "preset": "gaze"}).weight_of_wide == 0, "the paper's have none"


@pytest.mark.parametrize("preset", ["default", "gaze", "hand"])
def test_a_preset_is_a_valid_set_of_settings(preset: str) -> None:
    assert resolve({**SOURCES, "preset": preset}).preset == preset


def test_the_paper_presets_state_the_papers_settings() -> None:
    gaze, hand = resolve({**SOURCES, "preset": "gaze"}), resolve({**SOURCES, "preset": "hand"})
    assert (gaze.optimiser, gaze.refiner_learning_rate, gaze.batch_size) == ("sgd", 0.001, 512)
    assert (gaze.warmup_refiner_steps, gaze.warmup_discriminator_steps) == (1000, 200)
    assert (gaze.discriminator_updates_per_step, gaze.refiner_updates_per_step) == (1, 2)
    assert (hand.warmup_refiner_steps, hand.warmup_discriminator_steps) == (500, 200)
    assert hand.refiner_learning_rate * hand.learning_rate_drop_factor == pytest.approx(0.00005)
    assert hand.learning_rate_drop_step == 600_000
    assert gaze.patch_reduction == hand.patch_reduction == "sum"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"real": "b"}, "--synthetic is required"),
        ({**SOURCES, "bogus": 1}, "there is no setting 'bogus'"),
        ({**SOURCES, "batch_size": "many"}, "--batch-size 'many'"),
        ({**SOURCES, "batch_size": "7"}, "--batch-size '7'"),
        ({**SOURCES, "wide_weight": "-1"}, "-1.0: input should be 'auto', or input should be greater than"),
        ({**SOURCES, "ema_decay": "1"}, "--ema-decay '1'"),
        ({**SOURCES, "resize": "35by55"}, "HEIGHTxWIDTH"),
        ({**SOURCES, "preset": "best"}, "default, fast, gaze, hand"),
        ({**SOURCES, "history_capacity": "3"}, "half a batch"),
        ({**SOURCES, "refiner_kernel_size": "4"}, "odd"),
        ({**SOURCES, "warmup_refiner_steps": "5", "self_regularization_weight": "0"}, "its only loss"),
    ],
)
def test_a_wrong_setting_is_named(values: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        resolve(values)
    assert words in str(refused.value)


def test_a_file_that_is_not_toml_is_named(tmp_path: Path) -> None:
    file = tmp_path / "my.toml"
    file.write_text("steps: 3")
    with pytest.raises(ConfigError, match=r"my\.toml is not TOML"):
        resolve(SOURCES, file)


def test_every_setting_has_a_flag_and_only_given_flags_count() -> None:
    import argparse

    parser = argparse.ArgumentParser()
    add_flags(parser)
    arguments = parser.parse_args(["--batch-size", "8", "--no-tensorboard"])
    assert flag_values(arguments) == {"batch_size": "8", "tensorboard": False}
    text = parser.format_help()
    assert all(f"--{name.replace('_', '-')}" in text for name in TrainConfig.model_fields)


def test_every_setting_says_what_it_is() -> None:
    assert [name for name, field in TrainConfig.model_fields.items() if not field.description] == []
