"""A giant image through a real service: how much memory it takes, and whether every pixel is the right one.

    .venv/bin/python tests/benchmarks/giant_image.py            # 8192x8192 px, the bundled refiner; a table

The service refines the image in tiles. The reference is the same file run by ONNX Runtime on the whole image
at once, in a process of its own; where memory does not suffice for that, on a quarter (or a quarter of that)
of it, which the service then refines as well. Memory is the highest resident size of the service while it
answers, above that after a small image. Linux only.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import http.client
import io
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from PIL import Image

from app.refining.tiles import plan_tiles
from app.settings import BUNDLED_MODELS, Settings
from model.card import ModelCard, read_card
from model.noise import noise_field, seed_for_image
from model.session_options import exact_integers

BOUNDARY = "simtrue-giant-image"
GIVE_UP_S = 3600
PROBE_SIDE = 1024
"""Of the image that tells how much memory a pixel of a whole run takes."""
SPARE_MIB = 2048
"""Left to everybody else by a whole run."""
GOAL_MIB = 1024
MIB = 1 << 20
Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Answered:
    """What the service made of one image, in which time, and the memory that took above idle."""

    side: int
    model: str
    accept: str
    sent_bytes: int
    received_bytes: int
    seconds: float
    memory_above_idle_mib: float


@dataclass(frozen=True)
class Found:
    """One run of the benchmark; `compared_side` is None where no whole run was possible."""

    answered: Answered
    overlap: float
    compared_side: int | None
    equal: bool | None
    whole_run_mib: float | None
    whole_run_s: float | None


def main() -> None:
    """Refine one giant image, compare, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--models", type=Path, default=BUNDLED_MODELS, help="model repository")
    parser.add_argument("--side", type=int, default=8192, help="px")
    parser.add_argument("--accept", choices=["image/png", "application/json"], default="image/png")
    parser.add_argument("--no-whole", action="store_true", help="measure only, compare nothing")
    parser.add_argument("--json", type=Path, help="write what was found to this file")
    chosen = parser.parse_args()
    picture = drawn(chosen.side)
    with _service(chosen.models, chosen.side) as service:
        _ask(service, encoded(drawn(64)), chosen.accept)
        answered, refined = measured(service, picture, chosen.accept)
    file = chosen.models / answered.model / "refiner.onnx"
    side = None if chosen.no_whole else whole_side(file, chosen.side)
    if side is not None and side < chosen.side:
        picture = picture[:side, :side].copy()
        with _service(chosen.models, side) as service:
            refined = _ask(service, encoded(picture), chosen.accept).picture()
    equal = whole_mib = whole_s = None
    if side is not None:
        whole, whole_mib, whole_s = _alone(file, picture)
        equal = bool(np.array_equal(whole, refined))
    found = Found(answered, overlap_of(_card(_session(file)), chosen.side), side, equal, whole_mib, whole_s)
    print(_table(found))
    if chosen.json:
        chosen.json.write_text(json.dumps(asdict(found), indent=1), encoding="utf-8")
    if equal is False or answered.memory_above_idle_mib >= GOAL_MIB:
        raise SystemExit("a goal is missed")


def drawn(side: int) -> Picture:
    """Soft structure of all sizes with grain, uint8 [H, W]."""
    rng = np.random.default_rng(side)
    small = Image.fromarray(rng.integers(40, 200, (max(2, side // 24),) * 2, dtype=np.uint8))
    soft = np.asarray(small.resize((side, side), Image.Resampling.BICUBIC))
    grain = rng.integers(0, 13, (side, side), dtype=np.uint8)
    picture: Picture = np.minimum(soft, np.uint8(255 - 12)) + grain
    return picture


@dataclass(frozen=True)
class Service:
    """A started service."""

    pid: int
    port: int


@contextlib.contextmanager
def _service(models: Path, side: int) -> Iterator[Service]:
    """A service that takes images of this side and has all the time it needs; every other setting stays."""
    pixels = side * side
    program = [sys.executable, "-c", "from app.cli import main; main()", "serve", "--port", "0"]
    with tempfile.TemporaryDirectory() as data:
        raised = {
            "SIMTRUE_DATA": data,
            "SIMTRUE_MAX_PIXELS": max(pixels, _default("max_pixels")),
            "SIMTRUE_MAX_QUEUE_PIXELS": max(pixels, _default("max_queue_pixels")),
            "SIMTRUE_MAX_UPLOAD_BYTES": max(2 * pixels, _default("max_upload_bytes")),
            "SIMTRUE_REQUEST_TIMEOUT_S": GIVE_UP_S,
            "SIMTRUE_MODELS": models,
            "SIMTRUE_DEVICE": "cpu",
            "SIMTRUE_LOG_LEVEL": "warning",
        }
        environment = os.environ | {name: str(value) for name, value in raised.items()}
        with subprocess.Popen(program, stdout=subprocess.PIPE, env=environment) as process:
            try:
                assert process.stdout is not None
                address = re.search(rb"http://127\.0\.0\.1:(\d+)", process.stdout.readline())
                assert address is not None
                yield Service(process.pid, int(address.group(1)))
            finally:
                process.terminate()


def measured(service: Service, picture: Picture, accept: str) -> tuple[Answered, Picture]:
    """What one image takes; the kernel's memory of the highest resident size is set back before."""
    file, idle_mib = encoded(picture), _memory_mib(service.pid, "VmRSS")
    Path(f"/proc/{service.pid}/clear_refs").write_text("5", encoding="ascii")
    start_s = time.perf_counter()
    answer = _ask(service, file, accept)
    took_s = time.perf_counter() - start_s
    above_mib = _memory_mib(service.pid, "VmHWM") - idle_mib
    sizes = len(file), len(answer.body)
    return Answered(len(picture), answer.model, accept, *sizes, took_s, above_mib), answer.picture()


def encoded(picture: Picture) -> bytes:
    """A PNG."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", compress_level=1)
    return file.getvalue()


@dataclass(frozen=True)
class Answer:
    """What came back for one image; `model` is its name and version."""

    model: str
    media_type: str
    body: bytes

    def picture(self) -> Picture:
        """The refined pixels."""
        file = self.body
        if self.media_type == "application/json":
            file = base64.b64decode(json.loads(file)["images"][0]["image"])
        with Image.open(io.BytesIO(file)) as image:
            return np.asarray(image)


def _ask(service: Service, file: bytes, accept: str) -> Answer:
    part = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="giant.png"\r\n\r\n'
    body = b"".join([part.encode(), file, f"\r\n--{BOUNDARY}--\r\n".encode()])
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}", "Accept": accept}
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=GIVE_UP_S)
    with contextlib.closing(connection):
        connection.request("POST", "/refine", body, headers)
        answer = connection.getresponse()
        received = answer.read()
    if answer.status != http.HTTPStatus.OK:
        raise SystemExit(f"{answer.status}: {received[:500]!r}")
    return Answer(answer.headers["Simtrue-Model"], accept, received)


def whole_side(file: Path, side: int) -> int | None:
    """The largest of side, side / 2, … on which a run of the whole image fits into the memory there is."""
    _, probe_mib, _ = _alone(file, drawn(PROBE_SIDE))
    available_mib = _available_mib() - SPARE_MIB
    while side >= PROBE_SIDE:
        if (needed_mib := probe_mib * (side / PROBE_SIDE) ** 2) <= available_mib:
            return side
        print(
            f"{side} px at once would take about {needed_mib:.0f} MiB, but {available_mib:.0f} may be taken",
            file=sys.stderr,
        )
        side //= 2
    return None


def _alone(file: Path, picture: Picture) -> tuple[Picture, float, float]:
    """`refined_whole` in a process of its own, which fails rather than take the memory of others."""
    most_bytes = int((_available_mib() - SPARE_MIB / 2) * MIB)
    with ProcessPoolExecutor(1, get_context("spawn"), _limit_memory, (most_bytes,)) as process:
        return process.submit(refined_whole, file, picture).result()


def _limit_memory(most_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (most_bytes, most_bytes))
    Path("/proc/self/oom_score_adj").write_text(
        "1000", encoding="ascii"
    )  # if it comes to that, this one goes


def refined_whole(file: Path, picture: Picture) -> tuple[Picture, float, float]:
    """One run of the refiner on a whole image, with the noise of seed 0; the MiB and seconds it took.

    For a process of its own: memory is what its highest resident size grew by.
    """
    before_mib, start_s = _memory_mib("self", "VmHWM"), time.perf_counter()
    session = _session(file)
    spec = _card(session).noise
    feed: dict[str, NDArray[np.generic]] = {"image": picture[None, :, :, None]}
    if spec.channels:
        seed, (height, width) = seed_for_image(0, picture[:, :, None]), picture.shape
        feed["noise"] = noise_field(seed, height, width, spec)[None]
    (refined,) = session.run(["refined"], feed)
    took_s = time.perf_counter() - start_s
    return refined[0, :, :, 0], _memory_mib("self", "VmHWM") - before_mib, took_s


def _session(file: Path) -> ort.InferenceSession:
    options = exact_integers(ort.SessionOptions())
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    options.enable_cpu_mem_arena = False  # it grows by doubling
    options.enable_mem_pattern = False
    return ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def _card(session: ort.InferenceSession) -> ModelCard:
    return read_card(session.get_modelmeta().custom_metadata_map)


def overlap_of(card: ModelCard, side: int) -> float:
    """Refined pixels over pixels of the image."""
    plan = plan_tiles(side, side, card.receptive_field_radius, _default("tile_pixels"), card.grid)
    return len(plan) * plan[0].window.pixels / side**2


def _default(setting: str) -> int:
    value = Settings.model_fields[setting].default
    assert isinstance(value, int)
    return value


def _available_mib() -> float:
    return _kilobytes(Path("/proc/meminfo"), "MemAvailable") / 1024


def _memory_mib(pid: int | Literal["self"], what: str) -> float:
    return _kilobytes(Path(f"/proc/{pid}/status"), what) / 1024


def _kilobytes(file: Path, what: str) -> int:
    found = re.search(rf"^{what}:\s+(\d+) kB", file.read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None, (file, what)
    return int(found.group(1))


def _table(found: Found) -> str:
    answered = found.answered
    compared = "not compared"
    if found.compared_side is not None:
        verdict = "yes" if found.equal else "NO"
        compared = f"{verdict}, {found.compared_side}x{found.compared_side} ({found.whole_run_mib:.0f} MiB)"
    cells: Sequence[str] = (
        f"{answered.side}x{answered.side}",
        answered.model,
        answered.accept,
        f"{found.overlap:.3f}",
        f"{answered.seconds:.1f}",
        f"{answered.side**2 / 1e6 / answered.seconds:.2f}",
        f"{answered.memory_above_idle_mib:.0f}",
        compared,
    )
    names = (
        "image",
        "model",
        "answer",
        "refined pixels / pixels",
        "seconds",
        "megapixels/s",
        "MiB above idle",
        "same bytes as a run of the whole image (its memory)",
    )
    return "\n".join([f"| {' | '.join(names)} |", "|" + " --- |" * len(names), f"| {' | '.join(cells)} |"])


if __name__ == "__main__":
    main()
