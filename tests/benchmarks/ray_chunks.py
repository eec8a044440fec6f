"""What a chunk costs through Ray, beside the same chunk in this process."""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import statistics
import sys
import tempfile
import time
from pathlib import Path

from app.datasets.folder_place import FolderPlace
from app.datasets.set_plan import PlannedFile
from app.errors import ClusterUnavailable
from app.jobs.chunk import ChunkWork
from app.jobs.driver import Executor
from app.jobs.executors.local import LocalExecutor
from app.jobs.executors.ray import RayExecutor
from app.jobs.executors.ray_cluster import RayCluster
from app.jobs.request import JobRequest, PinnedModel
from app.services import Services, open_services
from app.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
FILES = 128


def main() -> None:
    """Copy chunks of small files both ways by turns, and print milliseconds per chunk."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunks", type=int, default=40, help="chunks each way [40]")
    chunks = parser.parse_args().chunks
    os.environ |= {"PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
    from ray.cluster_utils import Cluster

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    head = {"num_cpus": 1, "ray_client_server_port": port, "object_store_memory": 80 << 20}
    cluster = Cluster(initialize_head=True, head_node_args=head | {"include_dashboard": False})
    settings = Settings(executor="ray", ray_address=f"ray://127.0.0.1:{port}", device="cpu")
    try:
        with tempfile.TemporaryDirectory() as folder, open_services(settings) as services:
            asyncio.run(_compare(services, Path(folder), chunks))
    finally:
        cluster.shutdown()


async def _compare(services: Services, folder: Path, chunks: int) -> None:
    work = _work(services, folder)
    through_ray = RayExecutor(RayCluster(services.settings), clock_s=time.monotonic)
    ways: dict[str, Executor] = {"local": LocalExecutor(services), "through Ray": through_ray}
    took_ms: dict[str, list[float]] = {name: [] for name in ways}
    await _until_it_works(through_ray, work)
    for _ in range(chunks):
        for name, executor in ways.items():
            begun_s = time.perf_counter()
            await executor.refine(work)
            took_ms[name].append((time.perf_counter() - begun_s) * 1000)
    await through_ray.close()
    for name, times_ms in took_ms.items():
        median_ms, least_ms = statistics.median(times_ms), min(times_ms)
        sys.stdout.write(f"{name:12} {FILES} files: median {median_ms:.1f} ms, least {least_ms:.1f} ms\n")


async def _until_it_works(executor: Executor, work: ChunkWork) -> None:
    """Ray's client port opens some seconds after the cluster is there, and a worker loads its models."""
    while True:
        try:
            await executor.refine(work)
        except ClusterUnavailable:
            await asyncio.sleep(1)
        else:
            return


def _work(services: Services, folder: Path) -> ChunkWork:
    source, target = FolderPlace(folder / "source"), FolderPlace(folder / "result")
    names = [f"labels/{number:06}.txt" for number in range(FILES)]
    for name in names:
        source.write(name, b"0 0.5 0.5 0.4 0.4\n")
    model = services.models.get()
    pinned = PinnedModel(name=model.name, version=model.version, sha256=model.sha256)
    files = [PlannedFile("copy", name, name) for name in names]
    request = JobRequest(model=pinned, destination=target.uri)
    return ChunkWork("benchmark", 0, request, source, target, files)


if __name__ == "__main__":
    main()
