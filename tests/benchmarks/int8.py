"""What an int8 file costs and saves beside its fp32 parent: time of one thread, grey levels, structure.

    .venv/bin/python tests/benchmarks/int8.py fp32/refiner.onnx int8/refiner.onnx IMAGES.npz KEY

Each number of images per second is the median of alternating runs by CPU time of the process.
"""

import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime

from model.session_options import exact_integers
from trainer.evaluation.candidate import load_candidate
from trainer.evaluation.preservation import measure_preservation
from trainer.validation import cells

SIZES = ((1, 32, 32), (16, 32, 32), (1, 35, 55), (16, 35, 55), (1, 256, 256), (16, 256, 256))
ROUNDS = 5
PIXELS_A_ROUND = 250_000


def main() -> None:
    before, after, images, key = sys.argv[1:]
    speed(Path(before), Path(after))
    difference(Path(before), Path(after), np.load(images)[key][-512:])


def speed(*files: Path) -> None:
    sessions = [opened(file) for file in files]
    for size in SIZES:
        inputs = inputs_of(sessions[0], size)
        repeats = max(1, PIXELS_A_ROUND // int(np.prod(size)))
        times = np.array([[seconds(one, inputs, repeats) for one in sessions] for _ in range(ROUNDS)])
        rates = size[0] / np.median(times, axis=0)
        ratio = np.median(times[:, 0] / times[:, 1])
        print(f"{size}: fp32 {rates[0]:.1f}/s, int8 {rates[1]:.1f}/s, ratio {ratio:.2f}", flush=True)


def opened(file: Path) -> onnxruntime.InferenceSession:
    options = exact_integers(onnxruntime.SessionOptions())  # as the service does
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.enable_mem_pattern = False
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def inputs_of(session: onnxruntime.InferenceSession, size: tuple[int, int, int]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    inputs = {}
    for value in session.get_inputs():
        shape = (*size, value.shape[3])
        pixels = value.name == "image"
        inputs[value.name] = (
            rng.integers(0, 256, shape, dtype=np.uint8) if pixels else rng.standard_normal(shape, np.float32)
        )
    return inputs


def seconds(session: onnxruntime.InferenceSession, inputs: dict[str, np.ndarray], repeats: int) -> float:
    session.run(None, inputs)
    start = time.process_time()
    for _ in range(repeats):
        session.run(None, inputs)
    return (time.process_time() - start) / repeats


def difference(before: Path, after: Path, images: np.ndarray) -> None:
    images = images if images.ndim == 4 else images[..., np.newaxis]
    refined = [load_candidate(file, lambda _: None).refine(images, 7) for file in (before, after)]
    levels = np.abs(refined[0].astype(int) - refined[1].astype(int))
    shares = ", ".join(f"{(levels > most).mean():.3%} > {most}" for most in (1, 2, 4, 8))
    print(f"{len(images)} images: max {levels.max()}, mean {levels.mean():.3f} levels; {shares}")
    change = np.abs(refined[0].astype(int) - images).mean()
    print(f"fp32 changes the images by {change:.1f} levels")
    for name, one in zip(("fp32", "int8"), refined, strict=True):
        kept = measure_preservation(images, one, cells(*images.shape[:3]))
        print(
            f"{name}: moved {kept.shift_px['median']:.4f} px (95 %: {kept.shift_px['p95']:.4f}), "
            f"structure left {kept.structure_kept['median']:.4f} (5 %: {kept.structure_kept['p05']:.4f}), "
            f"lost {kept.lost_fraction:.2%}"
        )


if __name__ == "__main__":
    main()
