"""The device that refiners run on: which ONNX Runtime provider is used here, and why."""

from __future__ import annotations

import contextlib
import ctypes
import io
import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import onnxruntime as ort

from app.errors import DeviceUnavailable
from app.settings import Device

CPU: Literal["CPUExecutionProvider"] = "CPUExecutionProvider"
CUDA: Literal["CUDAExecutionProvider"] = "CUDAExecutionProvider"

# HEURISTIC: an exhaustive search per new shape would stall every first image of a size by seconds.
# kSameAsRequested: the default doubles the arena at each growth, which many shapes turn into a full GPU.
_CUDA_OPTIONS = {"cudnn_conv_algo_search": "HEURISTIC", "arena_extend_strategy": "kSameAsRequested"}

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ProviderChoice:
    """One ONNX Runtime execution provider, the reason for it in words, and whether another one would do."""

    name: str
    reason: str
    required: bool

    @property
    def providers(self) -> list[str | tuple[str, dict[str, Any]]]:
        """The `providers` argument of an ONNX Runtime session."""
        return [(CUDA, dict(_CUDA_OPTIONS)), CPU] if self.name == CUDA else [CPU]


def choose_provider(device: Device) -> ProviderChoice:
    """Find the provider for "auto", "cpu" or "cuda".

    Raises DeviceUnavailable when "cuda" is asked for and there is none; "auto" then takes the processor and
    says why in `reason`.
    """
    if device == "cpu":
        return ProviderChoice(CPU, "the processor is asked for", required=True)
    obstacle = _cuda_obstacle()
    if obstacle is None:
        _preload_cuda_libraries()
        return ProviderChoice(CUDA, "a CUDA device is there", required=device == "cuda")
    if device == "cuda":
        raise DeviceUnavailable(f"The device is set to cuda, but {obstacle}.")
    return ProviderChoice(CPU, obstacle, required=False)


def available_cores(quota_file: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Count the processor cores that this process may use, a container's quota included."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota_us, period_us = quota_file.read_text("ascii").split()
    except (OSError, ValueError):
        return cores
    return cores if quota_us == "max" else max(1, min(cores, round(int(quota_us) / int(period_us))))


def _cuda_obstacle() -> str | None:
    """Say why CUDA cannot be used, or None when it can; asks the driver itself, which prints nothing."""
    if CUDA not in ort.get_available_providers():
        return f"this onnxruntime {ort.__version__} is built without CUDA"
    library = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(library)
    except OSError:
        return f"there is no CUDA driver ({library}) on this machine"
    if (code := driver.cuInit(0)) != 0:
        return f"the CUDA driver does not start (cuInit answers {code})"
    count = ctypes.c_int(0)
    if driver.cuDeviceGetCount(ctypes.byref(count)) != 0 or count.value == 0:
        return "the CUDA driver sees no device"
    return None


def _preload_cuda_libraries() -> None:
    """Load CUDA and cuDNN from pip's nvidia packages; what it prints about missing ones goes to the log."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        ort.preload_dlls()
    for line in said.getvalue().splitlines():
        _log.debug("onnxruntime.preload_dlls: %s", line)
