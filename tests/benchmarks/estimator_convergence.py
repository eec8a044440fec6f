"""How far the estimators of `evaluate` have converged after so many updates of so many images.

Trains on nine tenths of labelled images, says the mean loss on the other tenth, and the seconds it took:

    .venv/bin/python tests/benchmarks/estimator_convergence.py classification \
        ../shared/data/sudoku-digits/synthetic.npz images digit 64x900 32x2700
"""

import argparse
from dataclasses import replace
from pathlib import Path
from time import process_time
from typing import Any, get_args

import numpy as np
import torch

from trainer.evaluation.usefulness.frame import Frame, to_float
from trainer.evaluation.usefulness.kinds import estimation_for
from trainer.evaluation.usefulness.training import Pool, train
from trainer.labels.labels import LabelKind, labels_of

MOST_IMAGES = 10_000
HELD_OUT = 0.1
AT_ONCE = 128
CPU = torch.device("cpu")


def main() -> None:
    """Say it for every BATCHxUPDATES."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("kind", choices=get_args(LabelKind))
    parser.add_argument("file", type=Path, help="npz file")
    parser.add_argument("images", help="array of uint8 images [N, H, W] or [N, H, W, C]")
    parser.add_argument("labels", help="array of their labels")
    parser.add_argument("learning", nargs="+", help="BATCHxUPDATES, e.g. 32x2700")
    parser.add_argument("--augmented", action="store_true", help="strongly, while learning")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with np.load(asked.file) as arrays:
        images, values = arrays[asked.images], arrays[asked.labels]
    images = images if images.ndim == 4 else images[..., None]
    labels = labels_of(asked.kind, values, asked.labels)
    rng = np.random.default_rng(0)
    rows = rng.permutation(np.flatnonzero(labels.answers))[:MOST_IMAGES]
    held, learned = np.split(np.arange(len(rows)), [int(HELD_OUT * len(rows))])
    labels = labels.of(rows)
    frame = Frame.of(images, most_side=96)
    estimation: Any = estimation_for(labels, frame, survives_moves=True, rank=None)
    pool = Pool(frame.take(images[rows]), estimation.targets(labels), learned)
    for learning in asked.learning:
        batch, updates = map(int, learning.split("x"))
        started = process_time()
        network = train(
            replace(estimation, batch_size=batch),
            pool,
            seed=0,
            augmentation="strong" if asked.augmented else "none",
            updates=updates,
            device=CPU,
        )
        taken = process_time() - started
        with torch.no_grad():
            losses = [
                float(estimation.loss(network(to_float(pool.images[part], CPU)), pool.targets[part]))
                for part in map(torch.from_numpy, np.array_split(held, -(-len(held) // AT_ONCE)))
            ]
        print(f"{updates} updates of {batch}: held-out loss {np.mean(losses):.5f}, {taken:.0f} s", flush=True)


if __name__ == "__main__":
    main()
