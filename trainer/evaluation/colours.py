"""Owns whether colours were kept: whether what differed in colour before refinement still does, and how.

The drift that the service measures asks whether a thing is still seen, and lets a blue one become green. But
another light, stain or camera may change colours as well, and all of them in one way. That way is found, as
the linear map of chroma that leads from the refined images back to the synthetic ones best, one for the whole
set, and is no loss. Lost is what it cannot bring back: things of different colours that now have the same.
Two colours that have changed places, in every image, may pass for another light.
"""

import numpy as np
from numpy.typing import NDArray

from trainer.labels.regions import Regions
from trainer.sources import Images

MIN_KEPT = 0.6
"""As for structure. Where drawn nuclei stayed purple, 0.68 or more in every region of 148; where they turned
grey, less than this in 3 % of them, brown in 28 %; where blue dice turned green, in 24 %."""
MIN_CHROMA_LEVELS = 3.0
"""Contrast of chroma (rms, grey levels of 255) below which a region has no colours to lose."""
FAINT_LEVELS = 1.5
"""What is left of a colour is compared with this, which nobody sees."""
SMALLEST_SIDE_PX = 4
_RGB = 3

Products = NDArray[np.float64]
"""[N, 2, 2]: mean products of two chroma planes with two others, for every region."""


def colours_lost(synthetic: Images, refined: Images, regions: Regions) -> float | None:
    """Share of the coloured regions of grey levels [N, H, W, C] whose colours were lost; 0 without any.

    None where there are no three channels.
    """
    if synthetic.shape[3] != _RGB:
        return None
    kept = colours_kept(synthetic, refined, regions)
    return float((kept < MIN_KEPT).mean()) if len(kept) else 0.0


def colours_kept(synthetic: Images, refined: Images, regions: Regions) -> NDArray[np.float64]:
    """Of RGB images: how far the colours of each region that has some agree with those before: 0 to 1."""
    assert synthetic.shape == refined.shape, (synthetic.shape, refined.shape)
    before, across, after = _products(synthetic, refined, regions)
    coloured = before.trace(axis1=1, axis2=2) >= MIN_CHROMA_LEVELS**2
    before, across, after = before[coloured], across[coloured], after[coloured]
    if not len(before):
        return np.zeros(0)
    floor = FAINT_LEVELS**2
    back = np.linalg.solve(after.mean(axis=0) + floor * np.eye(2), across.mean(axis=0))
    common = np.einsum("nij,ij->n", across, back)
    there = np.einsum("nij,ik,jk->n", after, back, back)
    kept: NDArray[np.float64] = common / np.sqrt(before.trace(axis1=1, axis2=2) * (there + floor))
    return kept.clip(0.0, 1.0)


def _products(synthetic: Images, refined: Images, regions: Regions) -> tuple[Products, Products, Products]:
    """Of chroma before with itself, after with before, and after with itself, around the region's means."""
    found = []
    for image, (x1, y1, x2, y2) in zip(regions.images, regions.boxes.round().astype(int), strict=True):
        place = (image, slice(max(y1, 0), y2), slice(max(x1, 0), x2))
        if min(synthetic[place].shape[:2]) >= SMALLEST_SIDE_PX:
            before, after = _chroma(synthetic[place]), _chroma(refined[place])
            products = np.stack([before.T @ before, after.T @ before, after.T @ after])
            found.append(products / len(before))
    before, across, after = np.moveaxis(np.array(found).reshape(-1, 3, 2, 2), 1, 0)
    return before, across, after


def _chroma(levels: Images) -> NDArray[np.float64]:
    """Red-green and blue-yellow of squares of 2x2 px, which have less grain, less their mean: [n, 2]."""
    height, width = (side - side % 2 for side in levels.shape[:2])
    scaled = levels[:height, :width] * (255.0 / np.iinfo(levels.dtype).max)
    small = scaled.reshape(height // 2, 2, width // 2, 2, _RGB).mean(axis=(1, 3)).reshape(-1, _RGB)
    red, green, blue = small.T
    chroma: NDArray[np.float64] = np.stack([(red - green) / 2, (blue - (red + green) / 2) / 2], axis=1)
    chroma -= chroma.mean(axis=0)
    return chroma
