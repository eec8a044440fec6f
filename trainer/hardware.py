"""Owns the choice of device, precision, compilation and threads for the machine at hand."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from time import process_time

import torch

from trainer.config import TrainConfig
from trainer.distributed import World
from trainer.errors import ConfigError, OutOfMemoryError

PROBES = 5
WORTHWHILE = 1.15


@dataclass(frozen=True)
class Hardware:
    """What a run computes with."""

    device: torch.device
    bf16: bool
    compile: bool

    def autocast(self) -> AbstractContextManager[object]:
        """Mixed precision for forward passes and losses, where this run uses it."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16)

    def __str__(self) -> str:
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "CPU"
        parts = [name, "bf16" if self.bf16 else "fp32"]
        if self.device.type == "cpu":
            parts.append(f"{torch.get_num_threads()} threads")
        return ", ".join([*parts, "compiled"] if self.compile else parts)


def backend(config: TrainConfig) -> str:
    """The collective library for the config's device."""
    return "nccl" if _wants_cuda(config) else "gloo"


def choose_hardware(config: TrainConfig, local_rank: int, local_size: int) -> Hardware:
    """Resolve every `auto`; ConfigError when something asked for is not there. Sets the thread count."""
    device = _device(config, local_rank, local_size)
    _set_threads(config.threads, local_size, device)
    bf16 = config.precision == "bf16" or (config.precision == "auto" and bf16_helps(device))
    compiled = config.compile == "on" or (config.compile == "auto" and _can_compile(device))
    return Hardware(device, bf16, compiled)


def agreed(hardware: Hardware, world: World) -> Hardware:
    """The main process's precision for all: on CPUs it is measured, and two measurements may differ."""
    return replace(hardware, bf16=world.from_main(hardware.bf16))


@contextmanager
def telling_memory() -> Iterator[None]:
    """Turn a lack of memory, of the machine or of its GPU, into OutOfMemoryError."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise OutOfMemoryError(
            "the memory does not suffice for this run: lower --batch-size, --refiner-width or the image size "
            "(--resize, --crop, --window)"
        ) from error


def bf16_helps(device: torch.device) -> bool:
    """Whether mixed precision makes this device faster: known for GPUs, measured once on CPUs that have it.

    Having the instructions is not enough: AMD's Zen 5 doubles its speed, Intel without AMX gets slower.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    capabilities = torch.cpu.get_capabilities()
    if not (capabilities.get("avx512_bf16") or capabilities.get("amx_bf16")):
        return False
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(PROBES):
        for bf16, times in seconds.items():
            times.append(_time_convolution(bf16))
    return min(seconds[True]) * WORTHWHILE < min(seconds[False])


def _time_convolution(bf16: bool) -> float:
    """CPU seconds of this process for a forward and a backward pass of a refiner's typical layer."""
    layer = torch.nn.Conv2d(64, 64, 3, padding=1)
    layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    image = torch.zeros(4, 64, 32, 32).to(memory_format=torch.channels_last).requires_grad_()
    start = process_time()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        answer = layer(image)
    torch.autograd.backward(answer.float().sum())
    return process_time() - start


def _wants_cuda(config: TrainConfig) -> bool:
    return config.device.startswith("cuda") or (config.device == "auto" and torch.cuda.is_available())


def _device(config: TrainConfig, local_rank: int, local_size: int) -> torch.device:
    if not _wants_cuda(config):
        return torch.device("cpu")
    count = torch.cuda.device_count()
    chosen = config.device.partition(":")[2]
    if chosen and local_size > 1:
        raise ConfigError(
            f"--device {config.device}: {local_size} processes cannot share one GPU; take --device cuda"
        )
    index = int(chosen or local_rank)
    # Every process must come to this conclusion, or the others would wait for the one that did.
    last = int(chosen or local_size - 1)
    if last >= count:
        raise ConfigError(f"--device {config.device}: GPU {last} is not there; this machine has {count}")
    device = torch.device("cuda", index)
    torch.cuda.set_device(device)
    # A resumed run must give the numbers of one that never stopped, so no algorithm may be chosen by a race.
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    return device


def _set_threads(threads: int, local_size: int, device: torch.device) -> None:
    if threads:
        torch.set_num_threads(threads)
    elif local_size > 1 and device.type == "cpu":
        torch.set_num_threads(max(1, _cores() // local_size))


def _cores() -> int:
    count: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)
    return len(count(0)) if count is not None else os.cpu_count() or 1


def _can_compile(device: torch.device) -> bool:
    # Triton builds its launcher with a C compiler.
    return device.type == "cuda" and any(shutil.which(name) for name in ("cc", "gcc", "clang"))
