"""A real service in a process of its own, for tests that look at it from outside."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
START_S = 60
STOP_S = 60

Serving = Callable[..., AbstractContextManager[int]]


@contextlib.contextmanager
def _serving(
    models: Path,
    *,
    words: tuple[str, ...] = ("serve",),
    program: tuple[str, ...] = (
        sys.executable,
        "-c",
        "import sys; from app.cli import main; sys.exit(main())",
    ),
    environment: dict[str, str] | None = None,
    cwd: Path = ROOT,
) -> Iterator[int]:
    """Run `simtrue serve` with `words`, ready inside the block on the yielded port of 127.0.0.1.

    `environment` replaces this process's own. After the block the service gets SIGTERM and must end with 0.
    """
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    variables = {"SIMTRUE_MODELS": str(models), "SIMTRUE_PORT": str(port)}
    server = subprocess.Popen(
        [*program, *words],
        env=(os.environ if environment is None else environment) | variables,
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        _wait_until_ready(server, port)
        yield port
    finally:
        server.terminate()
        try:
            output = server.communicate(timeout=STOP_S)[0]
        finally:
            server.kill()
    assert server.returncode == 0, output


@pytest.fixture(scope="session")
def serving() -> Serving:
    """The context manager `_serving`: `with serving(models) as port: …`."""
    return _serving


def _wait_until_ready(server: subprocess.Popen[str], port: int) -> None:
    give_up = time.monotonic() + START_S
    while not _ready(port):
        if time.monotonic() > give_up or server.poll() is not None:
            server.kill()
            pytest.fail(f"the service did not get ready:\n{server.communicate()[0]}")
        time.sleep(0.05)


def _ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
