"""Owns where settings come from: defaults, preset, TOML file and flags, and the TOML a run keeps."""

import argparse
import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import JsonValue, ValidationError
from pydantic.fields import FieldInfo

from trainer.config import TrainConfig
from trainer.errors import ConfigError

PRESETS = Path(__file__).parent / "presets"


def resolve(flags: Mapping[str, object], config_file: Path | None = None) -> TrainConfig:
    """Merge defaults < preset < `config_file` < `flags` (field name → value); ConfigError names the fault."""
    from_file = read_toml(config_file) if config_file is not None else {}
    preset = str(flags.get("preset", from_file.get("preset", TrainConfig.model_fields["preset"].default)))
    return validate({**read_preset(preset), **from_file, **flags, "preset": preset})


def validate(values: Mapping[str, object]) -> TrainConfig:
    """Build the config; ConfigError tells the first faults, each with its flag and value."""
    try:
        return TrainConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError("; ".join(_sentences([dict(fault) for fault in error.errors()])[:3])) from None


def read_preset(name: str) -> dict[str, object]:
    """Settings of a bundled preset, which may build on another; ConfigError lists the presets there are."""
    path = PRESETS / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(preset.stem for preset in PRESETS.glob("*.toml")))
        raise ConfigError(f"there is no preset {name!r}; there are: {known}")
    values = read_toml(path)
    base = values.pop("preset", None)
    return {**read_preset(str(base)), **values} if base else values


def read_toml(path: Path) -> dict[str, object]:
    """Flat TOML settings; ConfigError when the file is missing or not TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error


def to_toml(config: TrainConfig) -> str:
    """The whole config as TOML under section headings in comments; `read_toml` + `validate` gives it back."""
    lines = ["# The resolved settings of this run."]
    section = None
    for name, field in TrainConfig.model_fields.items():
        if section != (section := section_of(field)):
            lines.append(f"\n# --- {section}")
        value = config.model_dump(mode="json")[name]
        lines.append(f"{name} = {_toml_value(value)}" if value is not None else f"# {name}: not set")
    return "\n".join(lines) + "\n"


def section_of(field: FieldInfo) -> str:
    """The heading under which a field stands in `--help` and in config.toml."""
    extra = field.json_schema_extra
    assert isinstance(extra, dict)
    return str(extra["section"])


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add one flag per field of TrainConfig; values stay text, TrainConfig judges them."""
    groups: dict[str, argparse._ArgumentGroup] = {}
    for name, field in TrainConfig.model_fields.items():
        section = section_of(field)
        if section not in groups:
            groups[section] = parser.add_argument_group(section)
        group = groups[section]
        flag = "--" + name.replace("_", "-")
        text = _help(name, field).replace("%", "%%")
        if field.annotation is bool:
            group.add_argument(
                flag, action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=text
            )
        else:
            group.add_argument(flag, default=argparse.SUPPRESS, metavar=_metavar(field), help=text)


def flag_values(arguments: argparse.Namespace) -> dict[str, object]:
    """Only the settings that were given as flags."""
    return {name: value for name, value in vars(arguments).items() if name in TrainConfig.model_fields}


def _help(name: str, field: FieldInfo) -> str:
    default = read_preset("default").get(name, field.default)
    shown = "" if field.is_required() or default in ("", None) else f" [{default}]"
    return f"{field.description}{shown}"


def _metavar(field: FieldInfo) -> str:
    if field.annotation in (int, float, str):
        return dict[object, str]({int: "N", float: "X", str: "TEXT"})[field.annotation]
    choices = [str(choice) for choice in get_args(field.annotation) if isinstance(choice, str | int)]
    return "|".join(choices) if choices and len(choices) == len(get_args(field.annotation)) else "VALUE"


def _toml_value(value: JsonValue) -> str:
    # JSON's scalars and arrays are TOML's too, once nothing is null.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _sentences(faults: Sequence[Mapping[str, Any]]) -> list[str]:
    """One for each setting, whatever kinds of values it takes."""
    sentences: dict[str, str] = {}
    for fault in faults:
        setting, sentence = str(fault["loc"][:1]), _sentence(fault)
        said = sentences.get(setting)
        sentences[setting] = f"{said}, or {sentence.rpartition(': ')[2]}" if said else sentence
    return list(sentences.values())


def _sentence(fault: Mapping[str, object]) -> str:
    location = fault["loc"]
    assert isinstance(location, tuple)
    message = str(fault["msg"]).removeprefix("Value error, ")
    if not location:
        return message
    name = str(location[0])
    flag = f"--{name.replace('_', '-')}"
    if fault["type"] == "missing":
        return f"{flag} is required"
    if fault["type"] == "extra_forbidden":
        return f"there is no setting {name!r}"
    return f"{flag} {fault['input']!r}: {message[:1].lower()}{message[1:]}"
