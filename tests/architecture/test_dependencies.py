"""Exact versions of everything that gets installed, so that a build can be repeated."""

from __future__ import annotations

import tomllib
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
EXTRAS = ("s3", "train", "dev")


def _pinned() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if not line.startswith("#")]
    return {canonicalize_name(pin.name): str(pin.specifier) for pin in pins}


def _installed() -> dict[str, str]:
    """What our requirements lead to on this machine: name to version without its build tag."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    optional = (line for extra in EXTRAS for line in project["optional-dependencies"][extra])
    waiting = [(Requirement(line), "") for line in (*project["dependencies"], *optional)]
    seen: dict[tuple[str, str], str] = {}
    while waiting:
        requirement, extra_of_parent = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra_of_parent}):
            continue
        found = distribution(requirement.name)
        for extra in ("", *requirement.extras):
            key = (canonicalize_name(requirement.name), extra)
            if key not in seen:
                seen[key] = found.version.partition("+")[0]
                waiting += [(Requirement(line), extra) for line in found.requires or []]
    return {name: version for (name, _), version in seen.items()}


def test_everything_installed_has_its_version_pinned() -> None:
    pinned = _pinned()

    wrong = {name: version for name, version in _installed().items() if pinned.get(name) != f"=={version}"}
    assert wrong == {}, "constraints.txt does not say this"


def test_only_names_and_versions_are_pinned_and_they_are_in_order() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]

    assert pins == sorted(pins)
    assert all(Requirement(pin).url is None and str(Requirement(pin).specifier)[:2] == "==" for pin in pins)
