"""Owns what images show where, without their looks: what is lighter, or darker, than its surroundings.

What a judge of pixels tells of refined images may be looks, which a refiner can still learn, or content:
other shapes, sizes, places, clutter, most of which a refiner that keeps labels must leave as they are, and
only the simulator can mend. So judges are asked a second time, with nothing but three levels on a coarse
grid to go by, those of the psi that forgives exposure, contrast, light that falls off, a slight blur and
grain: of such changes alone they tell at most 59 %, on three sets (EXPERIMENTS.md).
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from model.feature_transform import make_feature_transform
from trainer.batches import to_unit_range
from trainer.samples import fitting_at_once
from trainer.sources import Images

CELL_PX = 4
SMALLEST_CELLS = 8
"""On a side; of fewer no judge can be made."""
DARKER, ALIKE, LIGHTER = 0, 128, 255
STANDS_OUT = 0.5
"""Deviations of its surroundings by which a cell must be lighter, or darker, than they are on average."""
AT_ONCE = 256
MOST_PIXELS_AT_ONCE = AT_ONCE * 64 * 64


def layout_of(images: Images) -> Images | None:
    """Whether each cell of CELL_PX x CELL_PX is darker, as light as or lighter than what is around it.

    Grey levels [N, H, W, C] → uint8 [N, H // CELL_PX, W // CELL_PX, 1] of DARKER, ALIKE, LIGHTER; rows and
    columns that fill no cell are left out. None where that is fewer than SMALLEST_CELLS on a side.
    """
    if min(images.shape[1:3]) < CELL_PX * SMALLEST_CELLS:
        return None
    local_contrast = make_feature_transform("local_contrast", 1)
    at_once = fitting_at_once(images, AT_ONCE, MOST_PIXELS_AT_ONCE)
    parts = (images[start : start + at_once] for start in range(0, len(images), at_once))
    levels = torch.cat([_layout(part, local_contrast) for part in parts])
    said: Images = levels.permute(0, 2, 3, 1).numpy()
    return said


def _layout(images: Images, local_contrast: nn.Module) -> Tensor:
    """Of a few images: uint8 [N, 1, H // CELL_PX, W // CELL_PX]."""
    light = to_unit_range(images, int(np.iinfo(images.dtype).max), torch.device("cpu"))
    (contrast,) = local_contrast(light.mean(dim=1, keepdim=True))
    # The last channel is the one relative to large surroundings: what lies between edges counts, too.
    cells = functional.avg_pool2d(contrast[:, -1:], CELL_PX)
    levels = torch.full_like(cells, ALIKE, dtype=torch.uint8)
    levels[cells > STANDS_OUT] = LIGHTER
    levels[cells < -STANDS_OUT] = DARKER
    return levels
