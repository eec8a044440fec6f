"""What each feature transform ψ forgives: its distance for a change, over its distance for erasing the digit.

Drawn digit cells are changed in known ways; a good ψ for Eq. 4 is near 0 for the changes that real cameras
make and near 1 for those that make the label wrong. Run: python tests/benchmarks/feature_transforms.py
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from model.feature_transform import make_feature_transform
from model.losses import self_regularization_loss
from trainer.simulators.digit_cells import draw_cell, random_print

LEVEL = 1 / 127.5  # one grey level in [-1, 1]
NO_FRAME = (0, 0, 0, 0)
TRANSFORMS = ("identity", "derivatives", "normalised", "normalised_derivatives", "local_contrast")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=300, help="digit cells")
    cells, erased = draw(parser.parse_args().count, seed=0)
    print("| ψ | " + " | ".join(name for name, _ in CHANGES) + " |\n|" + " --- |" * (len(CHANGES) + 1))
    for spec in TRANSFORMS:
        transform = make_feature_transform(spec, 1)
        harm = self_regularization_loss(transform, erased, cells).item()
        shares = [
            self_regularization_loss(transform, change(cells, erased), cells).item() / harm
            for _, change in CHANGES
        ]
        print(f"| {spec} | " + " | ".join(f"{share:.2f}" for share in shares) + " |")


def draw(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Digit cells [N, 1, 32, 32] in [-1, 1], and the same cells without their digit."""
    rng = np.random.default_rng(seed)
    cells = []
    for index in range(count):
        image, *_ = draw_cell(rng, 1 + index % 9, random_print(rng), NO_FRAME)
        cells.append(torch.from_numpy(np.asarray(image, dtype=np.float32)) / 127.5 - 1)
    stack = torch.stack(cells)[:, None]
    return stack, stack.amax(dim=(2, 3), keepdim=True).expand_as(stack)


def _blur(images: Tensor, sigma: float) -> Tensor:
    reach = torch.arange(-3.0, 4.0)
    weights = torch.exp(-0.5 * (reach / sigma).square())
    kernel = (weights[:, None] * weights / weights.sum().square())[None, None]
    return functional.conv2d(functional.pad(images, [3] * 4, mode="replicate"), kernel)


def _grain(images: Tensor, levels: float) -> Tensor:
    return images + levels * LEVEL * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))


Change = Callable[[Tensor, Tensor], Tensor]
CHANGES: tuple[tuple[str, Change], ...] = (
    ("60 levels darker", lambda cells, _: cells - 60 * LEVEL),
    ("contrast × 0.3", lambda cells, paper: paper + 0.3 * (cells - paper)),
    ("grain of 4 levels", lambda cells, _: _grain(cells, 4)),
    ("grain of 8 levels", lambda cells, _: _grain(cells, 8)),
    ("blur of 0.8 px", lambda cells, _: _blur(cells, 0.8)),
    ("*ink at 10 %*", lambda cells, paper: paper + 0.1 * (cells - paper)),
    ("*moved by 3 px*", lambda cells, _: cells.roll(3, dims=3)),
    ("*another digit*", lambda cells, _: cells.roll(1, dims=0)),
)

if __name__ == "__main__":
    main()
