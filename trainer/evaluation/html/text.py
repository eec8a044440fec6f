"""Owns how words and numbers are written: escaped, and with as many digits as mean something."""

import html
import math

from trainer.evaluation.results import Estimate

NOTHING = "–"
"""Shown where there is no number."""


def escape(text: object) -> str:
    """Text that is safe between tags and inside double-quoted attributes."""
    return html.escape(str(text), quote=True)


def number(value: float | None, unit: str = "") -> str:
    """Three significant digits; percent for the unit `%`, where 1 is 100 %."""
    if value is None or not math.isfinite(value):
        return NOTHING
    return _with_decimals(value, _decimals(value, unit), unit)


def spread(estimate: Estimate | None, unit: str = "", decimals: int | None = None) -> str:
    """Mean ± standard deviation of the single values; the mean alone when there is only one."""
    if estimate is None or not math.isfinite(estimate.mean):
        return NOTHING
    if len(estimate.values) < 2:
        return number(estimate.mean, unit)
    decimals = _decimals(estimate.mean, unit) if decimals is None else decimals
    mean = _with_decimals(estimate.mean, decimals, "%" if unit == "%" else "").removesuffix("\u202f%")
    return f"{mean}\u202f±\u202f{_with_decimals(estimate.deviation, decimals, unit)}"


def gap(estimate: Estimate | None) -> str:
    """A part of the gap: two decimals and the spread."""
    return spread(estimate, decimals=2)


def interval(estimate: Estimate, unit: str = "") -> str:
    """The 95 % interval in words."""
    decimals = _decimals(estimate.mean, unit)
    low = _with_decimals(estimate.low, decimals, "%" if unit == "%" else "").removesuffix("\u202f%")
    return f"95\u202f% interval {low} to {_with_decimals(estimate.high, decimals, unit)}"


def counted(count: int) -> str:
    """A whole number with thin spaces between thousands."""
    return f"{count:,}".replace(",", "\u202f")


def shorten(text: str, most: int) -> str:
    """At most `most` characters, the middle replaced by an ellipsis: both ends of a path tell something."""
    if len(text) <= most:
        return text
    head = (most - 1) // 2
    return f"{text[:head]}…{text[len(text) - (most - 1 - head) :]}"


def metric_unit(name: str) -> str:
    """How a score is written: accuracies and agreements as percent, all others as they are."""
    return "%" if any(word in name for word in ("accuracy", "class", "agreement")) else ""


def _decimals(value: float, unit: str) -> int:
    if unit == "%":
        return 1
    size = abs(value)
    return 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 or unit else 3


def _with_decimals(value: float, decimals: int, unit: str) -> str:
    shown = f"{100.0 * value if unit == '%' else value:.{decimals}f}"
    shown = shown.removeprefix("-") if float(shown) == 0 else shown.replace("-", "−")
    return f"{shown}\u202f{unit}" if unit else shown
