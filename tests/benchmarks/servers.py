"""The servers that are compared: how each is started for a model, and whether it can be here."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from load import ROOT, Server, request, running

PEERS = Path(__file__).parent / "peers"
SIMTRUE = [sys.executable, "-c", "from app.cli import main; main()", "serve", "--log-level", "warning"]
NAMES = ("simtrue", "plain FastAPI", "LitServe", "mosec")


@contextlib.contextmanager
def started(name: str, model: Path, threads: int, peers: Path | None) -> Iterator[Server]:
    """One server of NAMES; `model` is NAME/VERSION/refiner.onnx, `peers` the Python that has the others."""
    command, environment = _program(name, model, threads, peers)
    with running(command, environment, request("image")) as server:
        yield server


def can_run(name: str, peers: Path | None) -> bool:
    """Whether the server is installed."""
    module = {"LitServe": "litserve", "mosec": "mosec"}.get(name)
    if module is None:
        return True
    return (
        peers is not None
        and not subprocess.run(
            [peers, "-c", f"import {module}"], stderr=subprocess.DEVNULL, check=False
        ).returncode
    )


def _program(name: str, model: Path, threads: int, peers: Path | None) -> tuple[list[str], dict[str, str]]:
    flags = [str(model), "--threads", str(threads)]
    if name == "simtrue":
        root = model.parents[2]
        environment = {"SIMTRUE_THREADS": str(threads), "SIMTRUE_DATA": str(root / "data")}
        return [*SIMTRUE, "--device", "cpu", "--models", str(root)], environment
    if name == "plain FastAPI":
        return [sys.executable, str(PEERS / "plain_server.py"), *flags], {"PYTHONPATH": str(ROOT)}
    assert peers is not None
    if name == "LitServe":
        return [str(peers), str(PEERS / "litserve_server.py"), *flags], {}
    workers = max(1, len(os.sched_getaffinity(0)))  # one thread each: mosec's way to use several cores
    environment = {"PEER_MODEL": str(model), "PEER_THREADS": "1", "PEER_WORKERS": str(workers)}
    return [str(peers), str(PEERS / "mosec_server.py")], environment
