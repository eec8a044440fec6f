"""What measuring the drift costs beside the refinement that it watches, in CPU time on one thread.

    python tests/benchmarks/drift_cost.py          # prints one JSON object

Each case refines one drawn picture with the bundled model in ONNX Runtime, then measures the drift under its
annotations, in turns; a ratio is the CPU time of all measurements over that of all refinements.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime

from model.card import read_card
from model.noise import noise_field
from model.preservation.drift import Box, measure
from model.preservation.grey import grey_pair

MODEL = Path(__file__).resolve().parents[2] / "app/bundled/models/sudoku-digits/1/refiner.onnx"
CASES = {
    "32x32, 1 box of 16": (32, 1, 16),
    "256x256, 10 boxes of 24": (256, 10, 24),
    "256x256, 10 boxes of 16 to 64": (256, 10, None),
    "1024x1024, 20 boxes of 64": (1024, 20, 64),
    "1024x1024, 20 boxes of 16 to 256": (1024, 20, None),
    "1024x1024, the whole image": (1024, 1, 1024),
}
LEAST_S = 3.0


def main() -> None:
    """Measure all cases."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(MODEL, options, providers=["CPUExecutionProvider"])
    spec = read_card(session.get_modelmeta().custom_metadata_map).noise
    print(json.dumps({name: _cost(session, spec, *case) for name, case in CASES.items()}, indent=1))


def _cost(session, spec, side: int, count: int, box_px: int | None) -> dict[str, float]:
    generator = np.random.default_rng(side + count)
    image = _picture(generator, side)
    boxes = [_box(generator, side, box_px) for _ in range(count)]
    inputs = {"image": image[None], "noise": noise_field(0, side, side, spec)[None]}
    refined = session.run(None, inputs)[0][0]
    measured = measure(*grey_pair(image, refined), boxes)
    spent = [0.0, 0.0]
    runs = 0
    while sum(spent) < LEAST_S or runs < 3:
        spent[0] += _cpu_s(lambda: session.run(None, inputs))
        spent[1] += _cpu_s(lambda: measure(*grey_pair(image, refined), boxes))
        runs += 1
    return {
        "refine_ms": round(1e3 * spent[0] / runs, 2),
        "measure_ms": round(1e3 * spent[1] / runs, 3),
        "ratio": round(spent[1] / spent[0], 4),
        "with_structure": sum(drift.measured for drift in measured),
    }


def _cpu_s(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def _picture(generator: np.random.Generator, side: int) -> np.ndarray:
    """Blocks with grain, uint8 [side, side, 1]."""
    blocks = np.kron(generator.integers(40, 220, (side // 4, side // 4)), np.ones((4, 4)))
    return np.clip(blocks + generator.normal(0, 4, blocks.shape), 0, 255).astype(np.uint8)[:, :, None]


def _box(generator: np.random.Generator, side: int, box_px: int | None) -> Box:
    width, height = (box_px, box_px) if box_px else np.exp(generator.uniform(np.log(16), np.log(side / 4), 2))
    left, top = generator.uniform(0, side - width), generator.uniform(0, side - height)
    return Box(left, top, left + width, top + height)


if __name__ == "__main__":
    main()
