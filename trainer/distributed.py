"""Owns what several processes share: who this one is, its part of a batch, and the few collective calls."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from trainer.errors import ConfigError

# Decoding a large set may keep one process busy while the others wait for it.
PEER_TIMEOUT = timedelta(hours=6)
Value = TypeVar("Value")


@dataclass(frozen=True)
class World:
    """The processes of one run; a lone process is a world of one."""

    rank: int
    size: int
    local_rank: int
    local_size: int

    @property
    def is_main(self) -> bool:
        """Whether this process writes the run folder and speaks to the user."""
        return self.rank == 0

    def shard(self, batch_size: int, group: int = 1) -> slice:
        """This process's part of a global batch; ConfigError when it cannot be shared out evenly.

        group: images of the batch that must stay together.
        """
        if batch_size % self.size:
            raise ConfigError(f"--batch-size {batch_size} is not a multiple of the {self.size} processes")
        share = batch_size // self.size
        if share % group:
            raise ConfigError(
                f"--batch-size {batch_size} gives each of {self.size} processes {share} images, which cuts "
                f"groups of {group} apart: change --batch-size or --variety-group"
            )
        return slice(self.rank * share, (self.rank + 1) * share)

    def gather(self, share: Tensor) -> Tensor:
        """All processes' equal shares, joined along axis 0 in the order of the global batch."""
        if self.size == 1:
            return share
        shares = [torch.empty_like(share, memory_format=torch.contiguous_format) for _ in range(self.size)]
        distributed.all_gather(shares, share.contiguous())
        return torch.cat(shares)

    def mean(self, values: Tensor) -> Tensor:
        """Mean over processes; a NaN anywhere is a NaN everywhere."""
        if self.size > 1:
            distributed.all_reduce(values)
        return values / self.size

    def minimum(self, values: Tensor) -> Tensor:
        """Smallest value over processes."""
        if self.size > 1:
            distributed.all_reduce(values, op=distributed.ReduceOp.MIN)
        return values

    def barrier(self) -> None:
        """Wait until every process is here."""
        if self.size > 1:
            distributed.barrier()

    def from_main(self, value: Value) -> Value:
        """The main process's value, in every process."""
        if self.size == 1:
            return value
        box = [value]
        distributed.broadcast_object_list(box, src=0)
        return box[0]

    def synchronised(self, module: nn.Module, device: torch.device) -> nn.Module:
        """The module, or a wrapper that averages its parameters' gradients over the processes."""
        if self.size == 1:
            return module
        return DistributedDataParallel(
            module,
            device_ids=[device.index] if device.type == "cuda" else None,
            forward_sync_buffers=False,
            gradient_as_bucket_view=True,
        )


@contextmanager
def open_world(backend: str) -> Iterator[World]:
    """Join the processes that torchrun started (RANK, WORLD_SIZE, LOCAL_RANK), or be alone without them."""
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        yield World(rank=0, size=1, local_rank=0, local_size=1)
        return
    world = World(
        int(os.environ["RANK"]),
        int(os.environ["WORLD_SIZE"]),
        int(os.environ.get("LOCAL_RANK", "0")),
        int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
    )
    distributed.init_process_group(backend, timeout=PEER_TIMEOUT)
    try:
        with warnings.catch_warnings():
            # A convolution of one channel has two equal layouts; DDP warns that it copies between them.
            warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides", UserWarning)
            yield world
        # No process may hang up while another still listens.
        distributed.barrier()
    finally:
        distributed.destroy_process_group()
