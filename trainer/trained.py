"""Owns what a run has learned so far: the averaged refiner of its newest whole checkpoint."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from model.refiner import Refiner
from trainer.checkpoint import fitting, load_newest
from trainer.config import TrainConfig
from trainer.errors import CheckpointError
from trainer.networks import refiner_config
from trainer.run_folder import RunFolder


@dataclass(frozen=True)
class Trained:
    """A refiner on the CPU, in eval mode, and where it comes from."""

    folder: RunFolder
    config: TrainConfig
    refiner: Refiner
    bit_depth: int
    step: int


def load_trained(path: Path, tell: Callable[[str], None]) -> Trained:
    """Read a run's newest refiner; RunFolderError or CheckpointError when there is none."""
    folder = RunFolder(path)
    config = folder.read_config()
    checkpoint = load_newest(folder.checkpoints, tell)
    if checkpoint is None:
        raise CheckpointError(f"{path} has no checkpoint yet")
    state = checkpoint.state
    with fitting(checkpoint):
        refiner = Refiner(refiner_config(config, state["channels"]))
        refiner.load_state_dict(state["ema"])
    refiner.eval().requires_grad_(False)
    return Trained(folder, config, refiner, state["bit_depth"], state["clock"]["step"])
