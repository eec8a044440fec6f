"""What every benchmark of a server shares: its process, the same client, requests, a model that does nothing.

Counted are user and system seconds of the whole process tree of a server, and the memory that is its own.
Linux only: all of it is read from /proc.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
HEIGHT, WIDTH = 35, 55
BOUNDARY = b"simtrue-benchmark"
ANNOTATIONS = {
    "image": None,
    "image and JSON": {"scene": {"gaze": [0.1, -0.2], "lamp": 3}, "objects": []},
    "image and a measured box": {"objects": [{"label": "pupil", "box": [20.5, 9.0, 36.25, 25.5]}]},
}
READY_S = 60
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Server:
    """A started server that answers."""

    pid: int
    port: int


@dataclass(frozen=True)
class Measured:
    """What one run of a load took; `cpu_ms` is per image."""

    cpu_ms: float
    images_per_s: float
    p50_ms: float
    p99_ms: float
    memory_mib: float


class NoAnswer(Exception):
    """A server that does not start, or answers something else than a refined image."""


@contextlib.contextmanager
def running(
    command: list[str], environment: dict[str, str], ready: bytes, folder: Path = ROOT
) -> Iterator[Server]:
    """Start `command --port PORT`, wait until it answers the request `ready`, and end its whole group."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [*command, "--port", str(port)],
            cwd=folder,
            env=os.environ | environment,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
        try:
            if not _answers(process, port, ready):
                said.seek(0)
                raise NoAnswer(f"{command} does not answer: {said.read()[-2000:].decode(errors='replace')}")
            yield Server(process.pid, port)
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """The whole group, softly, then not."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=10)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _answers(process: subprocess.Popen[bytes], port: int, message: bytes) -> bool:
    give_up_s = time.perf_counter() + READY_S
    while process.poll() is None and time.perf_counter() < give_up_s:
        with contextlib.suppress(OSError, NoAnswer):
            asyncio.run(send(port, message, clients=1, requests=1))
            return True
        time.sleep(0.1)
    return False


def measure(server: Server, message: bytes, *, images: int, clients: int, seconds: float) -> Measured:
    """Load a server for `seconds`, after a third of that to get warm; `images` are in each request."""
    asyncio.run(send(server.port, message, clients=clients, seconds=seconds / 3))
    before_s, start_s = processor_s(server.pid), time.perf_counter()
    took_s = sorted(asyncio.run(send(server.port, message, clients=clients, seconds=seconds)))
    wall_s, used_s = time.perf_counter() - start_s, processor_s(server.pid) - before_s
    count = len(took_s) * images
    return Measured(
        1000 * used_s / count,
        count / wall_s,
        1000 * took_s[len(took_s) // 2],
        1000 * took_s[len(took_s) * 99 // 100],
        memory_mib(server.pid),
    )


async def send(
    port: int, message: bytes, *, clients: int, seconds: float | None = None, requests: int | None = None
) -> list[float]:
    """Seconds of every request; each client sends its next one as soon as it has its answer.

    Ends after so many seconds, or so many requests; what is on its way then is waited for.
    """
    loop = asyncio.get_running_loop()
    took_s: list[float] = []
    end_s = None if seconds is None else time.perf_counter() + seconds
    left = iter(range(requests)) if requests is not None else _until(end_s)
    made = [
        await loop.create_connection(lambda: _Client(message, left, took_s), "127.0.0.1", port)
        for _ in range(clients)
    ]
    for _, client in made:
        client.send()
    await asyncio.gather(*(client.done for _, client in made))
    for transport, _ in made:
        transport.close()
    return took_s


def _until(end_s: float | None) -> Iterator[None]:
    while end_s is None or time.perf_counter() < end_s:
        yield None


_NOTHING = object()


class _Client(asyncio.Protocol):
    """One connection that stays open; looks for as little of an answer as it can."""

    def __init__(self, message: bytes, left: Iterator[object], took_s: list[float]) -> None:
        self._message, self._left, self._took_s = message, left, took_s
        self._received = b""
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def send(self) -> None:
        """Send the next request, if there is one left."""
        if next(self._left, _NOTHING) is _NOTHING:
            self.done.set_result(None)
            return
        self._sent_s = time.perf_counter()
        self._transport.write(self._message)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, blank, body = self._received.partition(b"\r\n\r\n")
        length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
        if not blank or length is None or len(body) < int(length.group(1)):
            return
        if not head.startswith(b"HTTP/1.1 200"):
            self.done.set_exception(NoAnswer(f"{head[:300]!r} {body[:300]!r}"))
            return
        self._took_s.append(time.perf_counter() - self._sent_s)
        self._received = b""
        self.send()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(error or ConnectionError("the server hung up"))


def request(sent: str, images: int = 1, size: tuple[int, int] = (HEIGHT, WIDTH)) -> bytes:
    """A whole HTTP request to /refine: `images` PNG of `size` and what `sent` of ANNOTATIONS says."""
    part = b"--" + BOUNDARY + b'\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
    typed = b'; filename="%d.png"\r\nContent-Type: image/png'
    body = b"".join(part % (b"image", typed % index, png(index, size)) for index in range(images))
    annotations = ANNOTATIONS[sent]
    if annotations is not None:
        body += part % (b"annotations", b"", json.dumps(_for_all(annotations, images, size)).encode())
    body += b"--" + BOUNDARY + b"--\r\n"
    head = (
        b"POST /refine HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\nUser-Agent: benchmark\r\n"
        b"Content-Type: multipart/form-data; boundary=%s\r\nContent-Length: %d\r\n\r\n"
    )
    return head % (BOUNDARY, len(body)) + body


def _for_all(annotations: dict[str, object], images: int, size: tuple[int, int]) -> object:
    """One image has its own document; several share one in the plain form for several images."""
    if images == 1:
        return annotations
    height, width = size
    named = [{"file_name": f"{i}.png", "id": i, "width": width, "height": height} for i in range(images)]
    boxes = [
        {"id": i, "image_id": i, "category_id": 1, "bbox": [20.5, 9.0, 15.75, 16.5]}
        for i in range(images if annotations["objects"] else 0)
    ]
    return {"images": named, "annotations": boxes, "categories": [{"id": 1, "name": "pupil"}]}


def pixels(seed: int, size: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
    """A soft picture with a dark disc and grain, such as an eye is: uint8 [H, W]."""
    height, width = size
    rows, columns = np.mgrid[:height, :width]
    away = np.hypot(rows - height / 2, columns - width / 2)
    soft = 120 + 60 * np.sin(columns / 9 + seed) - 70 / (1 + np.exp(np.minimum(away - 8, 50)))
    grained = soft + np.random.default_rng(seed).normal(0, 4, soft.shape)
    return grained.clip(0, 255).astype(np.uint8)


def png(seed: int, size: tuple[int, int] = (HEIGHT, WIDTH)) -> bytes:
    """That picture as a file."""
    file = io.BytesIO()
    Image.fromarray(pixels(seed, size)).save(file, "PNG")
    return file.getvalue()


def write_null_model(root: Path) -> Path:
    """A refiner of 8-bit grey images that flips their lowest bits, with a card; where it was written."""
    sides: list[int | str] = ["batch", "height", "width", 1]
    kind = TensorProto.UINT8
    graph = helper.make_graph(
        [helper.make_node("BitwiseXor", ["image", "one"], ["refined"])],
        "null",
        [helper.make_tensor_value_info("image", kind, sides)],
        [helper.make_tensor_value_info("refined", kind, sides)],
        [numpy_helper.from_array(np.uint8(1), "one")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    entry = model.metadata_props.add()
    entry.key, entry.value = "simtrue.card", json.dumps(_CARD)
    onnx.checker.check_model(model)
    path = root / "null" / "1" / "refiner.onnx"
    path.parent.mkdir(parents=True)
    path.write_bytes(model.SerializeToString())
    return path


_CARD = {
    "schema_version": 1,
    "name": "null",
    "description": "flips the lowest bit of every pixel",
    "channels": 1,
    "bit_depth": 8,
    "receptive_field_radius": 0,
    "noise": {"pixel_channels": 0, "smooth_channels": 0, "image_channels": 0},
    "precision": "fp32",
    "parameters": 1,
    "preset": "test",
    "steps": 0,
    "synthetic_data": "none",
    "real_data": "none",
    "licence": "Apache-2.0",
    "attribution": "",
    "created_utc": "2026-01-01T00:00:00+00:00",
    "trainer_version": "0",
    "metrics": {},
    "parity": {
        "max_difference": 0,
        "differing_fraction": 0.0,
        "sizes": [[1, 8, 8]],
        "tolerance": 1,
        "runtime": "none",
    },
}


def processor_s(pid: int) -> float:
    """User and system seconds of a process and all below it, those that ended included."""
    return sum(_own_processor_s(one) for one in tree(pid))


def _own_processor_s(pid: int) -> float:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except OSError:
        return 0.0
    return sum(map(int, stat.rpartition(")")[2].split()[11:15])) / _TICKS_PER_S


def tree(pid: int) -> list[int]:
    """A process and all below it."""
    below: list[int] = []
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            below += [int(child) for child in tasks.read_text(encoding="ascii").split()]
    return [pid, *(one for child in below for one in tree(child))]


def memory_mib(pid: int) -> float:
    """Memory of a process tree; what processes share counts once (PSS)."""
    found = 0
    for one in tree(pid):
        with contextlib.suppress(OSError):
            rollup = Path(f"/proc/{one}/smaps_rollup").read_text(encoding="ascii")
            found += int(re.search(r"^Pss:\s+(\d+)", rollup, re.MULTILINE).group(1))
    return found / 1024
