"""How the cost of an image grows: with its size, and with how many are in a request or a dataset job."""

from __future__ import annotations

import tempfile
from pathlib import Path

from job_runs import Service, write_set
from load import measure, processor_s, request
from servers import started

SIDES = (32, 64, 128, 256, 512, 1024, 2048)
BATCHES = (1, 4, 16, 64)
LENGTHS = (64, 256, 1024, 4096)

Growth = dict[str, list[tuple[float, float]]]
SIZE = "CPU µs a pixel, by the side of one image, px"
BATCH = "CPU ms an image, by images of 35x55 in a request"
LENGTH = "CPU ms an image, by images of 32x32 with labels in a dataset job"


def measure_growth(model: Path, threads: int, seconds: float, *, most_side: int, longest_job: int) -> Growth:
    """CPU time of the service per pixel and per image; the session's share is in it."""
    growth: Growth = {SIZE: [], BATCH: [], LENGTH: []}
    with started("simtrue", model, threads, None) as server:
        for side in (side for side in SIDES if side <= most_side):
            message = request("image", size=(side, side))
            found = measure(server, message, images=1, clients=1, seconds=seconds)
            growth[SIZE].append((side, 1000 * found.cpu_ms / side**2))
        for batch in BATCHES:
            found = measure(server, request("image", batch), images=batch, clients=4, seconds=seconds)
            growth[BATCH].append((batch, found.cpu_ms))
    lengths = [length for length in LENGTHS if length <= longest_job]
    growth[LENGTH] += _measure_jobs(model, threads, lengths)
    return growth


def _measure_jobs(model: Path, threads: int, lengths: list[int]) -> list[tuple[float, float]]:
    """Upload, refining and the packed result; the first job, which is not counted, warms up."""
    points: list[tuple[float, float]] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        Service(Path(folder) / "data", threads=threads, models=model.parents[2]) as service,
    ):
        for length in (lengths[0], *lengths):
            archive = Path(folder) / f"{length}.zip"
            write_set(archive, length, labels=True)
            before_s = processor_s(service.pid)
            service.finished(service.submit(archive)["id"], every_s=0.2)
            points.append((length, 1000 * (processor_s(service.pid) - before_s) / length))
    return points[1:]


def growth_table(growth: Growth) -> str:
    """One table for each."""
    tables = []
    for title, points in growth.items():
        heads = " | ".join(f"{at:g}" for at, _ in points)
        values = " | ".join(f"{value:.3g}" for _, value in points)
        tables.append(f"{title}\n\n| {heads} |\n|{' --- |' * len(points)}\n| {values} |\n")
    return "\n".join(tables)
