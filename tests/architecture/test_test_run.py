"""The switches of the test run, tried on a test run of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

SKIPS = {
    "plain": "import pytest\ndef test_a(): pytest.skip('no browser')",
    "whole_module": "import pytest\npytest.importorskip('no_such_package')",
    "by_mark": "import pytest\n@pytest.mark.skipif(True, reason='never')\ndef test_a(): ...",
}


def _run(folder: Path, test: str, *switches: str) -> tuple[int, str]:
    shutil.copy(ROOT / "conftest.py", folder)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = gpu: needs a GPU", encoding="utf-8")
    (folder / "test_it.py").write_text(f"{test}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *switches]
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return ran.returncode, ran.stdout


@pytest.mark.parametrize("kind", SKIPS)
def test_a_skip_fails_only_where_nothing_may_be_skipped(kind: str, tmp_path: Path) -> None:
    test = f"{SKIPS[kind]}\ndef test_b(): ..."

    assert _run(tmp_path, test)[0] in {0, 5}
    code, output = _run(tmp_path, test, "--no-skips")
    assert code in {1, 2}, output
    assert "Nothing may be skipped here" in output


def test_what_needs_a_gpu_may_always_be_skipped(tmp_path: Path) -> None:
    test = "import pytest\n@pytest.mark.gpu\ndef test_a(): pytest.skip('no GPU')"

    assert _run(tmp_path, test, "--no-skips")[0] == 0


def test_an_expected_failure_is_no_skip(tmp_path: Path) -> None:
    test = "import pytest\n@pytest.mark.xfail\ndef test_a(): assert False"

    assert _run(tmp_path, test, "--no-skips")[0] == 0


def test_slow_tests_run_only_when_asked_for(tmp_path: Path) -> None:
    test = "import pytest\n@pytest.mark.slow\ndef test_a(): ...\ndef test_b(): ..."

    assert "1 passed, 1 deselected" in _run(tmp_path, test)[1]
    assert "2 passed" in _run(tmp_path, test, "--slow")[1]
