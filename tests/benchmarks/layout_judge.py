"""What judges of layout (`trainer.evaluation.layout`) tell of looks alone, and of two sets.

Half of the images of a set are seen otherwise (another exposure, light that falls off, a slight blur, grain),
which changes nothing they show: judges of pixels tell them from the other half, those of layout should not.

    .venv/bin/python tests/benchmarks/layout_judge.py ../shared/data/nuclei/synthetic.npz \
        ../shared/data/nuclei/real_train_unlabelled.npz
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from trainer.evaluation.judge import cross_judge
from trainer.evaluation.layout import layout_of
from trainer.evaluation.usefulness.harmless import seen_otherwise
from trainer.sources import Images

MOST_IMAGES = 1600


def main() -> None:
    """Say both numbers for either set, and for one against the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("synthetic", type=Path, help="npz file with uint8 `images` [N, H, W] or [N, H, W, C]")
    parser.add_argument("real", type=Path, help="another, of the same size")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    synthetic, real = read(asked.synthetic), read(asked.real)
    for name, images in (("synthetic", synthetic), ("real", real)):
        half = len(images) // 2
        otherwise = seen_otherwise(images[half : 2 * half], 0)
        told(f"{name}, half of them seen otherwise", images[:half], otherwise)
    count = min(len(synthetic), len(real))
    told("synthetic against real", synthetic[:count], real[:count])


def told(name: str, one: Images, other: Images) -> None:
    """Say what both kinds of judges tell of equally many images."""
    one_laid_out, other_laid_out = layout_of(one), layout_of(other)
    assert one_laid_out is not None
    assert other_laid_out is not None
    pixels, layout = cross_judge(one, other), cross_judge(one_laid_out, other_laid_out)
    print(f"{name}: pixels {pixels.mean:.3f}, layout {layout.mean:.3f}", flush=True)


def read(file: Path) -> Images:
    """Up to MOST_IMAGES in an order that the file does not decide."""
    with np.load(file) as arrays:
        images = arrays["images"]
    images = images if images.ndim == 4 else images[..., None]
    chosen: Images = images[np.random.default_rng(0).permutation(len(images))[:MOST_IMAGES]]
    return chosen


if __name__ == "__main__":
    main()
