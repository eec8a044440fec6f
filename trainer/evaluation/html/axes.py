"""Owns the axis of a chart: which numbers stand on it, and where a value lies in the drawing."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True)
class Axis:
    """Values `low` to `high` laid out from `start` to `end` in drawing units (end < start: upwards)."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Where a value lies; one outside is drawn at the edge."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, most: int = 5) -> list[float]:
        """Round numbers between low and high, at most `most` of them."""
        step = self._step(most)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [round(index * step, 12) for index in range(first, last + 1)]

    def label(self, tick: float, most: int = 5, unit: str = "") -> str:
        """A tick in words, with the digits that tell it from its neighbours."""
        step = self._step(most)
        if unit == "%":
            return f"{100 * tick:.{_decimals(100 * step)}f} %"
        if 0 < step < 1e-3:
            return "0" if tick == 0 else f"{tick:.1e}".replace("e-0", "e-")
        return f"{tick:.{_decimals(step)}f}"

    def _step(self, most: int) -> float:
        rough = (self.high - self.low) / max(most - 1, 1)
        power = 10.0 ** math.floor(math.log10(rough))
        for factor in STEPS:
            step = factor * power
            if math.floor(self.high / step + 1e-9) - math.ceil(self.low / step - 1e-9) < most:
                return step
        return 20.0 * power


def spanning(values: Iterable[float], start: float, end: float, margin: float = 0.06) -> Axis:
    """An axis over all finite values with a margin on both sides; a single value gets some room around it."""
    finite = [value for value in values if math.isfinite(value)] or [0.0]
    low, high = min(finite), max(finite)
    room = (high - low) * margin or max(abs(high) * 0.1, 1e-6)
    return Axis(low - room, high + room, start, end)


def _decimals(step: float) -> int:
    """Digits behind the point that a step needs: 0.25 needs two."""
    for decimals in range(6):
        if abs(step * 10**decimals - round(step * 10**decimals)) < 1e-6 * 10**decimals * step:
            return decimals
    return 6
