"""The service beside other servers and the bare session, on this machine, in turns. `make bench` runs it.

    python tests/benchmarks/bench.py --peers PYTHON      # PYTHON has what peers/requirements.txt names

All servers get the same 35x55 PNG and JSON from the same client and refine with the same file; every round
measures each of them once. Two models: the real one, and one that does next to nothing, which leaves what a
server itself costs. Processor time is that of a server's whole process tree. Prints tables and lines such as
`own_cost_ms=…`; `--html FILE` draws them, `--json FILE` keeps every run.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
from growth import growth_table, measure_growth
from load import ROOT, Measured, Server, measure, request, write_null_model
from page import write_page
from servers import NAMES, can_run, started

from app.settings import load_settings

SENT = "image and JSON"
MEASURED_BOX = "image and a measured box"


@dataclass(frozen=True)
class Case:
    """One kind of load; `model` is real or null."""

    model: str
    server: str
    sent: str
    clients: int


_COLUMNS = ("images_per_s", "cpu_ms", "p50_ms", "p99_ms", "memory_mib")
Runs = dict[Case, list[Measured]]


def main() -> None:
    """Measure everything in turns; print, and write what was asked for."""
    arguments = _arguments()
    machine = (
        f"{platform.processor() or platform.machine()}, {cores()} cores, Python {platform.python_version()}"
    )
    print(f"{machine}, ONNX Runtime {ort.__version__}\n", flush=True)
    runs: Runs = {}
    bare: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        models = {
            "real": copied(arguments.model, Path(folder)),
            "null": write_null_model(Path(folder) / "n"),
        }
        names = [name for name in NAMES if name in arguments.servers and _usable(name, arguments.peers)]
        for kind, threads in (("real", cores()), ("null", 1)):
            with _all_started(names, models[kind], threads, arguments.peers) as servers:
                for _ in range(arguments.rounds):
                    if kind == "real":
                        bare.append(bare_images_per_s(models[kind], arguments.seconds))
                    for case in _cases(kind, names, arguments.clients):
                        found = measure(
                            servers[case.server],
                            request(case.sent),
                            images=1,
                            clients=case.clients,
                            seconds=arguments.seconds,
                        )
                        runs.setdefault(case, []).append(found)
            print(_servers_table(kind, runs, bare), flush=True)
        most_side, longest_job = (64, 256) if arguments.quick else (2048, 4096)
        growth = measure_growth(
            models["real"], cores(), arguments.seconds, most_side=most_side, longest_job=longest_job
        )
    print(growth_table(growth))
    start = _start()
    summary = _summary(runs, bare) | start
    print("\n".join(f"{name}={value:.3g}" for name, value in summary.items()))
    if arguments.json:
        arguments.json.write_text(_as_json(machine, runs, bare, growth, summary), encoding="utf-8")
    if arguments.html:
        write_page(arguments.html, machine, _points(runs), growth)
        print(f"drawn: {arguments.html}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--model", type=Path, help="a refiner of 8-bit grey images; the bundled one unless given"
    )
    parser.add_argument(
        "--peers", type=Path, help="Python that has the other servers; without it, they are left out"
    )
    parser.add_argument("--servers", nargs="+", default=list(NAMES), choices=NAMES)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32, 128])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.5, help="of every single measurement")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--html", type=Path)
    parser.add_argument("--quick", action="store_true", help="one short round of few loads: does it run?")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.seconds, arguments.clients = 1, 0.2, [8]
    if arguments.model is None:
        arguments.model = bundled()
    return arguments


def bundled() -> Path:
    """The newest refiner that comes with the service."""
    (newest, *_) = sorted(load_settings().models.glob("*/*/refiner.onnx"), reverse=True)
    return newest


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0))


def copied(model: Path, folder: Path) -> Path:
    """The file alone in a repository of its own, so that no other model is loaded."""
    path = folder / "real" / "1" / "refiner.onnx"
    path.parent.mkdir(parents=True)
    shutil.copy(model, path)
    return path


def _usable(name: str, peers: Path | None) -> bool:
    usable = can_run(name, peers)
    if not usable:
        print(f"{name} is left out: it is not installed (--peers)")
    return usable


@contextlib.contextmanager
def _all_started(
    names: Iterable[str], model: Path, threads: int, peers: Path | None
) -> Iterator[dict[str, Server]]:
    with contextlib.ExitStack() as stack:
        yield {name: stack.enter_context(started(name, model, threads, peers)) for name in names}


def _cases(kind: str, names: list[str], clients: list[int]) -> Iterator[Case]:
    for count in clients:
        yield from (Case(kind, name, SENT, count) for name in names)
        if kind == "null" and "simtrue" in names:
            yield Case(kind, "simtrue", MEASURED_BOX, count)


def bare_images_per_s(model: Path, seconds: float) -> float:
    """The session alone, on images and noise made before: the better of one at a time and 32."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = cores()
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return max(_session_images_per_s(session, batch, seconds / 2) for batch in (1, 32))


def _session_images_per_s(session: ort.InferenceSession, batch: int, seconds: float) -> float:
    generator = np.random.default_rng(0)
    inputs = {
        value.name: generator.integers(0, 256, (batch, 35, 55, 1), dtype=np.uint8)
        if value.name == "image"
        else generator.standard_normal((batch, 35, 55, value.shape[3]), dtype=np.float32)
        for value in session.get_inputs()
    }
    session.run(["refined"], inputs)
    done, start_s = 0, time.perf_counter()
    while time.perf_counter() < start_s + seconds:
        session.run(["refined"], inputs)
        done += batch
    return done / (time.perf_counter() - start_s)


def _start() -> dict[str, float]:
    """Seconds from start to the first refined image, and memory then: medians of three starts."""
    program = [sys.executable, "tests/benchmarks/service_start.py"]
    found = [
        json.loads(subprocess.run(program, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout)
        for _ in range(3)
    ]
    return {
        f"start_{name}": statistics.median(one[name] for one in found)
        for name, value in found[0].items()
        if isinstance(value, float | int)
    }


def median(found: list[Measured], what: str) -> float:
    """Over the rounds."""
    return statistics.median(asdict(one)[what] for one in found)


def _servers_table(kind: str, runs: Runs, bare: list[float]) -> str:
    told = {
        "real": f"The real model; the bare session: {statistics.median(bare):.0f} images/s",
        "null": "A model that does nothing: what a server itself costs",
    }
    lines = [
        told[kind] + "\n",
        "| clients | server | images/s | of the bare session | CPU ms an image | p50 ms | p99 ms | MiB |",
        "|" + " --- |" * 8,
    ]
    for case, found in runs.items():
        if case.model != kind:
            continue
        share = statistics.median(one.images_per_s / rate for one, rate in zip(found, bare, strict=True))
        name = case.server if case.sent == SENT else f"{case.server}, preservation measured"
        rate, cpu, p50, p99, memory = (f"{median(found, what):.3g}" for what in _COLUMNS)
        of_bare = f"{share:.2f}" if kind == "real" else "–"
        lines.append(f"| {case.clients} | {name} | {rate} | {of_bare} | {cpu} | {p50} | {p99} | {memory} |")
    return "\n".join(lines) + "\n"


def _summary(runs: Runs, bare: list[float]) -> dict[str, float]:
    """The numbers that have goals; own cost is the best of 8 to 128 clients."""
    summary: dict[str, float] = {}
    many = {case: found for case, found in runs.items() if case.clients >= 8}
    for name in dict.fromkeys(case.server for case in many):
        costs = [
            median(r, "cpu_ms")
            for c, r in many.items()
            if (c.model, c.server, c.sent) == ("null", name, SENT)
        ]
        if costs:
            summary["own_cost_ms" if name == "simtrue" else f"own_cost_ms[{name}]"] = min(costs)
    boxes = [median(r, "cpu_ms") for c, r in many.items() if c.sent == MEASURED_BOX]
    if boxes:
        summary["own_cost_with_preservation_ms"] = min(boxes)
    for case, found in many.items():
        if (case.model, case.server) == ("real", "simtrue"):
            rates = zip((one.images_per_s for one in found), bare, strict=True)
            summary[f"of_bare_session[{case.clients}]"] = statistics.median(
                one / other for one, other in rates
            )
            summary[f"p99_over_p50[{case.clients}]"] = median(found, "p99_ms") / median(found, "p50_ms")
    return summary


def _points(runs: Runs) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """For the page: what is drawn, then the server, then (clients, value)."""
    drawn = {
        "real: images per second": ("real", "images_per_s"),
        "real: p99, ms": ("real", "p99_ms"),
        "null: CPU ms an image": ("null", "cpu_ms"),
    }
    points: dict[str, dict[str, list[tuple[int, float]]]] = {title: {} for title in drawn}
    for title, (kind, what) in drawn.items():
        for case, found in runs.items():
            if case.model == kind and case.sent == SENT:
                points[title].setdefault(case.server, []).append((case.clients, median(found, what)))
    return points


def _as_json(
    machine: str,
    runs: Runs,
    bare: list[float],
    growth: dict[str, list[tuple[float, float]]],
    summary: dict[str, float],
) -> str:
    cases = [asdict(case) | {"runs": [asdict(one) for one in found]} for case, found in runs.items()]
    everything = {
        "machine": machine,
        "bare_images_per_s": bare,
        "cases": cases,
        "growth": growth,
        "summary": summary,
    }
    return json.dumps(everything, indent=1)


if __name__ == "__main__":
    main()
