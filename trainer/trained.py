"""Owns what a run has learned so far: the refiner it chose, out of its newest whole checkpoint."""

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
    """The step of Algorithm 1 after which the refiner was like this."""


def load_trained(path: Path, tell: Callable[[str], None]) -> Trained:
    """Read the refiner that a run has chosen, or else its last; RunFolderError or CheckpointError if none.

    Chosen is the last one that was sound when it was measured (trainer.validation).
    """
    folder = RunFolder(path)
    config = folder.read_config()
    checkpoint = load_newest(folder.checkpoints, tell)
    if checkpoint is None:
        raise CheckpointError(f"{path} has no checkpoint yet")
    state = checkpoint.state
    with fitting(checkpoint):
        refiner = Refiner(refiner_config(config, state["channels"]))
        chosen = state.get("chosen")
        refiner.load_state_dict(state["ema"] if chosen is None else chosen["refiner"])
        step = state["clock"]["step"] if chosen is None else chosen["step"]
    refiner.eval().requires_grad_(False)
    return Trained(folder, config, refiner, state["bit_depth"], step)
