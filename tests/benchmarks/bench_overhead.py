"""What the service costs beside its inference: ratios to a bare ONNX Runtime session, on this machine.

    python tests/benchmarks/bench_overhead.py --models FOLDER     # prints one JSON object

Each ratio is the median time through the service's own code (decode, engine, blend, encode) over the median
time of the bare session on the same pixels; a short run, meant to see a change of our own cost, not to rate a
machine.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from app.delivery import ImageJob
from app.options import RefineOptions
from app.pixel_budget import PixelBudget
from app.refinement import refine_image
from app.refining.models import ServedModel
from app.services import Services, open_services
from app.settings import load_settings

REPEATS = 7


def main() -> None:
    """Measure one small image, 64 small ones and a large one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, help="model repository; the bundled one unless given")
    arguments = parser.parse_args()
    chosen = {"models": arguments.models} if arguments.models else {}
    with open_services(load_settings(device="cpu", **chosen)) as services:
        model = services.models.get()
        cases = {"one_64x64": (1, 64, 64), "64_of_64x64": (64, 64, 64), "one_1024x1024": (1, 1024, 1024)}
        ratios = {name: _ratio(services, model, *case) for name, case in cases.items()}
    print(json.dumps({"model": model.name, "provider": model.provider, "times_the_bare_session": ratios}))


def _ratio(services: Services, model: ServedModel, count: int, height: int, width: int) -> float:
    shape = (count, height, width, model.card.channels)
    batch = np.random.default_rng(0).integers(0, 256, shape).astype(model.card.dtype)
    files = [_encoded(image) for image in batch]
    noise_channels = model.card.noise.channels
    noise = np.zeros((*shape[:3], noise_channels), np.float32) if noise_channels else None
    bare_s = _median_s(lambda: model.session.run(batch, noise))
    served_s = _median_s(lambda: asyncio.run(_serve(services, model, files, height * width)))
    return round(served_s / bare_s, 2)


async def _serve(services: Services, model: ServedModel, files: list[bytes], pixels: int) -> None:
    budget = PixelBudget(services.settings.max_pixels)
    jobs = (
        ImageJob(index, "a.png", data, pixels, None, model, RefineOptions(), lambda _: None, None, False)
        for index, data in enumerate(files)
    )
    await asyncio.gather(*(refine_image(services, job, budget) for job in jobs))


def _median_s(work: Callable[[], object]) -> float:
    times = []
    for _ in range(REPEATS):
        start_s = time.perf_counter()
        work()
        times.append(time.perf_counter() - start_s)
    return statistics.median(times)


def _encoded(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).save(file, "PNG", compress_level=1)
    return file.getvalue()


if __name__ == "__main__":
    main()
