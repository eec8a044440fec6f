"""The settings: where values come from, their bounds, and the sentence about a wrong one."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from app.errors import BadSettings
from app.settings import BUNDLED_MODELS, Settings, load_settings, unknown_variables, variable_of


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch):
    for field in Settings.model_fields:
        monkeypatch.delenv(variable_of(field), raising=False)


def test_the_defaults_serve_the_bundled_models_to_this_machine_only():
    settings = load_settings()
    assert (settings.host, settings.port, settings.models) == ("127.0.0.1", 8000, BUNDLED_MODELS)


def test_a_value_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("SIMTRUE_MODELS", "/srv/models")
    monkeypatch.setenv("SIMTRUE_THREADS", "3")
    assert (load_settings().models, load_settings().threads) == (Path("/srv/models"), 3)


def test_an_override_wins_over_the_environment(monkeypatch):
    monkeypatch.setenv("SIMTRUE_PORT", "9000")
    assert load_settings(port=9001).port == 9001


def test_an_empty_variable_counts_as_unset(monkeypatch):
    monkeypatch.setenv("SIMTRUE_PORT", "")
    assert load_settings().port == 8000


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("SIMTRUE_PORT", "70000", "SIMTRUE_PORT is '70000', but must be at most 65535."),
        ("SIMTRUE_THREADS", "-1", "SIMTRUE_THREADS is '-1', but must be at least 0."),
        ("SIMTRUE_TILE_PIXELS", "big", "SIMTRUE_TILE_PIXELS is 'big', but must be a valid integer."),
        ("SIMTRUE_DEVICE", "tpu", "SIMTRUE_DEVICE is 'tpu', but must be 'auto', 'cpu' or 'cuda'."),
        (
            "SIMTRUE_REQUEST_TIMEOUT_S",
            "nan",
            "SIMTRUE_REQUEST_TIMEOUT_S is 'nan', but must be at most 86400.",
        ),
        (
            "SIMTRUE_MAX_PIXELS",
            "1000000000",
            "SIMTRUE_MAX_QUEUE_PIXELS is 256000000, but must be at least SIMTRUE_MAX_PIXELS (1000000000), or "
            "the largest image could never be taken.",
        ),
    ],
)
def test_a_wrong_value_gets_one_sentence_with_variable_value_and_bound(
    monkeypatch, variable, value, sentence
):
    monkeypatch.setenv(variable, value)
    with pytest.raises(BadSettings) as raised:
        load_settings()
    assert raised.value.detail == sentence


@pytest.mark.parametrize(
    "url", ["mysql://me:open-sesame@host/x", "open-sesame", "sqlite:" + "open-sesame" * 1000]
)
def test_a_password_is_never_shown(monkeypatch, url):
    monkeypatch.setenv("SIMTRUE_DATABASE", url)

    with pytest.raises(
        BadSettings, match=r"^SIMTRUE_DATABASE is set, but must be a URL of at most 2048 characters, sqlite"
    ) as raised:
        load_settings()
    assert "open-sesame" not in raised.value.detail
    with pytest.raises(ValidationError) as raised:
        Settings()
    assert "open-sesame" not in str(raised.value)
    assert "open-sesame" not in repr(Settings(database="postgres://me:open-sesame@host/x"))


def test_data_lies_in_the_home_folder_or_where_xdg_or_the_user_says(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", "/srv/ann")
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert Settings().data == Path("/srv/ann/.local/share/simtrue")
    monkeypatch.setenv("XDG_DATA_HOME", "not/absolute")
    assert Settings().data == Path("/srv/ann/.local/share/simtrue")
    monkeypatch.setenv("XDG_DATA_HOME", "/srv/data")
    assert Settings().data == Path("/srv/data/simtrue")
    monkeypatch.setenv("SIMTRUE_DATA", "~/jobs")
    assert Settings().data == Path("/srv/ann/jobs")
    monkeypatch.chdir(tmp_path)
    assert Settings(data="here").data == tmp_path / "here"


def test_several_wrong_values_are_all_named(monkeypatch):
    monkeypatch.setenv("SIMTRUE_PORT", "x")
    monkeypatch.setenv("SIMTRUE_THREADS", "y")
    with pytest.raises(BadSettings, match=r"SIMTRUE_PORT.*; SIMTRUE_THREADS"):
        load_settings()


def test_an_override_that_is_no_setting_is_refused():
    with pytest.raises(BadSettings, match="there is no setting SIMTRUE_COLOUR"):
        load_settings(colour="red")


def test_misspelt_variables_are_found():
    environ = {"SIMTRUE_THREAD": "2", "SIMTRUE_THREADS": "2", "HOME": "/root"}
    assert unknown_variables(environ) == ["SIMTRUE_THREAD"]


def test_every_setting_is_described_and_every_number_is_bounded():
    for name, field in Settings.model_fields.items():
        assert field.description, name
        if field.annotation in {int, float}:
            bounds = {type(constraint).__name__ for constraint in field.metadata}
            assert {"Ge", "Le"} <= bounds, name


def test_settings_cannot_be_changed():
    with pytest.raises(ValidationError):
        Settings().port = 1
