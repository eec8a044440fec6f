"""What a dataset job costs beyond its refining: images per second, memory, and what requests feel of it.

    python tests/benchmarks/jobs_throughput.py                       # two JSON objects; some minutes
    nice -n -15 taskset -c 1 python tests/benchmarks/jobs_throughput.py --threads 1

A real service gets sets of 32x32 px PNGs, with YOLO labels (measured) and without, as uploads. In turn with
its jobs the bare engine refines the same images in another process: decode, engine, blend, drift of the same
shapes, encode, with as many threads of the same kind, in batches that keep the engine busy; but no files, no
hashes, no records, and the images in memory from the start. `share` is the job's images per second while it
runs over those of the bare engine: the median over pairs that ran one after the other. `cpu_share` is the
same of processor seconds, which a noisy neighbour changes less.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import os
import sqlite3
import statistics
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Any

from bench_priority import ask_again_and_again
from job_runs import Service, write_set
from PIL import Image

from app.annotations.shapes import Collector, ImageRef, Shape
from app.annotations.yolo import YoloClasses, read
from app.options import RefineOptions
from app.preservation.verdict import Thresholds, decide
from app.refining.blending import blend
from app.refining.colour import from_model, to_model
from app.refining.encode import encode
from app.refining.images import decode
from app.refining.models import ServedModel
from app.services import Services, open_services
from app.settings import load_settings
from model.noise import seed_for_image
from model.preservation.pictures import measure_pictures

LOOK_EVERY_S = 0.05
LATENCY_S = 20.0
SIDE = 32


def main() -> None:
    """Measure both kinds of sets, and print a JSON object for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", type=int, default=2000, help="images of the set that is compared in speed")
    parser.add_argument("--large", type=int, default=20_000, help="of the set that is compared in memory")
    parser.add_argument("--pairs", type=int, default=5, help="turns of job and bare engine")
    parser.add_argument("--threads", type=int, default=0, help="of engine and codecs; 0 takes all cores")
    parser.add_argument("--folder", type=Path, help="for the data; a temporary one unless given")
    given = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="simtrue-", dir=given.folder) as folder:
        for labels in (True, False):
            with spawn.Pool(1, begin_bare, [given.threads]) as bare:
                named = "with labels" if labels else "without labels"
                found = _measure(Path(folder), bare, given, labels=labels)
            print(json.dumps({named: found}, indent=1), flush=True)


def _measure(folder: Path, bare: Pool, given: argparse.Namespace, *, labels: bool) -> dict[str, Any]:
    small, large = folder / "small.zip", folder / "large.zip"
    write_set(small, given.small, labels=labels)
    write_set(large, given.large, labels=labels)
    threads = dict.fromkeys(("threads", "codec_threads", "background_codec_threads"), given.threads)
    found: dict[str, Any] = {}
    with Service(folder / f"data-{labels}", **threads) as service:
        begun_bytes = service.peak_bytes()
        pairs = []
        for _ in range(given.pairs):
            job = run_job(service, small)
            pairs.append((job, bare.apply(refine_barely, [small])))
        found["speed"] = _speeds(given.small, pairs)
        found["small"] = _told(pairs[0][0])
    with Service(folder / f"data-{labels}", **threads) as service:
        small_job = run_job(service, small)
        found["peak_mib"] = {"service, idle": begun_bytes >> 20, f"{given.small} images": _peaks(small_job)}
    with Service(folder / f"data-{labels}", **threads) as service, bare_client() as client:
        idle = client.apply(ask_again_and_again, (_port(service), _png(), LATENCY_S))
        busy: list[float] = []
        large_job = run_job(service, large, partial(_ask, client, service, busy))
        found["peak_mib"][f"{given.large} images, and requests beside"] = _peaks(large_job)
        found["large"] = _told(large_job)
        found["request_ms"] = {"idle": _quantiles(idle), "beside the job": _quantiles(busy)}
    return found


@dataclass
class Watched:
    """What was seen of one job."""

    upload_s: float
    entered_utc: dict[str, float] = field(default_factory=dict)
    cpu_s: dict[str, float] = field(default_factory=dict)
    """Processor seconds of the service when a state was first seen."""
    service_bytes: int = 0
    child_bytes: int = 0

    def seconds(self, state: str, following: str) -> float:
        return self.entered_utc[following] - self.entered_utc[state]


def run_job(service: Service, archive: Path, beside: Any = None) -> Watched:
    """Hand a set in and watch it through the ledger, which costs the service nothing."""
    begun_s = time.perf_counter()
    job_id = service.submit(archive)["id"]
    seen = Watched(time.perf_counter() - begun_s)
    children: dict[int, int] = {}
    helper = None if beside is None else threading.Thread(target=beside)
    with closing(sqlite3.connect(service.data / "ledger.sqlite", timeout=30)) as ledger:
        while True:
            (state,) = ledger.execute("SELECT state FROM jobs WHERE id = ?", [job_id]).fetchone()
            seen.cpu_s.setdefault(state, _cpu_s(service.pid))
            children |= {
                pid: max(children.get(pid, 0), service.peak_bytes(pid)) for pid in service.children()
            }
            if state == "running" and helper is not None and helper.ident is None:
                helper.start()
            if state in ("done", "failed"):
                break
            time.sleep(LOOK_EVERY_S)
        told = ledger.execute(
            "SELECT data_json, at_utc FROM events WHERE job_id = ? AND kind = 'state' ORDER BY seq", [job_id]
        )
        seen.entered_utc = {json.loads(data)["state"]: at_utc for data, at_utc in told}
    if helper is not None:
        helper.join()
    service.finished(job_id)
    seen.service_bytes, seen.child_bytes = service.peak_bytes(), max(children.values(), default=0)
    return seen


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _speeds(images: int, pairs: Sequence[tuple[Watched, tuple[float, float]]]) -> dict[str, Any]:
    job = [images / seen.seconds("running", "finishing") for seen, _ in pairs]
    bare = [images / wall_s for _, (wall_s, _) in pairs]
    cpu = [cpu_s / (seen.cpu_s["finishing"] - seen.cpu_s["running"]) for seen, (_, cpu_s) in pairs]
    shares = [ours / theirs for ours, theirs in zip(job, bare, strict=True)]
    return {
        "job_images_per_s": [round(one) for one in job],
        "bare_images_per_s": [round(one) for one in bare],
        "share": round(statistics.median(shares), 3),
        "cpu_share": round(statistics.median(cpu), 3),
        "shares": [round(one, 3) for one in shares],
    }


def _told(seen: Watched) -> dict[str, float]:
    states = ("queued", "preparing", "running", "finishing", "done")
    phases = {state: seen.seconds(state, after) for state, after in pairwise(states)}
    return {f"{name}_s": round(seconds, 2) for name, seconds in {"upload": seen.upload_s, **phases}.items()}


def _peaks(seen: Watched) -> dict[str, int]:
    return {"service": seen.service_bytes >> 20, "largest child": seen.child_bytes >> 20}


# --- requests beside the job -------------------------------------------------------------------------------


def bare_client() -> Pool:
    """A client in a process of its own."""
    return multiprocessing.get_context("spawn").Pool(1)


def _ask(client: Pool, service: Service, times_ms: list[float]) -> None:
    times_ms += client.apply(ask_again_and_again, (_port(service), _png(), LATENCY_S))


def _port(service: Service) -> int:
    port = service.client.base_url.port
    assert port is not None
    return port


def _png() -> bytes:
    file = io.BytesIO()
    Image.linear_gradient("L").resize((SIDE, SIDE)).save(file, "PNG")
    return file.getvalue()


def _quantiles(times_ms: Sequence[float]) -> dict[str, float]:
    cuts = statistics.quantiles(times_ms, n=100)
    return {"requests": len(times_ms), "p50": round(cuts[49], 1), "p99": round(cuts[98], 1)}


# --- the bare engine, in a process of its own --------------------------------------------------------------

_open: list[Any] = []


def begin_bare(threads: int) -> None:
    """Open the services of this process and keep them."""
    settings = load_settings(device="cpu", threads=threads, background_codec_threads=threads)
    opened = open_services(settings)
    _open.extend([opened, opened.__enter__()])


def refine_barely(archive: Path) -> tuple[float, float]:
    """Wall and processor seconds for all images of a set, read before."""
    services: Services = _open[1]
    images = list(_images(archive))
    model, at_once = services.models.get(), services.settings.max_batch_images
    groups = [images[start : start + at_once] for start in range(0, len(images), at_once)]
    codecs = services.background_codecs
    begun_s, begun_cpu_s = time.perf_counter(), time.process_time()
    before: list[Any] = []
    for group in [*groups, []]:
        prepared = list(codecs.map(partial(_prepare, services, model), group))
        list(codecs.map(partial(_finish, model), before))
        before = prepared
    return time.perf_counter() - begun_s, time.process_time() - begun_cpu_s


def _images(archive: Path) -> Iterator[tuple[bytes, tuple[Shape, ...]]]:
    with zipfile.ZipFile(archive) as packed:
        names = set(packed.namelist())
        for name in sorted(name for name in names if name.endswith(".png")):
            label = name.replace("images/", "labels/").replace(".png", ".txt")
            collector = Collector(ImageRef(name, SIDE, SIDE))
            if label in names:
                read(packed.read(label).decode(), YoloClasses(), collector)
            yield packed.read(name), tuple(collector.finish().shapes)


def _prepare(services: Services, model: ServedModel, image: tuple[bytes, tuple[Shape, ...]]) -> Any:
    data, shapes = image
    decoded = decode(data, filename="a.png", max_pixels=services.settings.max_pixels)
    seen = to_model(decoded, model.card.channels, model.card.bit_depth)
    seed = seed_for_image(0, seen.pixels)
    return decoded, seen, shapes, services.engine.submit(model, seen.pixels, seed, background=True)


def _finish(model: ServedModel, prepared: Any) -> bytes:
    decoded, seen, shapes, future = prepared
    refined = from_model(decoded, seen, future.result())
    limits = RefineOptions().thresholds
    decision = decide(
        lambda strength: blend(decoded.pixels, refined, strength, None),
        lambda picture: measure_pictures(decoded.pixels, picture, shapes) if shapes else (),
        1.0,
        Thresholds(limits.max_shift_px, limits.min_structure_kept, limits.min_least_kept),
        limits.below,
    )
    return encode(decoded, decision.picture, format=None, quality=None).data


if __name__ == "__main__":
    main()
