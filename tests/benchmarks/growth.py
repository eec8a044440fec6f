"""How the cost of an image grows: with its size, and with how many are in a request."""

from __future__ import annotations

from pathlib import Path

from load import measure, request
from servers import started

SIDES = (32, 64, 128, 256, 512, 1024, 2048)
BATCHES = (1, 4, 16, 64)

Growth = dict[str, list[tuple[float, float]]]
SIZE = "CPU µs a pixel, by the side of one image, px"
BATCH = "CPU ms an image, by images of 35x55 in a request"


def measure_growth(model: Path, threads: int, seconds: float, *, most_side: int) -> Growth:
    """CPU time of the service per pixel and per image; the session's share is in it."""
    growth: Growth = {SIZE: [], BATCH: []}
    with started("simtrue", model, threads, None) as server:
        for side in (side for side in SIDES if side <= most_side):
            message = request("image", size=(side, side))
            found = measure(server, message, images=1, clients=1, seconds=seconds)
            growth[SIZE].append((side, 1000 * found.cpu_ms / side**2))
        for batch in BATCHES:
            found = measure(server, request("image", batch), images=batch, clients=4, seconds=seconds)
            growth[BATCH].append((batch, found.cpu_ms))
    return growth


def growth_table(growth: Growth) -> str:
    """One table for each."""
    tables = []
    for title, points in growth.items():
        heads = " | ".join(f"{at:g}" for at, _ in points)
        values = " | ".join(f"{value:.3g}" for _, value in points)
        tables.append(f"{title}\n\n| {heads} |\n|{' --- |' * len(points)}\n| {values} |\n")
    return "\n".join(tables)
