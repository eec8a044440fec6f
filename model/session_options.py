"""Options of ONNX Runtime without which a file would not compute the same everywhere."""

from functools import lru_cache
from pathlib import Path

import onnxruntime

_VNNI = frozenset({"avx512_vnni", "avx_vnni"})
_PROCESSORS = Path("/proc/cpuinfo")


def exact_integers(options: onnxruntime.SessionOptions) -> onnxruntime.SessionOptions:
    """The same options, with exact products of 8-bit integers on x86 processors without VNNI.

    Their fast instruction cuts sums of two products at 16 bits; a slower one is taken there instead. With
    VNNI the fast one is exact, and the slower would take longer than float32. Where nobody says what the
    processor has (any system but Linux), the slower one is taken.
    """
    if not _exact_anyway():
        options.add_session_config_entry("session.x64quantprecision", "1")
    return options


def has_vnni(processors: str) -> bool:
    """Whether all processors in a text like that of Linux's /proc/cpuinfo have VNNI; False without any."""
    flags = [line.split(":", 1)[1].split() for line in processors.splitlines() if line.startswith("flags")]
    return bool(flags) and all(_VNNI.intersection(of_one) for of_one in flags)


@lru_cache(maxsize=1)
def _exact_anyway() -> bool:
    try:
        return has_vnni(_PROCESSORS.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return False
