"""What `make` does and says, tried with a Python that only writes down what it was asked."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

PYTHON = """#!/bin/sh
echo "$*" >> "{log}"
case "$*" in
    --version) echo "Python {version}" ;;
    *version_info*) exit {too_old} ;;
    *ensurepip*) exit {no_venv} ;;
    "-m venv"*) mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
esac
"""


class Checkout:
    """A copy of the Makefile with what it looks at, and a stand-in for Python."""

    def __init__(
        self, folder: Path, version: str = "3.12.1", *, too_old: bool = False, no_venv: bool = False
    ):
        self.folder = folder
        self.log = folder.parent / "asked.log"
        self.python = folder.parent / "python-stand-in"
        folder.mkdir()
        for name in ("Makefile", "pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, folder)
        text = PYTHON.format(log=self.log, version=version, too_old=int(too_old), no_venv=int(no_venv))
        self.python.write_text(text, encoding="utf-8")
        self.python.chmod(0o755)

    def make(self, *words: str) -> subprocess.CompletedProcess[str]:
        self.log.unlink(missing_ok=True)
        command = ["make", "--no-print-directory", f"PYTHON={self.python}", *words]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)

    def installed(self) -> list[str]:
        asked = self.log.read_text(encoding="utf-8").splitlines() if self.log.exists() else []
        return [
            re.sub(r".* install \S+ -c constraints.txt ", "", line) for line in asked if " install " in line
        ]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "simtrue")


def test_setup_installs_the_service_then_everything_and_the_second_time_nothing(checkout: Checkout) -> None:
    assert checkout.make("setup").returncode == 0
    assert checkout.installed() == [
        "pip setuptools",
        "--no-build-isolation -e .",
        "--no-build-isolation -e .[train,dev]",
    ]

    assert checkout.make("setup").returncode == 0
    assert checkout.installed() == []


def test_the_demo_needs_only_the_service(checkout: Checkout) -> None:
    assert checkout.make("demo").returncode == 0
    assert checkout.installed() == ["pip setuptools", "--no-build-isolation -e ."]
    assert "-m app.demo" in checkout.log.read_text(encoding="utf-8")


def test_many_jobs_at_once_install_once(checkout: Checkout) -> None:
    assert checkout.make("-j8", "setup", "demo").returncode == 0

    assert len(checkout.installed()) == 3


def test_a_changed_pin_is_installed_without_a_new_environment(checkout: Checkout) -> None:
    checkout.make("setup")
    shutil.copy(ROOT / "constraints.txt", checkout.folder)

    checkout.make("setup")

    assert checkout.installed() == ["--no-build-isolation -e .", "--no-build-isolation -e .[train,dev]"]


def test_a_moved_checkout_does_not_run_the_code_of_the_old_place(checkout: Checkout) -> None:
    checkout.make("setup")
    checkout.folder = checkout.folder.rename(checkout.folder.with_name("moved"))

    checkout.make("setup")

    assert len(checkout.installed()) == 3


def test_a_failed_installation_is_taken_up_again(checkout: Checkout) -> None:
    good = checkout.python.read_text(encoding="utf-8")
    checkout.python.write_text(good + 'case "$*" in *"-e ."*) exit 1 ;; esac\n', encoding="utf-8")
    assert checkout.make("setup").returncode != 0
    shutil.copy(checkout.python, checkout.folder / ".venv/bin/python")
    (checkout.folder / ".venv/bin/python").write_text(good, encoding="utf-8")

    assert checkout.make("setup").returncode == 0
    assert checkout.installed() == ["--no-build-isolation -e .", "--no-build-isolation -e .[train,dev]"]


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"version": "3.9.2", "too_old": True}, "Simtrue needs Python 3.11 or newer, but .* is 3.9.2; name"),
        ({"no_venv": True}, "cannot make virtual environments; install its venv package"),
    ],
)
def test_a_python_that_will_not_do_is_refused_in_one_sentence(
    wrong: dict[str, object], sentence: str, tmp_path: Path
) -> None:
    checkout = Checkout(tmp_path / "simtrue", **wrong)  # type: ignore[arg-type]

    made = checkout.make("setup")

    assert made.returncode != 0
    assert re.search(sentence, made.stdout)
    assert checkout.installed() == []
    assert not (checkout.folder / ".venv").exists()


def test_a_python_that_is_not_there_is_named(checkout: Checkout) -> None:
    made = checkout.make("setup", "PYTHON=python-nowhere")

    assert made.returncode != 0
    assert "There is no command python-nowhere here" in made.stdout


def test_help_lists_every_target(checkout: Checkout) -> None:
    (phony,) = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)

    listed = re.findall(r"^  make (\S+) +\S", checkout.make().stdout, re.MULTILINE)
    assert listed == phony.split()
