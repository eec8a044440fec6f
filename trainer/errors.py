"""Owns the trainer's error tree: every failure that a user can act on, as one sentence."""

from signal import Signals


class TrainerError(Exception):
    """A run cannot start or go on; `str(error)` is one sentence for the person at the terminal."""


class ConfigError(TrainerError):
    """A setting is unknown, out of bounds, or contradicts another one."""


class DataError(TrainerError):
    """The images cannot be used as they are."""


class CheckpointError(TrainerError):
    """No checkpoint of the run can be read."""


class RunFolderError(TrainerError):
    """A run folder is missing, incomplete, or in use by another process."""


class PublishError(TrainerError):
    """A refiner cannot be published into the model repository."""


class DiskFullError(TrainerError):
    """There is no room left for a log, a grid or a checkpoint."""


class DivergedError(TrainerError):
    """A loss or a gradient is not finite; the run ended before it could be saved."""


class OutOfMemoryError(TrainerError):
    """The machine or its GPU has no memory left for this run."""


class StoppedError(TrainerError):
    """The run ended because somebody asked it to, by Ctrl-C or SIGTERM."""

    def __init__(self, signal: Signals, sentence: str) -> None:
        super().__init__(sentence)
        self.exit_code = 128 + signal
