"""Drift between two pictures as they are: in lightness, and in colour where lightness shows nothing.

A red thing on green of equal lightness has no structure in grey levels. There the chroma is measured that
differs most within the region before, against that mixture of red, green and blue after which follows it
best: another light or camera may change its colour, as long as it is still told from what is around it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.preservation.drift import (
    MARGIN_PX,
    MIN_STRUCTURE_KEPT,
    MIN_STRUCTURE_LEVELS,
    Drift,
    Region,
    Window,
    cut,
    measure,
    measure_window,
    window_of,
)
from model.preservation.grey import grey_pair, stretch_of

_LESS_VISIBLE = 0.5
"""A difference of colour is seen half as well as one of lightness, and grain of cameras is coloured."""
_STEADYING_LEVELS = 1.0
"""Differences this small (rms) between red, green and blue are taken for noise when they are mixed."""
_RGB = 3

Colours = NDArray[np.float64]
"""[H, W, 3], levels of 255."""
Mixture = NDArray[np.float64]
"""Weights of red, green and blue [3], of length 1."""


def measure_pictures(before: NDArray[Any], after: NDArray[Any], regions: Sequence[Region]) -> list[Drift]:
    """The drift under each region between two pictures, uint8 or uint16 [H, W, C].

    C is 1 or 2 (grey and alpha), 3 or 4 (RGB and alpha). Otherwise as `drift.measure`.
    """
    found = measure(*grey_pair(before, after), regions)
    if before.shape[2] < _RGB or all(one.measured for one in found):
        return found
    low, scale = (float(number) for number in stretch_of(before))

    def colours(picture: NDArray[Any], window: Window) -> Colours:
        channels = np.stack([cut(picture[:, :, channel], window) for channel in range(_RGB)], axis=-1)
        return (channels.astype(np.float64) - low) * scale

    def in_colour(unmeasured: Drift) -> Drift:
        window = window_of(before.shape, regions[unmeasured.index])
        if window is None:
            return unmeasured
        old = colours(before, window)
        mixture = _most_different(_core(old) - _core(old).mean(axis=2, keepdims=True))
        if mixture is None:
            return unmeasured
        return _measure_mixed(old, mixture, colours(after, window), window, unmeasured.index)

    return [one if one.measured else in_colour(one) for one in found]


def _measure_mixed(old: Colours, mixture: Mixture, new: Colours, window: Window, index: int) -> Drift:
    """The drift of one mixture of channels before against the best that is found after."""
    reference = _mixed(old, mixture)
    following = _following(_core(new), _core(old) @ mixture)
    found = measure_window(reference, _mixed(new, following), window, index)
    if found.structure_kept is None or found.structure_kept >= MIN_STRUCTURE_KEPT:
        return found
    # What moved by more than its own size does not follow in its place; it may be what stands out after.
    outstanding = _most_different(_core(new))
    if outstanding is None:
        return found
    others = [
        measure_window(reference, _mixed(new, sign * outstanding), window, index) for sign in (1.0, -1.0)
    ]
    return max(found, *others, key=lambda one: one.structure_kept or 0.0)


def _core(colours: Colours) -> Colours:
    """A window without its margin."""
    return colours[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX]


def _mixed(colours: Colours, mixture: Mixture) -> NDArray[np.float32]:
    """As grey levels that are as visible: float32 [H, W]."""
    mixed: NDArray[np.float32] = (_LESS_VISIBLE * (colours @ mixture)).astype(np.float32)
    return mixed


def _most_different(colours: Colours) -> Mixture | None:
    """The mixture that differs most within a window; None where nothing is seen that way."""
    around = colours.reshape(-1, _RGB) - colours.reshape(-1, _RGB).mean(axis=0)
    variances, vectors = np.linalg.eigh(around.T @ around / len(around))
    if _LESS_VISIBLE * math.sqrt(max(float(variances[-1]), 0.0)) < MIN_STRUCTURE_LEVELS:
        return None
    mixture: Mixture = vectors[:, -1]
    return mixture


def _following(colours: Colours, reference: NDArray[np.float64]) -> Mixture:
    """The mixture that follows a reference [H, W] best, pixel by pixel; zeros where nothing differs."""
    around = colours.reshape(-1, _RGB) - colours.reshape(-1, _RGB).mean(axis=0)
    wanted = reference.ravel() - reference.mean()
    floor = _STEADYING_LEVELS**2 * len(around)
    mixture: Mixture = np.linalg.solve(around.T @ around + floor * np.eye(_RGB), around.T @ wanted)
    length = float(np.linalg.norm(mixture))
    return mixture / length if length > 0 else mixture
