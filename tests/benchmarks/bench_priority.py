"""What requests feel of background work, and it of them: ratios within one run, on this machine.

    python tests/benchmarks/bench_priority.py --models FOLDER     # prints one JSON object, in under a minute

A real service behind a socket answers one client in another process, which pauses a little after every
request: alone first, then while the service is saturated with background images as a job would send them.
Numbers are milliseconds and, under `times_idle`, those over the ones of the idle service; `background` tells
how many images per second the saturating work gets through alone and beside that client.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import io
import itertools
import json
import multiprocessing
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from PIL import Image

from app.delivery import ImageJob
from app.main import create_app
from app.options import RefineOptions
from app.pixel_budget import PixelBudget
from app.refinement import refine_image
from app.services import Services, open_services
from app.settings import load_settings

SIDES = (32, 256)
PHASE_S = 5.0
LONGEST_PAUSE_S = 0.1
FORM = "simtrue-bench"


def main() -> None:
    """Measure every pair of sizes and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, help="model repository; the bundled one unless given")
    parser.add_argument("--background-batch-pixels", type=int, help="the setting; its default unless given")
    parser.add_argument("--seconds", type=float, default=PHASE_S, help="of each of ten phases")
    chosen = {name: value for name, value in vars(parser.parse_args()).items() if value is not None}
    seconds = chosen.pop("seconds")
    with (
        multiprocessing.get_context("spawn").Pool(1) as client,
        open_services(load_settings(device="cpu", **chosen)) as services,
        _served(services) as server,
    ):
        print(json.dumps(_measure(server, client, seconds), indent=1))


@dataclass
class Server:
    """The service in a thread of this process, with the loop that its requests and its jobs run in."""

    services: Services
    port: int
    loop: asyncio.AbstractEventLoop
    done: int = 0
    """Background images refined so far."""


def _measure(server: Server, client: Pool, seconds: float) -> dict[str, Any]:
    idle = {side: _latencies_ms(server, client, side, seconds) for side in SIDES}
    found: dict[str, Any] = {"idle": {f"{side}x{side}": _summary(idle[side]) for side in SIDES}}
    for background_side in SIDES:
        with _saturated(server, background_side):
            alone = _rate(server, lambda: time.sleep(seconds))
            for side in SIDES:
                busy: list[float] = []
                beside = _rate(server, lambda: busy.extend(_latencies_ms(server, client, side, seconds)))  # noqa: B023
                found[f"{side}x{side} beside {background_side}x{background_side}"] = {
                    **_summary(busy),
                    "times_idle": _ratios(busy, idle[side]),
                    "background": {"alone_per_s": round(alone, 1), "share_left": round(beside / alone, 2)},
                }
    return found


def _rate(server: Server, work: Callable[[], object]) -> float:
    """Background images per second while `work` runs."""
    before, begun_s = server.done, time.perf_counter()
    work()
    return (server.done - before) / (time.perf_counter() - begun_s)


def _summary(times_ms: list[float]) -> dict[str, float]:
    return {"requests": len(times_ms)} | {f"p{q}_ms": round(_quantile(times_ms, q), 1) for q in (50, 99)}


def _ratios(busy_ms: list[float], idle_ms: list[float]) -> dict[str, float]:
    return {f"p{q}": round(_quantile(busy_ms, q) / _quantile(idle_ms, q), 2) for q in (50, 99)}


def _quantile(values: list[float], percent: int) -> float:
    return float(np.percentile(values, percent))


# --- the client, in a process of its own -------------------------------------------------------------------


def _latencies_ms(server: Server, client: Pool, side: int, seconds: float) -> list[float]:
    return client.apply(ask_again_and_again, (server.port, _png(side), seconds))


def ask_again_and_again(port: int, image: bytes, seconds: float) -> list[float]:
    """Refine one image per request until the time is over; the milliseconds that each took."""
    pauses = random.Random(0)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    head = f'--{FORM}\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
    body = head.encode() + image + f"\r\n--{FORM}--\r\n".encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={FORM}"}
    times_ms = []
    end_s = time.perf_counter() + seconds
    while time.perf_counter() < end_s:
        begun_s = time.perf_counter()
        connection.request("POST", "/refine", body, headers)
        answer = connection.getresponse()
        answer.read()
        times_ms.append(1000 * (time.perf_counter() - begun_s))
        assert answer.status == http.HTTPStatus.OK
        time.sleep(pauses.uniform(0, LONGEST_PAUSE_S))
    connection.close()
    return times_ms


# --- the service and its background work -------------------------------------------------------------------


@contextmanager
def _served(services: Services) -> Iterator[Server]:
    config = uvicorn.Config(create_app(services), port=0, log_config=None, access_log=False, lifespan="off")
    http_server, loop = uvicorn.Server(config), asyncio.new_event_loop()
    thread = threading.Thread(target=lambda: loop.run_until_complete(http_server.serve()))
    thread.start()
    while not http_server.started:
        time.sleep(0.005)
    try:
        yield Server(services, http_server.servers[0].sockets[0].getsockname()[1], loop)
    finally:
        http_server.should_exit = True
        thread.join()
        loop.close()


@contextmanager
def _saturated(server: Server, side: int) -> Iterator[None]:
    """Keep as many background images on their way as two full batches have."""
    settings = server.services.settings
    at_once = max(2, min(2 * settings.max_batch_images, 2 * settings.max_batch_pixels // side**2))
    job = ImageJob(
        0, "a.png", _png(side), side * side, None, server.services.models.get(), RefineOptions(),
        lambda _: None, None, True,
    )  # fmt: skip
    budget = PixelBudget(settings.max_pixels)

    async def work() -> None:
        for _ in itertools.count():
            await refine_image(server.services, job, budget)
            server.done += 1

    async def start() -> list[asyncio.Task[None]]:
        return [asyncio.create_task(work()) for _ in range(at_once)]

    async def stop(working: list[asyncio.Task[None]]) -> None:
        for task in working:
            task.cancel()
        await asyncio.wait(working)

    working = asyncio.run_coroutine_threadsafe(start(), server.loop).result()
    time.sleep(1)  # until it flows
    try:
        yield
    finally:
        asyncio.run_coroutine_threadsafe(stop(working), server.loop).result()


def _png(side: int) -> bytes:
    """A grey picture with structure: a random one of a tenth of the size, enlarged."""
    small = np.random.default_rng(side).integers(0, 256, (side // 10, side // 10)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(small).resize((side, side)).save(file, "PNG")
    return file.getvalue()


if __name__ == "__main__":
    main()
