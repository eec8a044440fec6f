"""Who may import whom, and a service that starts where torch does not exist."""

from __future__ import annotations

import ast
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

SERVE_WITHOUT_TRAINING_PACKAGES = """
import http.client, io, os, signal, sys, threading, time

class Forbidden:
    names = {"torch", "onnx", "onnxscript", "tensorboard", "trainer"}
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ImportError(f"{name} is not for the service")

sys.meta_path.insert(0, Forbidden())

import httpx
from PIL import Image

models, port = sys.argv[1:]
image = io.BytesIO()
Image.new("L", (9, 7), 100).save(image, "PNG")
answers = []

def visit():
    try:
        client = httpx.Client(base_url=f"http://127.0.0.1:{port}", transport=httpx.HTTPTransport(retries=8))
        files = {"image": ("a.png", image.getvalue(), "image/png")}
        answers.append(client.post("/refine", files=files, headers={"Accept": "image/*"}))
    finally:
        os.kill(os.getpid(), signal.SIGTERM)

from app.cli import main

threading.Thread(target=visit, daemon=True).start()
sys.argv = ["simtrue", "serve", "--models", models, "--port", port, "--device", "cpu"]
try:
    main()
except SystemExit as stop:
    assert not stop.code, stop.code
(answer,) = answers
assert answer.status_code == 200, answer.text
assert Image.open(io.BytesIO(answer.content)).getpixel((0, 0)) == 110
print("refined")
"""


def _python(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_import_contracts_of_pyproject_hold() -> None:
    linted = _python(
        "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()", "--no-cache"
    )

    assert linted.returncode == 0, linted.stdout + linted.stderr


def test_the_service_refines_where_nothing_of_training_can_be_imported(
    tmp_path: Path, write_model: Callable[[Path], Path]
) -> None:
    write_model(tmp_path)

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]

    served = _python("-c", SERVE_WITHOUT_TRAINING_PACKAGES, str(tmp_path), str(port))

    assert served.stdout.endswith("refined\n"), served.stdout + served.stderr


@pytest.mark.parametrize("package", ["app", "model", "trainer"])
def test_packages_re_export_nothing(package: str) -> None:
    """A re-exported network would pass every import contract and still load torch."""
    for file in (ROOT / package).rglob("__init__.py"):
        body = ast.parse(file.read_text(encoding="utf-8")).body
        code = [node for node in body if not isinstance(node, ast.Expr)]
        assert code == [], f"{file.relative_to(ROOT)} holds more than its docstring"
