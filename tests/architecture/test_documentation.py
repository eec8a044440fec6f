"""The documents keep up with the code."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from app.settings import Settings, variable_of
from trainer.config import TrainConfig
from trainer.options import PRESETS

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = (
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "EXPERIMENTS.md",
    "CONFIGURATION.md",
)


def _text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_configuration_page_is_what_the_code_says() -> None:
    written = subprocess.run(
        [sys.executable, "tests/architecture/configuration_page.py"],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"},
        capture_output=True,
        encoding="utf-8",
        check=True,
    ).stdout

    assert _text("CONFIGURATION.md") == written, "run `make configuration` and commit the page"


def test_the_configuration_page_names_every_variable_and_setting() -> None:
    page = _text("CONFIGURATION.md")

    wanted = {variable_of(name) for name in Settings.model_fields} | set(TrainConfig.model_fields)
    assert {name for name in wanted if f"`{name}`" not in page} == set()


@pytest.mark.parametrize("command", ["app.cli", "trainer.cli"])
def test_the_configuration_page_names_every_flag(command: str) -> None:
    page = _text("CONFIGURATION.md")

    for words in (["--help"], *([*name.split(), "--help"] for name in _subcommands(command))):
        for flag in set(re.findall(r"(--[a-z][a-z0-9-]+)", _said(command, *words))) - {"--help"}:
            setting = flag.removeprefix("--").removeprefix("no-").replace("-", "_")
            assert f"`{flag}`" in page or f"`{setting}`" in page, f"{command} {words} {flag}"


def _subcommands(command: str) -> list[str]:
    page = _text("CONFIGURATION.md")
    program = {"app.cli": "simtrue", "trainer.cli": "simtrue-train"}[command]
    return re.findall(rf"^## `{program} ([a-z -]+)`$", page, re.MULTILINE)


def _said(command: str, *words: str) -> str:
    program = f"import sys; from {command} import main; sys.argv[0] = '{command}'; sys.exit(main())"
    environment = os.environ | {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}
    asked = [sys.executable, "-c", program, *words]
    return subprocess.run(asked, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout


def test_the_configuration_page_names_every_preset() -> None:
    page = _text("CONFIGURATION.md")

    for preset in PRESETS.glob("*.toml"):
        assert f" {preset.stem} |" in page, preset.name


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_to_files_lead_somewhere(document: str) -> None:
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", _text(document))

    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_make_targets_in_the_documents_exist(document: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", _text("Makefile"), re.MULTILINE))

    named = re.findall(r"^(?:\$ )?make ((?:[a-z-]+ ?)+)", "\n".join(_code(document)), re.MULTILINE)
    assert {word for words in named for word in words.split()} <= targets


def _code(document: str) -> list[str]:
    """What a document shows as code: inline, fenced or indented."""
    text = _text(document)
    fenced = [
        line.strip() for block in re.findall(r"```.*?```", text, re.DOTALL) for line in block.splitlines()
    ]
    indented = re.findall(r"^ {4,}(\S.*)$", text, re.MULTILINE)
    return [*fenced, *indented, *re.findall(r"`([^`\n]+)`", text)]


def test_the_architecture_is_told_on_two_pages() -> None:
    assert len(_text("ARCHITECTURE.md").split()) <= 1300
