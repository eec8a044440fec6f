"""The images, as far as they can be checked without a container engine.

What goes in is listed from `.dockerignore`; what a build runs is run into a fresh environment (`--slow`), and
what a container runs is run from there.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
APP = ROOT / "docker" / "app.Dockerfile"
TRAINER = ROOT / "docker" / "trainer.Dockerfile"
NEEDS_ROOT = ("apt-get", "groupadd")

Serving = Callable[..., AbstractContextManager[int]]


@dataclass
class Stage:
    """One `FROM … AS name` with the instructions below it, in order, as (keyword, rest)."""

    base: str
    name: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def all(self, keyword: str) -> list[str]:
        return [rest for found, rest in self.instructions if found == keyword]

    def environment(self) -> dict[str, str]:
        words = (word for rest in self.all("ENV") for word in shlex.split(rest))
        return dict(word.split("=", 1) for word in words)


def stages(dockerfile: Path) -> list[Stage]:
    """Read a Dockerfile: comments dropped, continued lines joined."""
    lines = [line for line in dockerfile.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    found: list[Stage] = []
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        keyword, _, rest = line.strip().partition(" ")
        if keyword == "FROM":
            base, _, name = rest.partition(" AS ")
            found.append(Stage(base, name))
        elif keyword and found:
            found[-1].instructions.append((keyword, rest.strip()))
    return found


def left_out(path: str, patterns: list[str]) -> bool:
    """Whether .dockerignore leaves out a file: the last pattern that fits it or a folder above it decides."""
    above = path.split("/")
    parents = ["/".join(above[: i + 1]) for i in range(len(above))]
    out = False
    for pattern in patterns:
        keeps, bare = pattern.startswith("!"), pattern.removeprefix("!")
        regex = re.escape(bare).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*")
        if any(re.fullmatch(regex, parent) for parent in parents):
            out = not keeps
    return out


def context(root: Path) -> list[str]:
    """List what a build of `root` could copy, as paths relative to it."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    files = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in {".venv", ".git"}]
        files += [str((Path(folder) / name).relative_to(root)) for name in names]
    return sorted(file for file in files if not left_out(file, patterns))


@pytest.mark.parametrize("unwanted", [".git/HEAD", ".venv/bin/python", "tests/unit/test_a.py", "data/a.png"])
def test_a_build_cannot_see(unwanted: str) -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()

    assert left_out(unwanted, lines)


def test_a_build_sees_the_packages_and_what_describes_them_and_nothing_else(tmp_path: Path) -> None:
    wanted = {"app/main.py", "app/bundled/models/a/1/refiner.onnx", "model/card.py", "trainer/cli.py"}
    wanted |= {"pyproject.toml", "constraints.txt", "README.md", "LICENSE"}
    unwanted = {".env", "runs/0/last.pt", "docker-compose.yml", "app/__pycache__/main.pyc", "a.egg-info/x"}
    for file in wanted | unwanted:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()

    assert set(context(tmp_path)) == wanted


def test_the_images_hold_no_large_files() -> None:
    large = {file: (ROOT / file).stat().st_size for file in context(ROOT)}

    assert {file: size for file, size in large.items() if size > 5_000_000} == {}


@pytest.mark.parametrize("dockerfile", [APP, TRAINER], ids=["app", "trainer"])
def test_the_base_image_is_a_build_argument(dockerfile: Path) -> None:
    text = dockerfile.read_text(encoding="utf-8")

    assert re.search(r"^ARG BASE_IMAGE=\S+:\S+$", text, re.MULTILINE)
    assert [stage.base for stage in stages(dockerfile)] == ["${BASE_IMAGE}", "python", "python"]


@pytest.mark.parametrize("dockerfile", [APP, TRAINER], ids=["app", "trainer"])
def test_everything_that_is_copied_exists(dockerfile: Path) -> None:
    files = context(ROOT)
    sources = [word for stage in stages(dockerfile) for copy in stage.all("COPY") for word in _sources(copy)]

    assert len(sources) > 4
    for source in sources:
        assert any(file == source or file.startswith(f"{source}/") for file in files), source


@pytest.mark.parametrize("dockerfile", [APP, TRAINER], ids=["app", "trainer"])
def test_the_container_runs_as_a_fixed_user_without_rights(dockerfile: Path) -> None:
    last = stages(dockerfile)[-1]

    assert last.all("USER") == ["10001:10001"]
    (made,) = (run for run in last.all("RUN") if "useradd" in run)
    assert "--uid 10001" in made
    assert "--gid 10001" in made
    assert last.environment()["PYTHONDONTWRITEBYTECODE"] == "1"


@pytest.mark.parametrize("dockerfile", [APP, TRAINER], ids=["app", "trainer"])
def test_every_shell_command_parses(dockerfile: Path) -> None:
    for command in (command for stage in stages(dockerfile) for command in stage.all("RUN")):
        parsed = subprocess.run(["sh", "-n", "-c", command], capture_output=True, text=True, check=False)
        assert parsed.returncode == 0, f"{command}: {parsed.stderr}"


def test_compose_asks_the_same_health_question_as_the_image() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))

    kind, *command = compose["services"]["app"]["healthcheck"]["test"]
    assert (kind, command) == ("CMD", _health_command())


def test_the_health_check_tells_a_ready_service_from_one_that_is_not_there(
    tmp_path: Path, write_model: Callable[[Path], Path], serving: Serving
) -> None:
    write_model(tmp_path)
    healthy = [sys.executable, *_health_command()[1:]]

    with serving(tmp_path, words=tuple(_command()[1:])) as port:
        environment = {"SIMTRUE_PORT": str(port)}
        assert subprocess.run(healthy, env=environment, check=False).returncode == 0
    asked = subprocess.run(healthy, env=environment, capture_output=True, text=True, check=False)
    assert asked.returncode == 1
    assert "ConnectionRefusedError" in asked.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_service_image_runs_what_its_commands_install(
    tmp_path: Path, write_model: Callable[[Path], Path], serving: Serving
) -> None:
    """Build and final stage of the app image, in a folder instead of a container."""
    replay = Replay(APP, tmp_path)
    replay.build()
    if not any((tmp_path / "models").glob("*/*/refiner.onnx")):
        write_model(tmp_path / "models")
    before = _snapshot(tmp_path)
    entry, *words = _command()
    program = (str(tmp_path / "opt/simtrue/bin" / entry),)
    inside = replay.environment()

    assert replay.run(["python", "-c", "import torch"]).returncode == 1
    with serving(
        tmp_path / "models", words=tuple(words), program=program, environment=inside, cwd=tmp_path / "tmp"
    ) as port:
        assert replay.run(_health_command(), SIMTRUE_PORT=str(port)).returncode == 0
    assert _snapshot(tmp_path) == before, "the service writes outside /tmp, which is read-only in a container"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_trainer_image_runs_what_its_commands_install(tmp_path: Path) -> None:
    replay = Replay(TRAINER, tmp_path)
    replay.build()

    final = stages(TRAINER)[-1]
    helped = replay.run(json.loads(final.all("ENTRYPOINT")[0]) + json.loads(final.all("CMD")[0]))
    assert helped.returncode == 0, helped.stderr
    assert "fit" in helped.stdout


class Replay:
    """Runs a Dockerfile's commands as an ordinary user, with `/` standing for a folder.

    Left out is only what needs root: installing Debian packages and adding the user.
    """

    def __init__(self, dockerfile: Path, root: Path) -> None:
        self.root = root
        self.stages = stages(dockerfile)
        for folder in ("src", "tmp", "opt"):
            (root / folder).mkdir()

    def build(self) -> None:
        """Run every stage; raises CalledProcessError with the output of a command that fails."""
        for stage in self.stages:
            self.arguments = dict(given.split("=", 1) for given in stage.all("ARG"))
            for keyword, rest in stage.instructions:
                if keyword == "RUN" and not any(word in rest for word in NEEDS_ROOT):
                    self._shell(rest)
                elif keyword == "COPY" and "--from" not in rest:
                    self._copy(rest)

    def environment(self) -> dict[str, str]:
        inside = self.stages[-1].environment()
        places = {name: self._here(value) for name, value in inside.items()}
        return places | {"PATH": f"{self.root}/opt/simtrue/bin:/usr/bin:/bin"}

    def run(self, command: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
        program = shutil.which(command[0], path=self.environment()["PATH"])
        assert program is not None, f"the image has no {command[0]}"
        return subprocess.run(
            [program, *command[1:]],
            env=self.environment() | variables,
            cwd=self.root,
            capture_output=True,
            text=True,
            check=False,
        )

    def _shell(self, command: str) -> None:
        done = subprocess.run(
            ["sh", "-ec", self._here(command)],
            cwd=self.root / "src",
            env=os.environ | self.arguments,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"

    def _copy(self, rest: str) -> None:
        target = shlex.split(rest)[-1]
        for source in _sources(rest):
            origin = ROOT / source
            place = self.root / "src" if not target.startswith("/") else self.root
            if origin.is_dir():
                ignored = shutil.ignore_patterns("__pycache__", "*.pyc", "*.egg-info")
                shutil.copytree(origin, place / target.lstrip("/"), ignore=ignored, dirs_exist_ok=True)
            else:
                shutil.copy(origin, place / target)

    def _here(self, text: str) -> str:
        return re.sub(r"(?<![\w./])/(opt/simtrue|var/lib/simtrue|models|tmp)\b", rf"{self.root}/\1", text)


def _sources(copy: str) -> list[str]:
    """The paths in the build context that a COPY takes; none when it copies from another stage."""
    words = shlex.split(copy)
    return (
        [] if any(word.startswith("--from") for word in words) else [w for w in words[:-1] if w[:2] != "--"]
    )


def _command() -> list[str]:
    final = stages(APP)[-1]
    return [*json.loads(final.all("ENTRYPOINT")[0]), *json.loads(final.all("CMD")[0])]


def _health_command() -> list[str]:
    (check,) = stages(APP)[-1].all("HEALTHCHECK")
    command: list[str] = json.loads(check.partition("CMD ")[2])
    return command


def _snapshot(root: Path) -> dict[str, float]:
    """When every file below was last written, except in what stands for /tmp."""

    def files() -> Iterator[Path]:
        for top in ("opt", "models"):
            yield from (path for path in (root / top).rglob("*") if path.is_file())

    return {str(path): path.stat().st_mtime for path in files()}
