"""A job whose chunks are refined in a Ray cluster of two machines, of which one is lost."""

from __future__ import annotations

import gc
import re
import shutil
import socket
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.jobs.executors.local import CHUNKS_AT_ONCE

ROOT = Path(__file__).resolve().parents[2]
STORE_BYTES = 80 << 20
IMAGES = 60
CHUNK = 5
Replicas = Callable[..., Any]
Truth = tuple[dict[str, bytes], bytes]

pytestmark = [
    pytest.mark.timeout(600),  # where other programs are at work, Ray takes minutes to start
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
]


@dataclass(frozen=True)
class Machines:
    """A head with room for one worker, and another machine with room for one."""

    ray: Any
    other: Any
    settings: dict[str, object]

    def halt_the_other(self) -> psutil.Process:
        """Its worker takes chunks from now on, but never ends one; what else Ray runs there goes on."""
        raylet = psutil.Process(self.other.all_processes["raylet"][0].process.pid)
        (worker,) = (child for child in raylet.children() if child.cmdline()[0] == "ray::RayWorker")
        worker.suspend()
        return worker

    def lose_the_other(self, halted: psutil.Process) -> None:
        """The worker first: Linux wakes a halted process whose parent ends, and it would end its chunks."""
        halted.kill()
        self.ray.remove_node(self.other, allow_graceful=False)


@pytest.fixture(scope="module")
def machines(
    slow_models: Path, s3_endpoint: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Machines]:
    """Machines that are none: each has a raylet of its own, and nothing to spare."""
    port, files = _free_port(), tmp_path_factory.mktemp("ray")
    (files / "ray").mkdir()  # Ray writes its address there, and makes the folder only in other ways to start
    environment = {
        "RAY_TMPDIR": str(files),
        "SIMTRUE_MODELS": str(slow_models),
        "PYTHONPATH": str(ROOT),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",  # as on machines that do nothing else
    }
    with pytest.MonkeyPatch.context() as patched, _short_folder() as folder:
        for name, value in environment.items():
            patched.setenv(name, value)
        with _cluster(folder, port) as ray:
            other = ray.add_node(num_cpus=1, num_gpus=0, object_store_memory=STORE_BYTES)
            yield Machines(ray, other, {"executor": "ray", "ray_address": f"ray://127.0.0.1:{port}"})


@contextmanager
def _cluster(folder: str, port: int) -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    size = {"num_cpus": 1, "num_gpus": 0, "object_store_memory": STORE_BYTES, "temp_dir": folder}
    head = size | {"ray_client_server_port": port, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        yield cluster
    finally:
        cluster.shutdown()
        del cluster
        with warnings.catch_warnings(action="ignore"):  # Ray leaves its files to the collector
            gc.collect()


@contextmanager
def _short_folder() -> Iterator[str]:
    """Paths of sockets may have at most 107 characters."""
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def test_a_set_in_s3_is_refined_into_s3(  # noqa: PLR0917 (they are fixtures)
    replicas: Replicas,
    machines: Machines,
    labelled_set: bytes,
    undisturbed: Truth,
    s3_client: Any,
    bucket: str,
    s3_endpoint: str,
    unpacked: Callable[[bytes], dict[str, bytes]],
) -> None:
    """No image passes through a folder, so that workers need not share one."""
    whole = unpacked(labelled_set)
    some = {name: whole[name] for name in whole if "/" not in name or "/00" in name or "/01" in name}
    for name, data in some.items():
        s3_client.put_object(Bucket=bucket, Key=f"set/{name}", Body=data)
    places = {"s3_prefixes": f"s3://{bucket}/set", "s3_destination_prefixes": f"s3://{bucket}/refined"}
    service = replicas(**machines.settings, **places, s3_endpoint=s3_endpoint, job_chunk_files=10)

    job = service.submit(source=f"s3://{bucket}/set", destination=f"s3://{bucket}/refined")
    service.until(job, lambda job: job["state"] == "done")

    listed = s3_client.list_objects_v2(Bucket=bucket, Prefix="refined/")["Contents"]
    keys = [entry["Key"] for entry in listed]
    bodies = (s3_client.get_object(Bucket=bucket, Key=key)["Body"] for key in keys)
    result = {key.removeprefix("refined/"): body.read() for key, body in zip(keys, bodies, strict=True)}
    assert result == {name: undisturbed[0][name] for name in some}
    assert not list((service.data / "jobs" / job).rglob("*.png"))


def test_a_machine_is_lost_and_nothing_else(
    replicas: Replicas, machines: Machines, labelled_set: bytes, undisturbed: Truth
) -> None:
    """Both have work, one is lost, the other does it all: the result is that of an undisturbed service."""
    service = replicas(**machines.settings, job_chunk_files=CHUNK)
    first = service.submit(labelled_set)
    ready = re.compile(r"(\S+) is ready \(cpu, 1 threads\)")
    # By name: a worker that was lost in between is ready a second time.
    service.whenever(lambda: len(set(ready.findall(service.said()))) == 2)
    service.finished(first)
    halted = machines.halt_the_other()
    job = service.submit(labelled_set)
    service.until(job, lambda job: job["done"] >= IMAGES - CHUNKS_AT_ONCE * CHUNK)

    before = service.records(job)
    machines.lose_the_other(halted)
    service.until(job, lambda _: "is begun again" in service.said())
    kept = service.records(job)
    result, manifest = service.finished(job)

    assert before.items() <= kept.items(), "a chunk that was done was done again"
    assert (result, manifest) == undisturbed
    assert service.job(job)["counts"]["failed"] == 0
