"""Whether the automatic judge (`trainer.evaluation.judge`) has learned to the end: what longer ones tell.

Refined images against real ones, and real against real, of which no judge may tell anything. All see the same
images and folds.

    .venv/bin/python tests/benchmarks/judge_length.py runs/00001-default ../shared/data/nuclei/synthetic.npz \
        ../shared/data/nuclei/real_train_unlabelled.npz
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from layout_judge import read

from trainer.evaluation.candidate import load_candidate
from trainer.evaluation.judge import Judging, cross_judge
from trainer.evaluation.layout import layout_of
from trainer.evaluation.samples import draw, halves
from trainer.sources import Images

LEARNING = (Judging(), Judging(updates=900), Judging(updates=900, learning_rate=3e-3))


def main() -> None:
    """Print a line for each way to learn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("refiner", type=Path, help="a run folder or an ONNX file")
    parser.add_argument("synthetic", type=Path, help="npz file with uint8 `images` [N, H, W] or [N, H, W, C]")
    parser.add_argument("real", type=Path, help="another, of the same size")
    parser.add_argument("--layout", action="store_true", help="judges of layout instead of pixels")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    synthetic, real = read(asked.synthetic), read(asked.real)
    count = min(len(synthetic), len(real) // 2)
    reference, others = halves(real, count)
    refined = draw(load_candidate(asked.refiner, print).refine(synthetic, 0), count)
    if asked.layout:
        reference, others, refined = map(laid_out, (reference, others, refined))
    print(
        f"{count} images of a kind\n| updates | learning rate | refined | real |\n| --- | --- | --- | --- |"
    )
    for judging in LEARNING:
        told = (cross_judge(images, reference, judging=judging) for images in (refined, others))
        numbers = " | ".join(
            f"{one.mean:.3f} ({', '.join(f'{value:.3f}' for value in np.sort(one.values))})" for one in told
        )
        print(f"| {judging.updates} | {judging.learning_rate:g} | {numbers} |", flush=True)


def laid_out(images: Images) -> Images:
    """What judges of layout see."""
    levels = layout_of(images)
    assert levels is not None
    return levels


if __name__ == "__main__":
    main()
