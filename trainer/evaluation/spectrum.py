"""Owns the radial power spectrum: how much detail of each size a set of images has."""

import numpy as np
from numpy.typing import NDArray

from trainer.sources import Images

Spectrum = NDArray[np.float64]

FAINTEST_POWER = 1e-4
"""Below what rounding to 8 bits leaves (1/12): the floor under the logarithm."""
AT_ONCE = 256


def frequencies(height: int, width: int) -> Spectrum:
    """Cycles per px of every value of `radial_spectrum` for images of this size: [min(H, W) // 2]."""
    side = min(height, width)
    return np.arange(1, side // 2 + 1) / side


def radial_spectrum(images: Images) -> Spectrum:
    """log10 of the mean power at each of `frequencies`, of grey levels [N, H, W, C] on a scale of 255.

    Channels are averaged, each image's mean is taken away, a Hann window keeps the borders out. White noise
    of variance v has log10 v at every frequency, whatever the size; only the lowest loses up to 0.16
    with the mean.
    """
    height, width = images.shape[1:3]
    window = _hann(height)[:, None] * _hann(width)
    to_255 = 255.0 / np.iinfo(images.dtype).max
    power = np.zeros((height, width // 2 + 1))
    for start in range(0, len(images), AT_ONCE):
        grey = images[start : start + AT_ONCE].mean(axis=3, dtype=np.float64) * to_255
        # The weighted mean: what the window would otherwise smear over the lowest frequencies.
        grey -= (grey * window).sum(axis=(1, 2), keepdims=True) / window.sum()
        power += (np.abs(np.fft.rfft2(grey * window)) ** 2).sum(axis=0)
    power /= len(images) * (window**2).sum()
    return np.log10(np.maximum(_radial_mean(power, height, width), FAINTEST_POWER))


def spectrum_distance(one: Spectrum, other: Spectrum) -> float:
    """Root mean square difference in decades."""
    return float(np.sqrt(np.mean((one - other) ** 2)))


def _hann(size: int) -> Spectrum:
    """Periodic, without zeros inside."""
    return np.sin(np.pi * (np.arange(size) + 0.5) / size) ** 2


def _radial_mean(power: Spectrum, height: int, width: int) -> Spectrum:
    """Mean over rings around frequency 0, each as wide as the step between frequencies."""
    side = min(height, width)
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    ring = np.rint(radius * side).astype(int)
    # Half of the plane is stored; all of its columns but the first and the Nyquist one stand for two.
    weight = np.full(power.shape, 2.0)
    weight[:, 0] = 1.0
    if width % 2 == 0:
        weight[:, -1] = 1.0
    rings = side // 2 + 1
    inside = ring < rings
    total = np.bincount(ring[inside], (weight * power)[inside], rings)
    return (total / np.bincount(ring[inside], weight[inside], rings))[1:]
