"""What the server itself costs: processor time per image with a refiner that does next to nothing.

    python tests/benchmarks/own_cost.py             # a table; --json FILE keeps all numbers

The model flips the lowest bit of every pixel, so that every image is decoded, refined and encoded, and its
structure stays. Counted are user and system seconds of the whole server process; wall time only says how
noisy the machine is. A plain FastAPI server (`plain_server.py`) is measured in turns with it. Linux only.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
HEIGHT, WIDTH = 35, 55
BOUNDARY = b"simtrue-own-cost"
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
ANNOTATIONS = {
    "image": None,
    "image and JSON": {"scene": {"gaze": [0.1, -0.2], "lamp": 3}, "objects": []},
    "image and a measured box": {"objects": [{"label": "pupil", "box": [20.5, 9.0, 36.25, 25.5]}]},
}


@dataclass(frozen=True)
class Case:
    """One kind of load: what a request holds, and how many clients send such requests at once."""

    server: str
    sent: str
    images: int
    clients: int


@dataclass(frozen=True)
class Measured:
    """What one run of a case took, per image where it says so."""

    own_cost_ms: float
    images_per_s: float
    p50_ms: float
    p99_ms: float
    memory_mib: float


def main() -> None:
    """Measure every case in turns and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=4000, help="images of every run")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32, 128])
    parser.add_argument("--images-per-request", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--sent", nargs="+", default=list(ANNOTATIONS), choices=list(ANNOTATIONS))
    parser.add_argument("--servers", nargs="+", default=["simtrue", "plain"], choices=["simtrue", "plain"])
    parser.add_argument("--json", type=Path, help="write every run to this file")
    arguments = parser.parse_args()
    runs: dict[Case, list[Measured]] = {}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        model = write_null_model(Path(folder))
        servers = {name: stack.enter_context(_running(name, model)) for name in arguments.servers}
        for _ in range(arguments.rounds):
            for sent in arguments.sent:
                for images in arguments.images_per_request:
                    for clients in arguments.clients:
                        for name, server in servers.items():
                            case = Case(name, sent, images, clients)
                            runs.setdefault(case, []).append(_measure(server, case, arguments.images))
    print(_table(runs))
    if arguments.json:
        rows = [asdict(case) | {"runs": [asdict(run) for run in all_]} for case, all_ in runs.items()]
        arguments.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")


@dataclass(frozen=True)
class Server:
    """A started server."""

    pid: int
    port: int


@contextlib.contextmanager
def _running(name: str, model: Path) -> Iterator[Server]:
    serve = [sys.executable, "-c", "from app.cli import main; main()", "serve", "--log-level", "warning"]
    programs = {
        "simtrue": [*serve, "--port", "0", "--device", "cpu", "--models", str(model.parents[2])],
        "plain": [sys.executable, str(ROOT / "tests/benchmarks/plain_server.py"), str(model)],
    }
    environment = os.environ | {"SIMTRUE_THREADS": "1", "SIMTRUE_DATA": str(model.parents[2] / "data")}
    with subprocess.Popen(programs[name], stdout=subprocess.PIPE, cwd=ROOT, env=environment) as process:
        try:
            address = re.search(rb"http://127\.0\.0\.1:(\d+)", process.stdout.readline())
            yield Server(process.pid, int(address.group(1)))
        finally:
            process.terminate()


def _measure(server: Server, case: Case, images: int) -> Measured:
    requests = max(case.clients, images // case.images)
    message = _request(case)
    asyncio.run(_load(server.port, message, case.clients, max(case.clients, requests // 10)))
    before_s, start_s = _processor_s(server.pid), time.perf_counter()
    took_s = sorted(asyncio.run(_load(server.port, message, case.clients, requests)))
    wall_s, used_s = time.perf_counter() - start_s, _processor_s(server.pid) - before_s
    count = requests * case.images
    return Measured(
        1000 * used_s / count,
        count / wall_s,
        1000 * took_s[len(took_s) // 2],
        1000 * took_s[len(took_s) * 99 // 100],
        _memory_mib(server.pid),
    )


async def _load(port: int, message: bytes, clients: int, requests: int) -> list[float]:
    """Seconds of every request; each client sends its next one as soon as it has its answer."""
    loop = asyncio.get_running_loop()
    took_s: list[float] = []
    left = iter(range(requests))
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


class _Client(asyncio.Protocol):
    """One connection that stays open; looks for as little of an answer as it can."""

    def __init__(self, message: bytes, left: Iterator[int], took_s: list[float]) -> None:
        self._message, self._left, self._took_s = message, left, took_s
        self._received = b""
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def send(self) -> None:
        """Send the next request, if there is one left."""
        if next(self._left, None) is None:
            self.done.set_result(None)
            return
        self._sent_s = time.perf_counter()
        self._transport.write(self._message)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, blank, body = self._received.partition(b"\r\n\r\n")
        length = re.search(rb"\r\ncontent-length: (\d+)", head, re.IGNORECASE)
        if not blank or len(body) < int(length.group(1)):
            return
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"{head!r} {body[:500]!r}")
        self._took_s.append(time.perf_counter() - self._sent_s)
        self._received = b""
        self.send()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(error or ConnectionError("the server hung up"))


def _request(case: Case) -> bytes:
    part = b"--" + BOUNDARY + b'\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
    typed = b'; filename="%d.png"\r\nContent-Type: image/png'
    body = b"".join(part % (b"image", typed % index, _png(index)) for index in range(case.images))
    annotations = ANNOTATIONS[case.sent]
    if annotations is not None:
        body += part % (b"annotations", b"", json.dumps(_for_all(annotations, case.images)).encode())
    body += b"--" + BOUNDARY + b"--\r\n"
    head = (
        b"POST /refine HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\nUser-Agent: own_cost\r\n"
        b"Content-Type: multipart/form-data; boundary=%s\r\nContent-Length: %d\r\n\r\n"
    )
    return head % (BOUNDARY, len(body)) + body


def _for_all(annotations: dict[str, object], images: int) -> object:
    """One image has its own document; several share one in the plain form for several images."""
    if images == 1:
        return annotations
    named = [{"file_name": f"{i}.png", "id": i, "width": WIDTH, "height": HEIGHT} for i in range(images)]
    boxes = [
        {"id": i, "image_id": i, "category_id": 1, "bbox": [20.5, 9.0, 15.75, 16.5]}
        for i in range(images if annotations["objects"] else 0)
    ]
    return {"images": named, "annotations": boxes, "categories": [{"id": 1, "name": "pupil"}]}


def _png(seed: int) -> bytes:
    """A soft picture with a dark disc and grain, such as an eye is."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    away = np.hypot(rows - HEIGHT / 2, columns - WIDTH / 2)
    soft = 120 + 60 * np.sin(columns / 9 + seed) - 70 / (1 + np.exp(away - 8))
    grained = soft + np.random.default_rng(seed).normal(0, 4, soft.shape)
    file = io.BytesIO()
    Image.fromarray(grained.clip(0, 255).astype(np.uint8)).save(file, "PNG")
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


def _processor_s(pid: int) -> float:
    """User and system seconds of a process, its threads, and its children that ended."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICKS_PER_S


def _memory_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) / 1024


def _table(runs: dict[Case, list[Measured]]) -> str:
    """A line per case: medians over the rounds; the ratio is that of the same round's plain server."""
    lines = [
        "| sent | images | clients | server | own_cost_ms | of plain | images/s | p50 ms | p99 ms | MiB |",
        "|" + " --- |" * 10,
    ]
    for case, found in runs.items():
        plain = runs.get(Case("plain", case.sent, case.images, case.clients), [])
        ratios = [one.own_cost_ms / other.own_cost_ms for one, other in zip(found, plain, strict=False)]
        values = {
            name: statistics.median(asdict(one)[name] for one in found) for name in Measured.__annotations__
        }
        ratio = f"{statistics.median(ratios):.2f}" if ratios else "–"
        lines.append(
            f"| {case.sent} | {case.images} | {case.clients} | {case.server} | {values['own_cost_ms']:.3f} | "
            f"{ratio} | {values['images_per_s']:.0f} | {values['p50_ms']:.2f} | {values['p99_ms']:.2f} | "
            f"{values['memory_mib']:.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
