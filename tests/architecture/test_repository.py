"""What the files of this repository may be called, hold and weigh."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MAX_BYTES = 5_000_000
MAX_LINES = 400
MAX_TEST_LINES = 600
MAX_FUNCTION_LINES = 60
FORBIDDEN_NAMES = {"utils", "util", "helpers", "common", "manager", "base", "misc"}
# In pieces, so that this file does not hold what it looks for.
ELSEWHERE = re.compile(
    rb"(?<![\w.:/<}-])/(?:"
    + b"|".join([b"wor" + b"k/", b"roo" + b"t/", b"hom" + b"e/", b"User" + b"s/", b"mn" + b"t/"])
    + b")"
)


def _files() -> list[Path]:
    """Every file that is tracked or would be, except what git ignores."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    files = [ROOT / name for name in listed.stdout.split("\0") if name]
    return [file for file in files if file.is_file()]


FILES = _files()
MODULES = [file for file in FILES if file.suffix == ".py"]


def _name(file: Path) -> str:
    return str(file.relative_to(ROOT))


def _first_words(module: Path) -> str:
    docstring = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n\n")[0]


def test_no_file_names_a_place_on_one_machine() -> None:
    found = {_name(file): match.group() for file in FILES if (match := ELSEWHERE.search(file.read_bytes()))}

    assert found == {}


def test_no_file_is_large() -> None:
    assert {_name(file): size for file in FILES if (size := file.stat().st_size) > MAX_BYTES} == {}


def test_a_module_says_in_its_first_sentence_what_it_owns() -> None:
    product = [file for file in MODULES if file.relative_to(ROOT).parts[0] in {"app", "model", "trainer"}]
    words = {_name(file): _first_words(file) for file in product}

    assert len(words) > 20
    assert {name for name, first in words.items() if not first.endswith(".")} == set()


def test_no_module_is_longer_than_can_be_read() -> None:
    lengths = {_name(file): len(file.read_text(encoding="utf-8").splitlines()) for file in MODULES}

    most = {name: MAX_TEST_LINES if name.startswith("tests/") else MAX_LINES for name in lengths}
    assert {name: lines for name, lines in lengths.items() if lines > most[name]} == {}


def test_no_function_is_longer_than_can_be_read() -> None:
    found = {
        f"{_name(file)}:{node.lineno} {node.name}": node.end_lineno - node.lineno + 1
        for file in MODULES
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None
    }

    assert {name: lines for name, lines in found.items() if lines > MAX_FUNCTION_LINES} == {}


def test_no_module_is_named_after_nothing() -> None:
    assert [_name(file) for file in MODULES if FORBIDDEN_NAMES & {*file.parts, file.stem}] == []


def test_no_test_package_hides_a_real_one() -> None:
    tests = [file for file in FILES if file.is_relative_to(ROOT / "tests")]

    assert [_name(file) for file in tests if file.name == "__init__.py"] == []
    assert [_name(file) for file in tests if file.parent.name in {"app", "model", "trainer"}] == []
