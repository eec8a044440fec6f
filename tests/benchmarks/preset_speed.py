"""How fast the refiners of the presets are in ONNX Runtime, fp32, one thread; weights at random.

    python tests/benchmarks/preset_speed.py             # ms of processor time an image, times as fast as gaze

The refiners take turns; medians over the rounds, ratios within each round.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch

from model.card import CardDraft
from model.export import export_refiner
from model.refiner import Refiner
from trainer.networks import refiner_config
from trainer.options import resolve

PRESETS = ("gaze", "default", "fast")
BATCHES = ((16, 35, 55), (1, 35, 55), (1, 256, 256))
ROUNDS = 5
PIXELS = 1 << 17
"""Of one measurement, about."""


def main() -> None:
    """Measure every preset on every batch and print one table."""
    with tempfile.TemporaryDirectory() as folder:
        sessions = {preset: exported(preset, Path(folder)) for preset in PRESETS}
    print("| batch, px | " + " | ".join(PRESETS) + " |\n|" + " --- |" * (1 + len(PRESETS)))
    for count, height, width in BATCHES:
        rounds = [
            {name: took_ms(one, count, height, width) for name, one in sessions.items()}
            for _ in range(ROUNDS)
        ]
        cells = [
            f"{statistics.median(found[name] for found in rounds):.2f} ms, "
            f"{statistics.median(found['gaze'] / found[name] for found in rounds):.1f} times"
            for name in PRESETS
        ]
        print(f"| {count} of {height}x{width} | " + " | ".join(cells) + " |")


def exported(preset: str, folder: Path) -> ort.InferenceSession:
    """A session with one thread for a fresh grey refiner of the preset."""
    torch.manual_seed(0)
    refiner = Refiner(refiner_config(resolve({"synthetic": "-", "real": "-", "preset": preset}), 1))
    torch.nn.init.normal_(refiner.last.weight, std=0.05)
    texts = ("description", "synthetic_data", "real_data", "licence", "attribution", "trainer_version")
    said = {**dict.fromkeys(texts, "a benchmark"), "name": preset, "preset": preset, "bit_depth": 8}
    moment = {"steps": 0, "created_utc": "2026-01-01T00:00:00+00:00", "metrics": {}}
    path = folder / f"{preset}.onnx"
    export_refiner(refiner, CardDraft.model_validate({**said, **moment}), path)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def took_ms(session: ort.InferenceSession, count: int, height: int, width: int) -> float:
    """Processor time of an image."""
    rng = np.random.default_rng(0)
    inputs = {
        value.name: rng.integers(0, 256, (count, height, width, 1), dtype=np.uint8)
        if value.name == "image"
        else rng.standard_normal((count, height, width, value.shape[3]), dtype=np.float32)
        for value in session.get_inputs()
    }
    session.run(["refined"], inputs)
    repeats = max(1, PIXELS // (count * height * width))
    begun_s = time.process_time()
    for _ in range(repeats):
        session.run(["refined"], inputs)
    return 1000 * (time.process_time() - begun_s) / repeats / count


if __name__ == "__main__":
    main()
