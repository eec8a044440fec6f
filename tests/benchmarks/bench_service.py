"""Measures a real service on this machine: start, memory, and images per second. `make bench` runs it.

Everything goes through HTTP on 127.0.0.1 to a service in a process of its own. Numbers are
medians; `--quick` takes fewer of each.
"""

from __future__ import annotations

import argparse
import http.client
import io
import os
import platform
import re
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

BOUNDARY = "simtrue-bench"
GIVE_UP_S = 60


def main() -> None:
    """Run every measurement and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, help="model repository; the bundled one unless given")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    arguments = parser.parse_args()
    repeats = 3 if arguments.quick else 15
    starts_s = [_start_s(arguments.models) for _ in range(3)]
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    print(f"{machine}, Python {platform.python_version()}\n")
    print("| what | measured |\n| --- | --- |")
    print(f"| start to first refined image | {statistics.median(starts_s):.2f} s |")
    with _service(arguments.models) as service:
        print(f"| memory after the first image | {_memory_mib(service.pid):.0f} MiB |")
        for name, count, size in (
            ("one 32x32 image", 1, (32, 32)),
            ("64 images 32x32 in one request", 64, (32, 32)),
            ("one 288x288 image", 1, (288, 288)),
            ("one 3000x2000 image", 1, (3000, 2000)),
        ):
            took_s = _median_s(lambda count=count, size=size: _ask(service.port, count, size), repeats)
            print(f"| {name} | {1000 * took_s:.0f} ms |")
        rate = _images_per_second(service.port, 40 * repeats)
        print(f"| 32x32 images from 16 clients at once | {rate:.0f} per s |")
        print(f"| highest memory | {_memory_mib(service.pid, 'VmHWM'):.0f} MiB |")


@dataclass(frozen=True)
class Running:
    """A service that has refined one image."""

    pid: int
    port: int
    start_to_first_image_s: float


@contextmanager
def _service(models: Path | None) -> Iterator[Running]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    program = Path(sys.executable).with_name("simtrue")
    flags = ["--port", str(port), "--log-level", "error", *(["--models", str(models)] if models else [])]
    start_s = time.perf_counter()
    server = subprocess.Popen([program, "serve", *flags], stdout=subprocess.DEVNULL)
    try:
        _wait_for_first_image(server, port)
        yield Running(server.pid, port, time.perf_counter() - start_s)
    finally:
        server.terminate()
        server.wait(timeout=GIVE_UP_S)


def _wait_for_first_image(server: subprocess.Popen[bytes], port: int) -> None:
    give_up_s = time.perf_counter() + GIVE_UP_S
    while server.poll() is None and time.perf_counter() < give_up_s:
        try:
            return _ask(port, 1, (32, 32))
        except OSError:
            time.sleep(0.01)
    raise SystemExit("the service did not answer")


def _start_s(models: Path | None) -> float:
    with _service(models) as service:
        return service.start_to_first_image_s


def _median_s(work: Callable[[], None], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start_s = time.perf_counter()
        work()
        times.append(time.perf_counter() - start_s)
    return statistics.median(times)


def _images_per_second(port: int, count: int) -> float:
    start_s = time.perf_counter()
    with ThreadPoolExecutor(16) as clients:
        list(clients.map(lambda _: _ask(port, 1, (32, 32)), range(count)))
    return count / (time.perf_counter() - start_s)


def _ask(port: int, count: int, size: tuple[int, int]) -> None:
    """Refine `count` images of `size` (width, height) in one request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=GIVE_UP_S)
    try:
        headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        connection.request("POST", "/refine", _body(count, size), headers)
        answer = connection.getresponse()
        if answer.status != http.HTTPStatus.OK:
            raise SystemExit(f"{answer.status}: {answer.read()[:500]!r}")
        answer.read()
    finally:
        connection.close()


def _body(count: int, size: tuple[int, int]) -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="'
    parts = (
        f'{head}{i}.png"\r\nContent-Type: image/png\r\n\r\n'.encode() + _png(i, size) + b"\r\n"
        for i in range(count)
    )
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def _png(seed: int, size: tuple[int, int]) -> bytes:
    """A picture with structure: a random one of a tenth of the size, enlarged."""
    key = (seed, size)
    if key not in _PNGS:
        small = np.random.default_rng(seed).integers(0, 256, (max(2, size[1] // 10), max(2, size[0] // 10)))
        file = io.BytesIO()
        Image.fromarray(small.astype(np.uint8)).resize(size).save(file, "PNG")
        _PNGS[key] = file.getvalue()
    return _PNGS[key]


_PNGS: dict[tuple[int, tuple[int, int]], bytes] = {}


def _memory_mib(pid: int, what: str = "VmRSS") -> float:
    """Resident memory of a process; `VmHWM` is its highest. Linux only, elsewhere not a number."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return float("nan")
    found = re.search(rf"^{what}:\s+(\d+) kB", status.read_text(encoding="utf-8"), re.MULTILINE)
    return int(found.group(1)) / 1024 if found else float("nan")


if __name__ == "__main__":
    main()
