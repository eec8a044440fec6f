"""The interactive API page in a real browser that reaches nothing but the service."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

pytestmark = pytest.mark.browser

NOT_TO_THE_NETWORK = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)


def _rendered(url: str, profile: Path) -> str:
    """The document that headless Chromium makes of a page, scripts run, as HTML."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("there is no Chromium on this machine")
    looked = subprocess.run(
        [
            *(browser, "--headless", "--no-sandbox", "--disable-gpu", *NOT_TO_THE_NETWORK),
            *(f"--user-data-dir={profile}", "--virtual-time-budget=20000", "--dump-dom", url),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return looked.stdout


def test_the_api_page_renders_without_the_internet(
    tmp_path: Path,
    write_model: Callable[[Path], Path],
    serving: Callable[[Path], AbstractContextManager[int]],
) -> None:
    write_model(tmp_path / "models")

    with serving(tmp_path / "models") as port:
        page = _rendered(f"http://127.0.0.1:{port}/docs", tmp_path / "profile")

    assert "opblock-summary-path" in page, "Swagger UI did not draw the operations"
    assert 'data-path="/refine"' in page
