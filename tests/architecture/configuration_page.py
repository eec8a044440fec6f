"""Writes CONFIGURATION.md from the code, for `make configuration`: every setting, flag, default and bound."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import typer.main
from pydantic import BaseModel

from app.cli import cli
from app.settings import Settings, variable_of
from trainer import cli as trainer_cli
from trainer.config import TrainConfig
from trainer.options import PRESETS, read_preset, section_of

ROOT = Path(__file__).resolve().parents[2]

HEAD = """\
# Configuration

Every setting of the service and every flag of both commands. `make configuration` writes this page from the
code, and a test fails when the two differ.
"""

SERVICE = """\
## The service: environment variables

Flags win over the environment. A value outside its bounds stops the start with a sentence that names it.
"""

TRAINING = """\
## Settings of a training run

A setting is a flag of `simtrue-train fit` and of `study` (`history_capacity` is `--history-capacity`) or a
line of the TOML file given with `--config`. Flags win over the file, the file over the preset. `gaze` and
`hand` are the paper's two experiments; an empty cell means the same as `default`. The resolved ones are saved
with the run.
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD, SERVICE, _service_table(), *_commands(), TRAINING, *_training_tables()]
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def _service_table() -> str:
    bounds = _bounds(Settings)
    rows = (
        (f"`{variable_of(name)}`", _shown(field.default), bounds[name], field.description)
        for name, field in Settings.model_fields.items()
    )
    return _table(("variable", "default", "bounds", "meaning"), rows)


def _commands() -> Iterable[str]:
    for name, command in _leaves(typer.main.get_command(cli)):
        yield f"## `simtrue {name}`\n\n{command.help}\n"
        yield _table(("flag", "default", "meaning"), (_option(option) for option in command.params))
    for name, parser in _subparsers(trainer_cli._parser()).items():
        elsewhere = {"help", *(TrainConfig.model_fields if name in ("fit", "study") else ())}
        rows = (_action(action) for action in parser._actions if action.dest not in elsewhere)
        yield f"## `simtrue-train {name}`\n\n{_about(name)}\n"
        yield _table(("flag", "default", "meaning"), rows)


def _leaves(command: Any, above: str = "") -> Iterable[tuple[str, Any]]:
    """The commands that do something, each with the words that lead to it."""
    for name, below in command.commands.items():
        if hasattr(below, "commands"):
            yield from _leaves(below, f"{above}{name} ")
        else:
            yield f"{above}{name}", below


def _training_tables() -> Iterable[str]:
    presets = sorted(path.stem for path in PRESETS.glob("*.toml"))
    others = [preset for preset in presets if preset != "default"]
    values = {preset: read_preset(preset) for preset in presets}
    bounds = _bounds(TrainConfig)
    sections: dict[str, list[tuple[object, ...]]] = {}
    for name, field in TrainConfig.model_fields.items():
        plain = "required" if field.is_required() else _shown(field.default)
        default = _shown(values["default"][name]) if name in values["default"] else plain
        given = (_shown(values[preset].get(name, field.default)) for preset in others)
        shown = ["" if value == default or field.is_required() else value for value in given]
        row = (f"`{name}`", default, *shown, bounds[name], field.description)
        sections.setdefault(section_of(field), []).append(row)
    for section, rows in sections.items():
        yield f"### {section[0].upper()}{section[1:]}\n"
        yield _table(("setting", "default", *others, "bounds", "meaning"), rows)


def _option(option: Any) -> tuple[object, ...]:
    words = ", ".join(option.opts + option.secondary_opts)
    argument = option.param_type_name == "argument"
    spelling = (option.metavar or str(option.name).upper()) if argument else words
    default = "required" if option.required else _shown(option.default)
    return f"`{spelling}`", default, getattr(option, "help", None)


def _subparsers(parser: argparse.ArgumentParser) -> Mapping[str, argparse.ArgumentParser]:
    (action,) = (found for found in parser._actions if isinstance(found, argparse._SubParsersAction))
    return action.choices


def _about(command: str) -> str:
    (action,) = (a for a in trainer_cli._parser()._actions if isinstance(a, argparse._SubParsersAction))
    help_text = next(choice.help for choice in action._choices_actions if choice.dest == command) or ""
    return f"{help_text[:1].upper()}{help_text[1:]}."


def _action(action: argparse.Action) -> tuple[object, ...]:
    """Flag, default and meaning; a help text ends with its default in brackets."""
    spelling = ", ".join(action.option_strings) or str(action.metavar or action.dest)
    meaning, _, default = (action.help or "").removesuffix("]").partition(" [")
    return f"`{spelling}`", "required" if action.required else default or _shown(action.default), meaning


def _bounds(model: type[BaseModel]) -> dict[str, str]:
    return {name: _bound(schema) for name, schema in model.model_json_schema()["properties"].items()}


def _bound(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(filter(None, (_bound(choice) for choice in schema["anyOf"])))
    if "enum" in schema:
        return ", ".join(f"`{choice}`" for choice in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    return ", ".join(f"{sign} {_shown(schema[key])}" for key, sign in signs.items() if key in schema)


def _shown(value: object) -> str:
    if value is None or value in ("", (), argparse.SUPPRESS):
        return ""
    if isinstance(value, Path):
        return f"`{value.relative_to(ROOT)}`" if value.is_relative_to(ROOT) else f"`{value}`"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


def _table(heads: tuple[str, ...], rows: Iterable[Iterable[object]]) -> str:
    lines = ["| " + " | ".join(heads) + " |", "| " + " | ".join("---" for _ in heads) + " |"]
    for row in rows:
        cells = ("" if cell is None else str(cell).replace("|", "\\|").replace("\n", " ") for cell in row)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n" if len(lines) > 2 else "No flags.\n"


if __name__ == "__main__":
    sys.stdout.write(page())
