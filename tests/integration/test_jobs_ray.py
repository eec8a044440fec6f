"""A job whose chunks are refined in a Ray cluster of two machines, of which one is lost."""

from __future__ import annotations

import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
STORE_BYTES = 80 << 20
Replicas = Callable[..., Any]
Truth = tuple[dict[str, bytes], bytes]


@contextmanager
def cluster(models: Path, client_port: int) -> Iterator[Any]:
    """Two machines that are none: each has a raylet of its own, room for one worker, and nothing to spare."""
    from ray.cluster_utils import Cluster

    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # paths of sockets must be short
    environment = {
        "SIMTRUE_MODELS": str(models),
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "ignore",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    with pytest.MonkeyPatch.context() as patched:
        for name, value in environment.items():
            patched.setenv(name, value)
        head = {"num_cpus": 1, "num_gpus": 0, "object_store_memory": STORE_BYTES, "temp_dir": folder}
        head |= {"ray_client_server_port": client_port, "include_dashboard": False}
        machines = Cluster(initialize_head=True, head_node_args=head)
        try:
            machines.lost_one = machines.add_node(num_cpus=1, num_gpus=0, object_store_memory=STORE_BYTES)
            yield machines
        finally:
            machines.shutdown()
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.mark.timeout(600)
def test_a_machine_is_lost_and_nothing_else(
    replicas: Replicas, slow_models: Path, labelled_set: bytes, undisturbed: Truth, port: int
) -> None:
    """Both work, one is lost, the other does what is left: the result is that of an undisturbed service."""
    with cluster(slow_models, port) as machines:
        service = replicas(executor="ray", ray_address=f"ray://127.0.0.1:{port}", job_chunk_files=5)
        job = service.submit(labelled_set)
        service.until(job, lambda _: service.said().count("is ready (cpu, 1 threads)") == 2)
        service.until(job, lambda job: job["done"] > 10)
        before = service.records(job)
        machines.remove_node(machines.lost_one, allow_graceful=False)
        service.until(job, lambda _: "is begun again" in service.said())
        kept = service.records(job)
        result, manifest = service.finished(job)

    assert before.items() <= kept.items(), "a chunk that was done was done again"
    assert (result, manifest) == undisturbed
    assert service.job(job)["counts"]["failed"] == 0
